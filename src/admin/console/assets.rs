//! Styles, scripts and the icon: our own files, compiled in. Their address has a digest of them all, so that a browser
//! keeps them for ever and a new build is never mixed with an old one's.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

macro_rules! files {
    ($($name:literal: $kind:literal),* $(,)?) => {
        [$(($name, $kind, include_str!(concat!("static/", $name)))),*]
    };
}

/// Name, media type and content.
static FILES: [(&str, &str, &str); 10] = files! {
    "console.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "console.js": "text/javascript; charset=utf-8",
    "swap.js": "text/javascript; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "forms.js": "text/javascript; charset=utf-8",
    "typing.js": "text/javascript; charset=utf-8",
    "copy.js": "text/javascript; charset=utf-8",
    "clock.js": "text/javascript; charset=utf-8",
    "table.js": "text/javascript; charset=utf-8",
};

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    for (name, _, content) in FILES {
        digest.update(name);
        digest.update(content);
    }
    HEXLOWER.encode(digest.finalize().get(..6).unwrap_or_default())
});

/// Where a browser finds a file.
pub(super) fn path(name: &str) -> String {
    format!("/console/static/{}/{name}", *VERSION)
}

/// A file. One of another build's address is not there: its page is to be loaded anew.
pub(super) async fn file(Path((version, name)): Path<(String, String)>) -> Response {
    let found = FILES.iter().find(|(known, ..)| *known == name && version == *VERSION);
    let Some((_, kind, content)) = found else {
        return (StatusCode::NOT_FOUND, "This file is of another version: reload the page.").into_response();
    };
    let headers = [(CONTENT_TYPE, *kind), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (headers, *content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the console promises of its own scripts: few, and no other's.
    #[test]
    fn our_javascript_is_at_most_600_lines_and_fetches_from_nowhere_else() {
        let scripts: Vec<_> = FILES.iter().filter(|(name, ..)| name.ends_with(".js")).collect();
        let lines: usize = scripts.iter().map(|(_, _, content)| content.lines().count()).sum();
        assert!(lines <= 600, "{lines} lines");
        for (name, _, content) in FILES {
            assert!(!content.contains("http://") || name == "icon.svg", "{name}");
            assert!(!content.contains("https://"), "{name}");
            assert!(!content.contains("innerHTML"), "{name}");
        }
    }
}
