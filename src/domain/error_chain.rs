//! Errors as people read them.

/// An error and its causes on one line. Where a library's text ends with the address of its own documentation, that is
/// left out, and its commonest words are put into ours: they say nothing to whoever reads a reply or a log of ours.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(plain(&error.to_string()), |text, cause| format!("{text}: {}", plain(&cause.to_string())))
}

/// Words of libraries that say nothing to a trader, and what they mean.
const MEANINGS: [(&str, &str); 4] = [
    ("peer closed connection without sending TLS close_notify", "the other side closed the connection"),
    ("connection closed before message completed", "the other side closed the connection before its reply was whole"),
    ("error reading a body from connection", "the reply broke off"),
    ("end of file before message length reached", "the connection ended before the reply was whole"),
];

fn plain(text: &str) -> String {
    let text = text.split_once(": https://").map_or(text, |(words, _)| words);
    MEANINGS.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
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
        assert_eq!(text, "the other side closed the connection");
        let text = chain(&Error::other(format!("no reply from api.dhan.co: {inner}")));
        assert_eq!(text, "no reply from api.dhan.co: the other side closed the connection");
    }
}
