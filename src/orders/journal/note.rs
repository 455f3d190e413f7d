//! What the journal says about itself.

use serde::{Deserialize, Serialize};

use crate::domain::Outcome;

/// Something that happened to the journal or around it, in a line of kind `note`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Note {
    /// A crash left a line unfinished: it was never acknowledged, and was cut off.
    CutOff {
        /// Of which file.
        file: String,
        /// How many bytes.
        bytes: u64,
        /// Their SHA-256 in hex.
        sha256: String,
    },
    /// The line before this note is not what was written. The note's `prev` is the
    /// hash of that line as it stood, and the chain begins anew with the note.
    ChainBroken {
        /// In which file.
        file: String,
        /// Which line of it, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Lines that had been acknowledged were gone when the journal was opened.
    Lost {
        /// The first that is gone.
        first_seq: u64,
        /// The last that is gone.
        last_seq: u64,
        /// The hash of that one.
        last_hash: String,
    },
    /// A file older than `journal.keep` was deleted, or is about to be. The chain
    /// begins after the last line of them.
    Deleted {
        /// How many files were deleted.
        files: u64,
        /// The newest of them.
        through: String,
        /// The number of its last line.
        last_seq: u64,
        /// The hash of its last line.
        last_hash: String,
    },
    /// The file that was written to was not the one in the folder any more, while the gateway ran. It went on in
    /// this one.
    Displaced {
        /// The file that was written to.
        file: String,
        /// What had become of it.
        why: String,
        /// The number of the last line before this note.
        last_seq: u64,
        /// The hash of the last line before this note.
        last_hash: String,
    },
    /// Lines may lack before this note, and the chain cannot show it.
    MayLack {
        /// Why it is so, in words.
        why: String,
    },
    /// A write that was answered with what became of an earlier one, and not sent. The line has its ids.
    Repeat {
        /// The request id of the earlier one.
        of: String,
    },
    /// A person has looked what became of an order write whose outcome is `unknown`. The line has its request id and its
    /// account; what the journal says of the write stays as it is.
    Settled {
        /// What the person found, if that is known.
        outcome: Option<Outcome>,
        /// Who it was: an operator's name. Notes of earlier versions do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// The person's words. Never a secret.
        text: String,
    },
    /// Words of the gateway or its operator. Never a secret.
    Message {
        /// The text of the note.
        text: String,
    },
}
