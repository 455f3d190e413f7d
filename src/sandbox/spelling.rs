//! Paths in other spellings that a lax broker takes for its own.

use std::borrow::Cow;

/// Every fixed word of the API's paths, as the broker spells it.
const WORDS: [&str; 51] = [
    "orders",
    "slicing",
    "external",
    "trades",
    "super",
    "forever",
    "all",
    "alerts",
    "multi",
    "positions",
    "convert",
    "holdings",
    "fundlimit",
    "margincalculator",
    "killswitch",
    "pnlExit",
    "ip",
    "setIP",
    "modifyIP",
    "getIP",
    "profile",
    "RenewToken",
    "marketfeed",
    "ltp",
    "ohlc",
    "quote",
    "optionchain",
    "expirylist",
    "charts",
    "intraday",
    "historical",
    "ENTRY_LEG",
    "TARGET_LEG",
    "STOP_LOSS_LEG",
    "ledger",
    "edis",
    "tpin",
    "form",
    "bulkform",
    "inquire",
    "rollingoption",
    "data",
    "technical",
    "marketmovers",
    "companyinfo",
    "newsheadline",
    "instrument",
    "globalstocks",
    "transEstimate",
    "marketstatus",
    "v2",
];

/// The path that a server which normalises takes this one for: decoded, without empty
/// segments, path parameters and `.`, in any case, and with `/v2` where it lacks.
pub(super) fn canonical(path: &str) -> String {
    let mut segments: Vec<String> = Vec::new();
    let mut name = false;
    for segment in path.split('/') {
        let segment = decoded(segment);
        // What follows `external` is the caller's own word.
        let plain = if name { &*segment } else { segment.split(';').next().unwrap_or_default() };
        match plain {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => {
                let known = WORDS.iter().find(|word| !name && word.eq_ignore_ascii_case(plain));
                let segment = known.map_or_else(|| plain.to_owned(), |word| (*word).to_owned());
                name = !name && segment == "external";
                segments.push(segment);
            }
        }
    }
    if segments.first().is_none_or(|first| first != "v2") {
        segments.insert(0, "v2".to_owned());
    }
    format!("/{}", segments.join("/"))
}

fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these reaches some server's order handler, whatever a gateway thinks of it.
    #[test]
    fn other_spellings_are_the_same_path() {
        for spelling in [
            "/v2/orders",
            "/v2/orders/",
            "/V2/Orders",
            "/orders",
            "/ORDERS/",
            "//v2//orders",
            "/v2/./orders",
            "/v2/x/../orders",
            "/v2/%6frders",
            "/v2/orders;a=b",
        ] {
            assert_eq!(canonical(spelling), "/v2/orders", "{spelling}");
        }
        assert_eq!(canonical("/v2/IP/GETip"), "/v2/ip/getIP");
        assert_eq!(canonical("/v2/orders/EXTERNAL/Orders%20a"), "/v2/orders/external/Orders a");
        assert_eq!(canonical("/v2/orders/112611230001/"), "/v2/orders/112611230001");
    }
}
