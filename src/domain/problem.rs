//! The one error of parsing a value: a sentence that says what would be right.

/// What a value should have looked like. Never holds the value itself, which
/// may be a secret; the caller knows the key it came from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(std::borrow::Cow<'static, str>);

impl Invalid {
    /// A fixed sentence.
    pub const fn new(text: &'static str) -> Self {
        Self(std::borrow::Cow::Borrowed(text))
    }

    /// A sentence made from values that are safe to show.
    pub fn because(text: String) -> Self {
        Self(std::borrow::Cow::Owned(text))
    }
}
