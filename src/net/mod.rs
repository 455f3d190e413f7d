//! Sockets and bytes, below everything that knows what they are for.

pub(crate) mod bind;
pub mod host_address;
pub(crate) mod netlink;
pub(crate) mod netlink_message;
pub(crate) mod protocol;
pub mod read_buffer;
pub(crate) mod rewind;
pub(crate) mod tls_server;
