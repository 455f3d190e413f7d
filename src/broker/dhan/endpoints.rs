//! What kind of request a method and path is. The table is `endpoints.toml`.
//!
//! A server may take `/V2/Orders/` for `/v2/orders`, so a request is classified by what its path may be read as, in
//! every spelling. How a write must be spelt is [`spelling`]'s to say: whatever is keyed, remembered or refused
//! further on sees one spelling only.

mod endpoint;
mod table;

use std::sync::LazyLock;

use http::Method;
use http::uri::PathAndQuery;

use table::EndpointTable;

pub use endpoint::{BASE, Endpoint, RateClass, WriteKind};

/// A path that the table does not know, with a method that only reads. Never
/// repeated: it may be a known one that does something, in another spelling.
const UNKNOWN_READ: Endpoint = Endpoint {
    rate: RateClass::Other,
    write: None,
    static_ip: false,
    client_id: false,
    correlation: false,
    read: false,
    once: true,
    exact: true,
};

/// A path that the table does not know, with a method that may write: taken for
/// an order write, because the broker may have added one.
const UNKNOWN_WRITE: Endpoint = Endpoint {
    rate: RateClass::Order,
    write: Some(WriteKind::Other),
    static_ip: true,
    client_id: false,
    correlation: false,
    read: false,
    once: false,
    exact: true,
};

/// What the gateway answers by itself and never sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Managed {
    /// A login call: answered with a placeholder token.
    Login,
    /// `setIP` and `modifyIP`: a mistake there costs a week.
    Registration,
}

/// How a request's path is spelt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// It may go on as it is.
    Right,
    /// It takes risk away, and goes on as this: the fixed words are put right, the ids in it stay.
    Corrected(PathAndQuery),
    /// A write that the broker may or may not take for a known one: nobody could say what became of it.
    Refused {
        /// The right spelling.
        right: String,
    },
}

/// The endpoint at a path of the API host, `BASE` included, in whatever spelling.
pub fn classify(method: &Method, path: &str, query: Option<&str>) -> Endpoint {
    let Some(found) = TABLE.find(method, path) else {
        return match *method {
            Method::GET | Method::HEAD | Method::OPTIONS => UNKNOWN_READ,
            _ => UNKNOWN_WRITE,
        };
    };
    let mut endpoint = Endpoint { exact: found.exact, ..found.endpoint };
    if found.row.is_kill_switch() && endpoint.is_write() && query.is_some_and(turns_on) {
        endpoint.write = Some(WriteKind::KillSwitchOn);
        endpoint.exact &= query == Some(ON);
    }
    endpoint
}

/// How the path of a request to the API host is spelt. A read is right in every spelling, and so is what nobody knows.
pub fn spelling(method: &Method, path: &str, query: Option<&str>) -> Spelling {
    let endpoint = classify(method, path, query);
    if endpoint.exact || !endpoint.is_write() {
        return Spelling::Right;
    }
    let Some(found) = TABLE.find(method, path) else { return Spelling::Right };
    let mut right = found.row.spelt(path);
    if !endpoint.takes_risk_away() {
        return Spelling::Refused { right };
    }
    let query = if endpoint.write == Some(WriteKind::KillSwitchOn) { Some(ON) } else { query };
    if let Some(query) = query {
        right.push('?');
        right.push_str(query);
    }
    // All of it came out of a path and a query, so it is one.
    right.parse().map_or(Spelling::Refused { right }, Spelling::Corrected)
}

/// The query that turns the kill switch on, as the broker documents it.
const ON: &str = "killSwitchStatus=ACTIVATE";

/// Does this query turn the kill switch on, in whatever case? Of two values the broker may take either, so nothing
/// else may stand in it.
fn turns_on(query: &str) -> bool {
    let mut pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.next().is_some_and(|first| first.eq_ignore_ascii_case(ON)) && pairs.next().is_none()
}

/// Is a path of the API or login host one of the gateway's own? Whatever the broker
/// may take for such a path must not get through: servers ignore case, a final
/// slash, blanks, path parameters and sometimes an ending, so those count for nothing.
pub fn managed_path(path: &str) -> Option<Managed> {
    // A correlation id may be any word.
    if path.starts_with("/v2/orders/external/") {
        return None;
    }
    let managed = |segment: &str| {
        // What none of the names begins with is none of them, and nothing is copied to see it.
        let first = segment.trim_start_matches([' ', '%', '2', '0']).bytes().next().map(|b| b.to_ascii_lowercase());
        if !matches!(first, Some(b'r' | b'g' | b'c' | b's' | b'm')) {
            return None;
        }
        let plain = segment.replace("%20", " ").to_ascii_lowercase();
        match plain.trim().split(['.', ';', ' ', ',']).next().unwrap_or_default() {
            "renewtoken"
            | "generateaccesstoken"
            | "generate-consent"
            | "consumeapp-consent"
            | "consume-consent"
            | "consentapp-login"
            | "consent-login" => Some(Managed::Login),
            "setip" | "modifyip" => Some(Managed::Registration),
            _ => None,
        }
    };
    path.split('/').find_map(managed)
}

static TABLE: LazyLock<EndpointTable> =
    LazyLock::new(|| EndpointTable::parse(include_str!("endpoints.toml")).unwrap_or_default());

#[cfg(test)]
mod tests {
    use super::*;

    /// A halted account must still be able to get out, and not in.
    #[test]
    fn only_what_takes_risk_away_passes_a_halt() {
        let takes = |method: &Method, path, query| classify(method, path, query).takes_risk_away();
        for (method, path, query) in [
            (Method::DELETE, "/v2/orders/1", None),
            (Method::DELETE, "/orders/1", None),
            (Method::DELETE, "/V2/Orders/1/", None),
            (Method::DELETE, "/v2/super/orders/1/ENTRY_LEG", None),
            (Method::DELETE, "/v2/super/orders/1/entry_leg", None),
            (Method::DELETE, "/v2/forever/orders/1", None),
            (Method::DELETE, "/v2/alerts/orders/1", None),
            (Method::DELETE, "/v2/globalstocks/orders/1", None),
            (Method::DELETE, "/v2/positions", None),
            (Method::DELETE, "/positions/", None),
            (Method::POST, "/v2/killswitch", Some("killSwitchStatus=ACTIVATE")),
            (Method::POST, "/v2/killSwitch", Some("killswitchstatus=activate")),
        ] {
            assert!(takes(&method, path, query), "{method} {path}");
        }
        for (method, path, query) in [
            (Method::POST, "/v2/orders", None),
            (Method::PUT, "/v2/orders/1", None),
            (Method::DELETE, "/v2/orders/", None),
            (Method::DELETE, "/v2/pnlExit", None),
            (Method::POST, "/v2/killswitch", Some("killSwitchStatus=DEACTIVATE")),
            (Method::POST, "/v2/killswitch", Some("killSwitchStatus=ACTIVATE&killSwitchStatus=DEACTIVATE")),
            (Method::POST, "/v2/killswitch", None),
            (Method::GET, "/v2/killswitch", Some("killSwitchStatus=ACTIVATE")),
        ] {
            assert!(!takes(&method, path, query), "{method} {path}");
        }
    }

    /// Two spellings of one order are two orders to whoever keys by the path.
    #[test]
    fn a_write_goes_on_in_one_spelling_only() {
        for (method, path, query, right) in [
            (Method::POST, "/v2/orders/", None, "/v2/orders"),
            (Method::POST, "/V2/orders", None, "/v2/orders"),
            (Method::POST, "/v2/Orders", None, "/v2/orders"),
            (Method::POST, "/orders", None, "/v2/orders"),
            (Method::POST, "/orders/slicing/", None, "/v2/orders/slicing"),
            (Method::PUT, "/v2/ORDERS/aB1", None, "/v2/orders/aB1"),
            (Method::DELETE, "/v2/pnlexit", None, "/v2/pnlExit"),
            (Method::POST, "/v2/KillSwitch", Some("killSwitchStatus=DEACTIVATE"), "/v2/killswitch"),
        ] {
            let endpoint = classify(&method, path, query);
            assert!(endpoint.is_write() && !endpoint.exact, "{method} {path}");
            assert_eq!(
                spelling(&method, path, query),
                Spelling::Refused { right: right.to_owned() },
                "{method} {path}"
            );
            assert_eq!(spelling(&method, right, query), Spelling::Right);
        }
        let as_right = classify(&Method::POST, "/v2/orders", None);
        assert_eq!(Endpoint { exact: true, ..classify(&Method::POST, "/orders/", None) }, as_right);
    }

    /// Who is in trouble is not taught spelling; and an id is nobody's to change.
    #[test]
    fn what_takes_risk_away_is_put_right_and_its_ids_stay() {
        for (method, sent, right) in [
            (Method::DELETE, "/orders/aB1", "/v2/orders/aB1"),
            (Method::DELETE, "/V2/ORDERS/aB1/", "/v2/orders/aB1"),
            (Method::DELETE, "/v2/Super/Orders/V2/target_leg", "/v2/super/orders/V2/TARGET_LEG"),
            (Method::DELETE, "/v2/super/orders/1/entry_leg", "/v2/super/orders/1/ENTRY_LEG"),
            (Method::DELETE, "/positions/", "/v2/positions"),
            (Method::POST, "/KillSwitch?killswitchstatus=Activate", "/v2/killswitch?killSwitchStatus=ACTIVATE"),
            (Method::POST, "/v2/killswitch?killSwitchStatus=ACTIVATE&", "/v2/killswitch?killSwitchStatus=ACTIVATE"),
            (Method::DELETE, "/orders/1?x=Y", "/v2/orders/1?x=Y"),
        ] {
            let (path, query) = sent.split_once('?').map_or((sent, None), |(path, query)| (path, Some(query)));
            let want = Spelling::Corrected(PathAndQuery::from_static(right));
            assert_eq!(spelling(&method, path, query), want, "{method} {sent}");
        }
        for (method, path) in [
            (Method::DELETE, "/v2/orders/1"),
            (Method::DELETE, "/v2/super/orders/1/ENTRY_LEG"),
            (Method::DELETE, "/v2/super/orders/1/SOME_LEG"),
            (Method::GET, "/orders/"),
            (Method::POST, "/V2/MarketFeed/LTP"),
            (Method::POST, "/v9/orders"),
            (Method::POST, "/v2/orders/1"),
        ] {
            assert_eq!(spelling(&method, path, None), Spelling::Right, "{method} {path}");
        }
        assert_eq!(spelling(&Method::POST, "/v2/killswitch", Some(ON)), Spelling::Right);
    }

    /// v1's paths are legal for reads, and count against the same limits.
    #[test]
    fn a_read_is_known_in_every_spelling() {
        for path in ["/v2/marketfeed/ltp", "/marketfeed/ltp", "/V2/MarketFeed/LTP/"] {
            let endpoint = classify(&Method::POST, path, None);
            assert!(endpoint.rate == RateClass::Quote && endpoint.may_repeat(&Method::POST), "{path}");
        }
        assert!(classify(&Method::GET, "/Orders/", None).may_repeat(&Method::GET));
    }

    /// A table that does not parse would make every order "unknown".
    #[test]
    fn the_table_parses_and_is_whole() {
        let table = EndpointTable::parse(include_str!("endpoints.toml")).unwrap();
        assert!(table.len() >= 70, "{}", table.len());
    }

    /// A row that says nothing of what it does would be sent twice.
    #[test]
    fn a_row_that_may_write_says_what_it_does() {
        let row = |what: &str| {
            EndpointTable::parse(&format!("[[endpoint]]\npath = \"/x\"\nPOST = {{ rate = \"other\"{what} }}"))
        };
        assert!(row("").is_err() && row(", client_id = true").is_err());
        assert!(row(", write = \"other\"").is_ok() && row(", read = true").is_ok() && row(", once = true").is_ok());
    }

    #[test]
    fn a_literal_beats_a_parameter() {
        let slicing = classify(&Method::POST, "/v2/orders/slicing", None);
        assert!(slicing.write == Some(WriteKind::Create) && slicing.correlation);
        assert!(!classify(&Method::GET, "/v2/orders/external/abc", None).is_write());
        let cancel = classify(&Method::DELETE, "/v2/orders/112611230001", None);
        assert!(cancel.write == Some(WriteKind::Cancel) && !cancel.correlation);
    }

    /// The broker may add an order endpoint on any day.
    #[test]
    fn an_unknown_path_that_may_write_is_an_order_write() {
        for (method, path) in [
            (Method::POST, "/v2/bracket/orders"),
            (Method::POST, "/v3/orders"),
            (Method::PATCH, "/v2/orders/1"),
            (Method::POST, "/v2/orders/1"),
            (Method::DELETE, "/v2/orders/"),
        ] {
            assert_eq!(classify(&method, path, None).write, Some(WriteKind::Other), "{method} {path}");
        }
        assert!(!classify(&Method::GET, "/v2/whatever", None).is_write());
    }

    /// A killed token, or an address that cannot be changed for a week.
    #[test]
    fn the_gateways_own_paths_are_known_in_any_spelling() {
        for login in [
            "/v2/RenewToken",
            "/v2/renewtoken/",
            "/v2/RenewToken;x=1",
            "/v2/RenewToken.json",
            "/v2/RenewToken%20",
            "/app/generateAccessToken",
        ] {
            assert_eq!(managed_path(login), Some(Managed::Login), "{login}");
        }
        for registration in ["/v2/ip/setIP", "/v2/IP/MODIFYIP", "/v2/ip/modifyIP;v=1", "/ip/setip/x"] {
            assert_eq!(managed_path(registration), Some(Managed::Registration), "{registration}");
        }
        for other in [
            "/v2/ip/getIP",
            "/v2/orders",
            "/v2/orders/external/renewtoken",
            "/v2/orders/external/my-consent-1",
            "/v2/orders/1-renewtoken",
        ] {
            assert_eq!(managed_path(other), None, "{other}");
        }
    }

    /// What is no read must not be sent twice because a connection broke.
    #[test]
    fn only_reads_are_repeated() {
        let may = |method: Method, path| classify(&method, path, None).may_repeat(&method);
        assert!(may(Method::GET, "/v2/orders") && may(Method::POST, "/v2/marketfeed/ltp"));
        for (method, path) in [
            (Method::POST, "/v2/orders"),
            (Method::DELETE, "/v2/orders/1"),
            (Method::POST, "/v2/edis/form"),
            (Method::POST, "/v2/edis/bulkform"),
            (Method::GET, "/v2/edis/tpin"),
            (Method::HEAD, "/v2/edis/tpin"),
            (Method::GET, "/v2/edis/tpin/"),
            (Method::GET, "/edis/TPIN"),
            (Method::GET, "/v2/new"),
            (Method::POST, "/v2/new"),
        ] {
            assert!(!may(method.clone(), path), "{method} {path}");
        }
    }
}
