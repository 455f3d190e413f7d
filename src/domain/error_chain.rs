//! Errors as people read them.

/// An error and its causes on one line. Where a library's text ends with the address of its own documentation, that is
/// left out: it says nothing to whoever reads a reply or a log of ours.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(plain(&error.to_string()).to_owned(), |text, cause| format!("{text}: {}", plain(&cause.to_string())))
}

fn plain(text: &str) -> &str {
    text.split_once(": https://").map_or(text, |(words, _)| words)
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    /// rustls says so of a connection that ends without its closing alert, and callers read it in a reply.
    #[test]
    fn a_librarys_own_address_is_left_out() {
        let inner = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest/x.html#eof";
        let text = chain(&Error::new(ErrorKind::UnexpectedEof, inner));
        assert_eq!(text, "peer closed connection without sending TLS close_notify");
    }
}
