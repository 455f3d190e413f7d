//! Request targets and hosts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri};

use super::input::parts;
use crate::config::from_text;
use crate::domain::Authority;
use crate::domain::target::own_host;
use crate::proxy::Destinations;
use crate::proxy::fuzzing::{target as read, tunnel};

/// The broker's own hosts; another port of the API; two services on one host; a host that is allowed.
static SETTINGS: LazyLock<Vec<Destinations>> = LazyLock::new(|| {
    let more = [
        "",
        "[broker.dhan]\napi = \"https://api.dhan.co:8443\"\n",
        "[broker.dhan]\nauth = \"https://api.dhan.co:8443\"\n",
        "[egress]\nallow = [\"example.com:443\", \"example.com:80\"]\n",
    ];
    let listener = "[[listener]]\naddress = \"127.0.0.1:8080\"\naccount = \"alpha\"\n";
    let settings: Vec<_> = more
        .iter()
        .filter_map(|more| from_text("fuzzing", Path::new("/x"), &format!("{listener}{more}"), &BTreeMap::new()).ok())
        .map(|config| Destinations::new(&config))
        .collect();
    assert_eq!(settings.len(), more.len(), "a configuration is wrong");
    settings
});

/// A target is read in one way or refused, by the short way as by the long one, and written out it is read as the same.
/// Lines of the input: the target, `Host`, the authority of the tunnel that it comes through; the last two may be
/// missing.
///
/// # Panics
/// Where that does not hold.
pub fn target(data: &[u8]) {
    let (raw, rest) = parts(data, b'\n');
    let (host, inside) = parts(rest, b'\n');
    let (Ok(raw), Ok(inside)) = (std::str::from_utf8(raw), std::str::from_utf8(inside)) else { return };
    authority(raw);
    authority(inside);
    own_host(raw, Some(std::net::SocketAddr::from(([127, 0, 0, 1], 8080))), &[]);
    let inside = Authority::parse(inside, None).ok();
    let mut headers = HeaderMap::new();
    if let Some(host) = Some(host).filter(|host| !host.is_empty()).and_then(|host| HeaderValue::from_bytes(host).ok()) {
        headers.insert(HOST, host);
    }
    for destinations in &*SETTINGS {
        let [short, long] = read(destinations, raw, &headers, inside.as_ref());
        if raw.contains('#') {
            assert!(short.is_err(), "a fragment was taken");
        } else {
            assert_eq!(short, long, "two ways that find two targets");
        }
        if let Ok(found) = short {
            one_path(found.path.path());
            let written = format!("https://{}{}", found.authority, found.path);
            let again = read(destinations, &written, &HeaderMap::new(), None);
            assert_eq!(again, [Ok(found.clone()), Ok(found)], "written out it is another target: {written}");
        }
        if let Some(leads_to) = tunnel(destinations, raw, &headers) {
            let asked = Authority::parse(raw, None);
            let same = |asked: Authority| asked == leads_to || (asked.host == leads_to.host && asked.port == 443);
            assert!(asked.is_ok_and(same), "{raw} leads to {leads_to}");
        }
    }
}

/// Whoever decodes and cleans a path, once or twice, must find it as it is, but for characters that mean nothing.
fn one_path(path: &str) {
    let mut decoded = path.as_bytes().to_vec();
    for _ in 0..2 {
        decoded = decode(&decoded);
        let special = |b: &u8| matches!(b, b'/' | b'?' | b'#' | b'\\' | b';');
        let count = |bytes: &[u8]| bytes.iter().filter(|b| special(b)).count();
        assert_eq!(count(&decoded), count(path.as_bytes()), "decoded it is another path: {path}");
        assert!(!decoded.split(|b| *b == b'/').any(|part| part == b"." || part == b".."), "a dot segment: {path}");
    }
    assert!(path.starts_with('/') && !path.contains("//"), "an empty segment: {path}");
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let hidden = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match hidden.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// An authority has one spelling, and others read the same in it.
fn authority(text: &str) {
    let found = Authority::parse(text, None);
    let defaulted = Authority::parse(text, Some(443));
    assert!(found.is_err() || found == defaulted, "a default port changes what is said");
    let Ok(found) = defaulted else { return };
    let spelt = found.to_string();
    assert_eq!(Authority::parse(&spelt, None).as_ref(), Ok(&found), "its own spelling is another: {spelt}");
    assert!(!spelt.bytes().any(|b| b.is_ascii_uppercase()), "not lower case: {spelt}");
    if let Ok(uri) = format!("https://{text}/").parse::<Uri>() {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let same = host.eq_ignore_ascii_case(found.host.as_str()) || host.parse().ok() == found.host.ip();
        assert!(same && uri.port_u16().unwrap_or(443) == found.port, "read as a URI it is another: {text}");
    }
}
