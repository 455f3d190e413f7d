//! How often an order was changed.

use std::fmt;

/// How often one order was changed.
///
/// Counted is what left, whatever became of it. Whether the broker counts changes that it refused, and
/// the legs of a super order together, is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderChanges {
    /// Which one this is; the first is 1.
    pub this: u32,
    /// How many the broker takes.
    pub most: u32,
}

impl OrderChanges {
    /// Are four fifths of them used up? It is time to warn: from the 20th of 25 on.
    pub const fn is_near_the_end(self) -> bool {
        self.this as u64 * 5 >= self.most as u64 * 4
    }
}

impl fmt::Display for OrderChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { this, most } = self;
        write!(f, "change {this} of the {most} that the broker takes of one order; cancel it and place it anew in time")
    }
}
