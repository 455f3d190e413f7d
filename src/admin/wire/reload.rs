//! Bodies about a reload.

use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::reloads::Reloaded;

/// What came of a reload.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReloadBody {
    /// Is the file in force? If not, nothing has changed.
    pub ok: bool,
    /// The file that was read.
    pub file: String,
    /// Why it was refused.
    pub problems: Vec<ReloadProblemBody>,
    /// Keys that have changed and are in force only after a restart.
    pub restart: Vec<String>,
    /// What is in force and worth a thought.
    pub warnings: Vec<String>,
}

/// One thing that is wrong with the file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReloadProblemBody {
    /// The key.
    pub key: String,
    /// What is wrong with its value, and a way out.
    pub text: String,
}

impl From<Reloaded> for ReloadBody {
    fn from(reloaded: Reloaded) -> Self {
        let Reloaded { file, problems, restart, warnings } = reloaded;
        Self {
            ok: problems.is_empty(),
            file,
            problems: problems.into_iter().map(|(key, text)| ReloadProblemBody { key, text }).collect(),
            restart,
            warnings,
        }
    }
}
