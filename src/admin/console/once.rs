//! Forms that are good for one use: what is sent again, as by a reload, does nothing twice.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::domain::lock;

/// Forms that are remembered as used.
const USED: usize = 1024;

/// Forms that were sent and are good for one use.
#[derive(Debug, Default)]
pub(super) struct Once(Mutex<VecDeque<String>>);

impl Once {
    /// `true` for the first use.
    pub(super) fn take(&self, nonce: &str) -> bool {
        let mut used = lock(&self.0);
        if nonce.is_empty() || used.iter().any(|one| one == nonce) {
            return false;
        }
        if used.len() >= USED {
            used.pop_front();
        }
        used.push_back(nonce.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_good_for_one_use() {
        let once = Once::default();
        assert!(once.take("a") && !once.take("a") && once.take("b") && !once.take(""));
        for n in 0..USED {
            once.take(&n.to_string());
        }
        assert!(lock(&once.0).len() <= USED);
    }
}
