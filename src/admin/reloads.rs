//! How the API asks whoever runs the gateway to put the configuration file in force.

use tokio::sync::{mpsc, oneshot};

/// Asks whoever runs the gateway to reload. What came of it is the answer; nothing where there is no file to read.
pub type Reloads = mpsc::Sender<oneshot::Sender<Option<Reloaded>>>;

/// What came of a reload.
#[derive(Debug)]
pub struct Reloaded {
    /// The file that was read.
    pub file: String,
    /// Keys and why their values were refused. Empty: the file is in force; else nothing has changed.
    pub problems: Vec<(String, String)>,
    /// Keys that have changed and are in force only after a restart.
    pub restart: Vec<String>,
    /// What is in force and worth a thought.
    pub warnings: Vec<String>,
}
