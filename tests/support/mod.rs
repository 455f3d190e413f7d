//! What the integration tests share: networks, processes, an admin client.
//!
//! Every test has its own network, its own folder and its own gateway, so tests
//! may run at the same time. A test whose needs are not met panics and says what
//! is missing; nothing is skipped.
//!
//! - [`net`]: network namespaces, and running code or programs inside them.
//! - [`process`]: the `sixgate` binary as a child process.
//! - [`gateway`]: that binary as a running gateway.
//! - [`admin`]: a small client for the admin API.
//! - [`caller`]: an order engine's HTTP client, in every mode.
//! - [`clock`]: a wall clock that is wrong.
//! - [`name_server`]: a name server that says what a test wants.
//! - [`forbid`]: a service manager that forbids a family of sockets.
//! - [`slow_disk`]: a disk that takes its time.
//! - [`etc`]: a host whose `/etc` is the test's own.
//! - [`bad_disk`]: one that fails or hangs.
//! - [`log_pipe`]: a log whose reader stops.
//! - [`preload`]: libraries that give a program such a host.
//! - [`engine`]: an order engine that remembers what it was told.
//! - [`random`]: numbers that a seed decides.
//! - [`world`]: the network with a broker, a gateway and accounts.
//! - [`wait`]: waiting for a condition, the only place that waits by time.
//! - [`python`]: a Python with the pinned client libraries.
//! - [`node`]: the pinned packages for clients in Node.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking"
)]
#![allow(dead_code, unused_imports, reason = "each benchmark uses a part of this")]

pub(crate) mod admin;
pub(crate) mod bad_disk;
pub(crate) mod caller;
pub(crate) mod clock;
pub(crate) mod engine;
pub(crate) mod etc;
pub(crate) mod forbid;
pub(crate) mod gateway;
pub(crate) mod log_pipe;
pub(crate) mod name_server;
pub(crate) mod net;
pub(crate) mod node;
pub(crate) mod preload;
pub(crate) mod process;
pub(crate) mod python;
pub(crate) mod random;
pub(crate) mod slow_disk;
pub(crate) mod wait;
pub(crate) mod world;

pub(crate) use admin::AdminClient;
pub(crate) use gateway::{Gateway, Ready};
pub(crate) use net::{Net, Ns, NsRuntime, Place};
pub(crate) use process::Process;
pub(crate) use wait::{wait_for, wait_until};
