//! Replies compressed, as a CDN in front of the broker would.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use super::habits::Compression;

/// A way to compress a reply (RFC 9110, section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// `deflate`, which is zlib's format (RFC 1950).
    Deflate,
    /// Brotli, RFC 7932.
    Br,
}

impl Encoding {
    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Br => "br",
        }
    }

    fn pack(self, plain: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut packer = GzEncoder::new(Vec::new(), Level::default());
                packer.write_all(plain)?;
                packer.finish()
            }
            Self::Deflate => {
                let mut packer = ZlibEncoder::new(Vec::new(), Level::default());
                packer.write_all(plain)?;
                packer.finish()
            }
            Self::Br => {
                let mut packer = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
                packer.write_all(plain)?;
                Ok(packer.into_inner())
            }
        }
    }

    /// What a client asks for, the smallest first: `*` is gzip, and a weight of 0 means
    /// that it is not wanted (RFC 9110, section 12.5.3).
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let said = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let wanted: Vec<String> = said
            .flat_map(|line| line.split(','))
            .filter_map(|item| {
                let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
                let weight = parameters.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
                (weight != Some(0.0)).then(|| name.trim().to_ascii_lowercase())
            })
            .collect();
        let accepts = |name: &str| wanted.iter().any(|item| item == name);
        let order = [Self::Br, Self::Gzip, Self::Deflate];
        order.into_iter().find(|encoding| accepts(encoding.name())).or_else(|| accepts("*").then_some(Self::Gzip))
    }
}

/// Compress a reply's body and say so in its head, as the habit is. What is empty stays so.
pub(super) fn encode(habit: Compression, request: &HeaderMap, headers: &mut HeaderMap, body: Bytes) -> Bytes {
    if body.is_empty() {
        return body;
    }
    let encoding = match habit {
        Compression::Never => return body,
        Compression::Asked => {
            headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
            let Some(encoding) = Encoding::accepted(request) else { return body };
            encoding
        }
        Compression::Always(encoding) | Compression::Broken(encoding) | Compression::Mislabelled(encoding) => encoding,
    };
    // Writing to memory does not fail; a reply as it was would be the lesser harm.
    let Ok(mut packed) = encoding.pack(&body) else { return body };
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    match habit {
        Compression::Mislabelled(_) => body,
        Compression::Broken(_) => {
            packed.truncate(packed.len() / 2);
            packed.into()
        }
        Compression::Never | Compression::Asked | Compression::Always(_) => packed.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that asks for `identity` alone must get it, or the switch proves nothing.
    #[test]
    fn the_best_of_what_is_asked_for_is_taken() {
        for (said, best) in [
            ("gzip, deflate", Some(Encoding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Encoding::Br)),
            ("deflate", Some(Encoding::Deflate)),
            ("br;q=0, GZIP;q=0.5", Some(Encoding::Gzip)),
            ("*", Some(Encoding::Gzip)),
            ("identity", None),
            ("gzip;q=0, identity", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(said));
            assert_eq!(Encoding::accepted(&headers), best, "{said}");
        }
        assert_eq!(Encoding::accepted(&HeaderMap::new()), None);
    }
}
