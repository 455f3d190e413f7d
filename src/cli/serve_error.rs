//! Why `sixgate serve` ended early.

use std::path::PathBuf;

use crate::accounts::AccountError;
use crate::app::StartError;
use crate::config::Problems;
use crate::sandbox::SandboxError;

/// Why `serve` ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error(transparent)]
    Config(#[from] Problems),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the built-in broker did not start")]
    Sandbox(#[from] SandboxError),
    #[error(
        "{accounts} accounts need addresses of their own, and none could be put on the loopback interface; run it as root, \
         or as netns-scripts/sandbox.sh --accounts {accounts}, which uses a user namespace"
    )]
    NoAddresses {
        accounts: u16,
        #[source]
        err: std::io::Error,
    },
    #[error("the demo account could not be made")]
    Demo(#[from] AccountError),
    #[error("the demo's state in {path} cannot be used")]
    State {
        path: PathBuf,
        #[source]
        err: std::io::Error,
    },
    #[error("the log's thread cannot be started; is the limit of threads reached (ulimit -u, TasksMax= of systemd)?")]
    Log(#[source] std::io::Error),
    #[error("the runtime did not start")]
    Runtime(#[from] std::io::Error),
}
