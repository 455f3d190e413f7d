//! For `benches/instructions` alone: a line's text without its hash, which would hide what the text costs.

use super::codec;
use super::entry::Entry;

/// Append what a line says, without its place in the chain.
pub fn text(line: &mut Vec<u8>, entry: &Entry) {
    codec::body(line, entry);
}
