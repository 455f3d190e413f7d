//! Who operates a gateway, and what they may do.

/// What a bearer token of the admin API, or a session of the console, allows; in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorRole {
    /// Reads, and changes nothing.
    Viewer,
    /// Also gives tokens, halts, pins and validates.
    Operator,
    /// Also makes and deletes.
    Admin,
}

impl OperatorRole {
    /// Every role, the weakest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The word in the configuration, in logs and in texts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}
