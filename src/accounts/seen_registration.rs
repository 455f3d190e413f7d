//! What the broker was last seen to hold for an account. In memory only: after a restart the first `getIP` of a leg
//! tells it anew.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;

use crate::domain::Role;
use crate::tokens::client::{Holds, Registered, Slot};

/// One of the broker's two places for an address, as it was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenSlot {
    /// What is in it, and when it may be changed.
    pub slot: Slot,
    /// When that was told.
    pub at: Timestamp,
}

/// The broker's two places for an account's addresses. Whoever asks the broker leaves here what it was told.
#[derive(Debug, Default)]
pub struct SeenRegistration {
    primary: ArcSwapOption<SeenSlot>,
    secondary: ArcSwapOption<SeenSlot>,
}

impl SeenRegistration {
    /// Keep what an answer tells. A place that it says nothing of stays as it was seen before.
    pub fn note(&self, registered: &Registered) {
        let at = Timestamp::now();
        for role in [Role::Primary, Role::Secondary] {
            let slot = registered.slot(role);
            if slot.holds != Holds::Unreported {
                self.of(role).store(Some(Arc::new(SeenSlot { slot: slot.clone(), at })));
            }
        }
    }

    /// A place as it was last told; `None` while it never was.
    pub fn get(&self, role: Role) -> Option<Arc<SeenSlot>> {
        self.of(role).load_full()
    }

    const fn of(&self, role: Role) -> &ArcSwapOption<SeenSlot> {
        match role {
            Role::Primary => &self.primary,
            Role::Secondary => &self.secondary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer that tells of one place only, as the short form does, must not make the other one unknown.
    #[test]
    fn a_place_that_is_not_told_of_stays_as_it_was_seen() {
        let seen = SeenRegistration::default();
        assert_eq!(seen.get(Role::Primary), None);
        let holds = |text: &str| Slot { holds: Holds::Address(text.parse().unwrap()), change_allowed_from: None };
        let (one, two) = (holds("2001:db8::1"), holds("2001:db8::2"));
        seen.note(&Registered { primary: one.clone(), secondary: two.clone(), ..Registered::default() });
        let empty = Slot { holds: Holds::Empty, change_allowed_from: None };
        seen.note(&Registered { secondary: empty.clone(), ..Registered::default() });
        assert_eq!(seen.get(Role::Primary).unwrap().slot, one);
        assert_eq!(seen.get(Role::Secondary).unwrap().slot, empty);
    }
}
