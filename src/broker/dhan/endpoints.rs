//! What kind of request a method and path is. The table is `endpoints.toml`.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::Method;
use serde::Deserialize;

/// Where the REST API's paths begin.
pub const BASE: &str = "/v2";

/// The broker's limit a request counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateClass {
    /// 10/s, 250/min, 1,000/h, 7,000/day.
    Order,
    /// 5/s, 100,000/day.
    Data,
    /// 1/s.
    Quote,
    /// One unique request per 3 s.
    OptionChain,
    /// "Non-trading": 20/s.
    Other,
}

/// What one endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The limit it counts against.
    pub rate: RateClass,
    /// Creates, changes or cancels an order: sent at most once.
    #[serde(default)]
    pub write: bool,
    /// Refused by the broker from an unregistered address.
    #[serde(default)]
    pub static_ip: bool,
    /// Takes `dhanClientId` in its body.
    #[serde(default)]
    pub client_id: bool,
    /// Takes `correlationId` in its body.
    #[serde(default)]
    pub correlation: bool,
    /// Only reads although its method may write: may be repeated when its
    /// connection broke.
    #[serde(default)]
    pub read: bool,
    /// Does something although its method only reads (`GET /edis/tpin` sends a
    /// message to a person): never repeated.
    #[serde(default)]
    pub once: bool,
}

impl Endpoint {
    /// May a request that may have arrived be sent again (RFC 9110 section 9.2.2)?
    pub const fn may_repeat(&self, method: &Method) -> bool {
        let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        !self.write && !self.once && (safe || self.read)
    }
}

/// A path that the table does not know, with a method that only reads. Never
/// repeated: it may be a known one that does something, in another spelling.
const UNKNOWN_READ: Endpoint = Endpoint {
    rate: RateClass::Other,
    write: false,
    static_ip: false,
    client_id: false,
    correlation: false,
    read: false,
    once: true,
};

/// A path that the table does not know, with a method that may write: taken for
/// an order write, because the broker may have added one.
const UNKNOWN_WRITE: Endpoint = Endpoint {
    rate: RateClass::Order,
    write: true,
    static_ip: true,
    client_id: false,
    correlation: false,
    read: false,
    once: false,
};

/// What the gateway answers by itself and never sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Managed {
    /// A login call: answered with a placeholder token.
    Login,
    /// `setIP` and `modifyIP`: a mistake there costs a week.
    Registration,
}

/// The endpoint at a path of the API host, `BASE` included.
pub fn classify(method: &Method, path: &str) -> Endpoint {
    let known = path.strip_prefix(BASE).and_then(|below| TABLE.find(method, below));
    known.unwrap_or(match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => UNKNOWN_READ,
        _ => UNKNOWN_WRITE,
    })
}

/// Does an order write only take risk away? Such writes pass while an account is
/// halted: cancels of any kind, closing every position, and the kill switch's "on".
pub fn takes_risk_away(method: &Method, path: &str, query: Option<&str>) -> bool {
    let Some(below) = path.strip_prefix(BASE) else { return false };
    let parts: Vec<&str> = below.trim_start_matches('/').split('/').collect();
    match (method.as_str(), parts.as_slice()) {
        ("DELETE", ["orders" | "positions", ..] | ["super" | "forever" | "alerts" | "globalstocks", "orders", ..]) => {
            true
        }
        // Of two values the broker may take either, so one only.
        ("POST", ["killswitch"]) => query == Some("killSwitchStatus=ACTIVATE"),
        _ => false,
    }
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

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!("endpoints.toml")).unwrap_or_default());

#[derive(Debug, Default)]
struct Table {
    rows: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    /// `None` for a parameter.
    segments: Vec<Option<String>>,
    methods: HashMap<Method, Endpoint>,
}

impl Table {
    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        #[derive(Deserialize)]
        struct File {
            endpoint: Vec<Row>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "UPPERCASE", deny_unknown_fields)]
        struct Row {
            #[serde(rename = "path")]
            path: String,
            get: Option<Endpoint>,
            post: Option<Endpoint>,
            put: Option<Endpoint>,
            delete: Option<Endpoint>,
        }
        let file: File = toml::from_str(text)?;
        let mut rows: Vec<Pattern> = file
            .endpoint
            .into_iter()
            .map(|row| {
                let segments = segments(&row.path).map(|s| (!s.starts_with('{')).then(|| s.to_owned())).collect();
                let methods = [
                    (Method::GET, row.get),
                    (Method::POST, row.post),
                    (Method::PUT, row.put),
                    (Method::DELETE, row.delete),
                ];
                Pattern { segments, methods: methods.into_iter().filter_map(|(m, e)| Some((m, e?))).collect() }
            })
            .collect();
        // A literal segment beats a parameter: /orders/slicing before /orders/{order-id}.
        rows.sort_by_key(|row| row.segments.iter().filter(|s| s.is_none()).count());
        Ok(Self { rows })
    }

    fn find(&self, method: &Method, below: &str) -> Option<Endpoint> {
        let fits = |pattern: &[Option<String>]| {
            let mut parts = segments(below);
            pattern.iter().all(|want| parts.next().is_some_and(|part| want.as_deref().is_none_or(|w| w == part)))
                && parts.next().is_none()
        };
        self.rows.iter().filter(|row| fits(&row.segments)).find_map(|row| row.methods.get(method).copied())
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('/').split('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that does not parse would make every order "unknown".
    /// A halted account must still be able to get out, and not in.
    #[test]
    fn only_what_takes_risk_away_passes_a_halt() {
        for (method, path, query) in [
            (Method::DELETE, "/v2/orders/1", None),
            (Method::DELETE, "/v2/super/orders/1/ENTRY_LEG", None),
            (Method::DELETE, "/v2/forever/orders/1", None),
            (Method::DELETE, "/v2/positions", None),
            (Method::POST, "/v2/killswitch", Some("killSwitchStatus=ACTIVATE")),
        ] {
            assert!(takes_risk_away(&method, path, query), "{method} {path}");
        }
        for (method, path, query) in [
            (Method::POST, "/v2/orders", None),
            (Method::PUT, "/v2/orders/1", None),
            (Method::DELETE, "/v2/pnlExit", None),
            (Method::POST, "/v2/killswitch", Some("killSwitchStatus=DEACTIVATE")),
            (Method::POST, "/v2/killswitch", Some("killSwitchStatus=ACTIVATE&killSwitchStatus=DEACTIVATE")),
            (Method::POST, "/v2/killswitch", None),
            (Method::DELETE, "/orders/1", None),
        ] {
            assert!(!takes_risk_away(&method, path, query), "{method} {path}");
        }
    }

    #[test]
    fn the_table_parses_and_is_whole() {
        let table = Table::parse(include_str!("endpoints.toml")).unwrap();
        let endpoints: usize = table.rows.iter().map(|row| row.methods.len()).sum();
        assert!(endpoints >= 70, "{endpoints}");
    }

    #[test]
    fn a_literal_beats_a_parameter() {
        let slicing = classify(&Method::POST, "/v2/orders/slicing");
        assert!(slicing.write && slicing.correlation);
        assert!(!classify(&Method::GET, "/v2/orders/external/abc").write);
        assert!(classify(&Method::DELETE, "/v2/orders/112611230001").write);
        assert!(!classify(&Method::DELETE, "/v2/orders/112611230001").correlation);
    }

    /// The broker may add an order endpoint on any day.
    #[test]
    fn an_unknown_path_that_may_write_is_an_order_write() {
        for (method, path) in [
            (Method::POST, "/v2/bracket/orders"),
            (Method::POST, "/v3/orders"),
            (Method::POST, "/v2/orders/"),
            (Method::PATCH, "/v2/orders/1"),
            (Method::POST, "/v2/orders/1"),
        ] {
            assert!(classify(&method, path).write, "{method} {path}");
        }
        assert!(!classify(&Method::GET, "/v2/whatever").write);
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
        let may = |method: Method, path| classify(&method, path).may_repeat(&method);
        assert!(may(Method::GET, "/v2/orders") && may(Method::POST, "/v2/marketfeed/ltp"));
        for (method, path) in [
            (Method::POST, "/v2/orders"),
            (Method::DELETE, "/v2/orders/1"),
            (Method::POST, "/v2/edis/form"),
            (Method::POST, "/v2/edis/bulkform"),
            (Method::GET, "/v2/edis/tpin"),
            (Method::HEAD, "/v2/edis/tpin"),
            (Method::GET, "/v2/edis/tpin/"),
            (Method::GET, "/v2/new"),
            (Method::POST, "/v2/new"),
        ] {
            assert!(!may(method.clone(), path), "{method} {path}");
        }
    }
}
