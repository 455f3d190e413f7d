//! One of each kind of request that is counted apart.

use crate::broker::dhan::endpoints::RateClass;

/// One of each kind that is counted apart.
#[derive(Debug, Default)]
pub(super) struct Classes<T> {
    pub(super) order: T,
    pub(super) data: T,
    pub(super) quote: T,
    pub(super) other: T,
}

impl<T> Classes<T> {
    /// An option chain is counted as data.
    pub(super) const fn of(&self, class: RateClass) -> &T {
        match class {
            RateClass::Order => &self.order,
            RateClass::Data | RateClass::OptionChain => &self.data,
            RateClass::Quote => &self.quote,
            RateClass::Other => &self.other,
        }
    }

    pub(super) const fn of_mut(&mut self, class: RateClass) -> &mut T {
        match class {
            RateClass::Order => &mut self.order,
            RateClass::Data | RateClass::OptionChain => &mut self.data,
            RateClass::Quote => &mut self.quote,
            RateClass::Other => &mut self.other,
        }
    }
}
