//! The person whose request it is.

use super::super::operators::Operator;
use super::super::sessions::SecretDigest;
use crate::domain::{OperatorRole, Secret};

/// A person who is signed in.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// Who it is, with the role of this moment.
    pub operator: Operator,
    /// Which session.
    pub session: SecretDigest,
    /// What each of its forms has to bring.
    pub csrf: Secret,
    /// When the session ends if nobody does anything.
    pub ends: jiff::Timestamp,
    /// Does the page ask by itself for what is new? What is shown once is for the person.
    pub is_refresh: bool,
}

impl Visitor {
    /// May they do what needs `role`? Pages show no form to who may not.
    pub(super) fn may(&self, role: OperatorRole) -> bool {
        self.operator.role >= role
    }
}
