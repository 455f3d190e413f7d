//! What a reply says behind its encoding.
//!
//! A front before the broker may compress unasked, and a caller may ask for it on a read: what the gateway has to
//! judge it reads decoded. An encoding that cannot be read proves nothing, and what would grow beyond all bounds is
//! one of those.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// One encoding upon another: servers make one, a front perhaps a second.
const LAYERS: usize = 4;
/// What brotli reads at a time.
const PIECE: usize = 4096;

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// An encoding that nobody asked for and nothing here reads.
    #[error("its content encoding is not known")]
    Unknown,
    /// It is not what its headers say, or not whole.
    #[error("it is not in the encoding that its headers name")]
    Broken(#[source] io::Error),
    /// More than any reply has.
    #[error("decoded it is longer than {0} bytes")]
    TooLong(usize),
}

/// A body without the encodings that its headers name (RFC 9110 section 8.4), `limit` bytes at most. One that has none
/// is the same bytes, whatever its length.
///
/// # Errors
/// [`Undecodable`].
pub fn decoded(headers: &HeaderMap, body: &Bytes, limit: usize) -> Result<Bytes, Undecodable> {
    if !headers.contains_key(CONTENT_ENCODING) || body.is_empty() {
        return Ok(body.clone());
    }
    let mut names = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = value.to_str().map_err(|_| Undecodable::Unknown)?;
        names.extend(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_ascii_lowercase));
    }
    names.retain(|name| name != "identity");
    if names.len() > LAYERS {
        return Err(Undecodable::Unknown);
    }
    // The last one named was put on last.
    names.iter().rev().try_fold(body.clone(), |body, name| layer(name, &body, limit))
}

fn layer(name: &str, body: &[u8], limit: usize) -> Result<Bytes, Undecodable> {
    match name {
        "gzip" | "x-gzip" => bounded(MultiGzDecoder::new(body), limit),
        // Meant is zlib's; some servers send what is within it.
        "deflate" => match bounded(ZlibDecoder::new(body), limit) {
            Err(Undecodable::Broken(_)) => bounded(DeflateDecoder::new(body), limit),
            read => read,
        },
        "br" => bounded(brotli_decompressor::Decompressor::new(body, PIECE), limit),
        _ => Err(Undecodable::Unknown),
    }
}

fn bounded(reader: impl Read, limit: usize) -> Result<Bytes, Undecodable> {
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(most).read_to_end(&mut out).map_err(Undecodable::Broken)?;
    if out.len() > limit { Err(Undecodable::TooLong(limit)) } else { Ok(out.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = br#"{"orderId":"112611230001","orderStatus":"TRANSIT"}"#;
    /// [`TEXT`] as `brotli` writes it.
    const BROTLI: &str =
        "8b18807b226f726465724964223a22313132363131323330303031222c226f72646572537461747573223a225452414e534954227d03";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut to = GzEncoder::new(Vec::new(), Compression::default());
        to.write_all(text).unwrap();
        to.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut to = ZlibEncoder::new(Vec::new(), Compression::default());
        to.write_all(text).unwrap();
        to.finish().unwrap()
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut to = DeflateEncoder::new(Vec::new(), Compression::default());
        to.write_all(text).unwrap();
        to.finish().unwrap()
    }

    fn read(encodings: &[&str], body: Vec<u8>) -> Result<Bytes, Undecodable> {
        let mut headers = HeaderMap::new();
        for encoding in encodings {
            headers.append(CONTENT_ENCODING, encoding.parse().unwrap());
        }
        decoded(&headers, &body.into(), 100_000)
    }

    /// What is not read makes an executed order `unknown`.
    #[test]
    fn every_encoding_that_a_front_speaks_is_read() {
        let brotli = data_encoding::HEXLOWER.decode(BROTLI.as_bytes()).unwrap();
        for (encodings, body) in [
            (&[][..], TEXT.to_vec()),
            (&["identity"], TEXT.to_vec()),
            (&["gzip"], gzip(TEXT)),
            (&["GZIP"], gzip(TEXT)),
            (&["x-gzip, identity"], gzip(TEXT)),
            (&["deflate"], zlib(TEXT)),
            (&["deflate"], raw(TEXT)),
            (&["br"], brotli.clone()),
            (&["br, gzip"], gzip(&brotli)),
            (&["br", "gzip"], gzip(&brotli)),
            (&["gzip"], [gzip(&TEXT[..10]), gzip(&TEXT[10..])].concat()),
        ] {
            assert_eq!(read(encodings, body).unwrap(), TEXT, "{encodings:?}");
        }
        // An empty answer is nobody's encoding.
        assert_eq!(read(&["zstd"], Vec::new()).unwrap(), "");
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let cut = |mut body: Vec<u8>| {
            body.truncate(body.len() / 2);
            body
        };
        for (encodings, body) in [
            (&["zstd"][..], TEXT.to_vec()),
            (&["gzip"], TEXT.to_vec()),
            (&["gzip"], cut(gzip(TEXT))),
            (&["deflate"], cut(zlib(TEXT))),
            (&["br"], TEXT.to_vec()),
            (&["gzip, gzip, gzip, gzip, gzip"], gzip(TEXT)),
            (&["gzip, what"], gzip(TEXT)),
        ] {
            assert!(read(encodings, body).is_err(), "{encodings:?}");
        }
    }

    /// A thousand bytes must not become a gigabyte, nor each of four layers its own bound's worth.
    #[test]
    fn a_bomb_is_cut_off() {
        let bomb = gzip(&vec![b' '; 10_000_000]);
        assert!(matches!(read(&["gzip"], bomb.clone()), Err(Undecodable::TooLong(100_000))), "{}", bomb.len());
        assert!(matches!(read(&["gzip, gzip"], gzip(&bomb)), Err(Undecodable::TooLong(100_000))));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            body in prop::collection::vec(any::<u8>(), 0..200),
            encoding in prop_oneof![Just("gzip"), Just("deflate"), Just("br"), Just("br, deflate"), Just(",;")],
        ) {
            let _ = read(&[encoding], body);
        }
    }
}
