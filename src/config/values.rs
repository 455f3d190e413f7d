//! From a TOML value to one of our types. Lists and tables of them: `collections`.
//!
//! A text of this module names what was found and what would be right. It is
//! given without the key, which only the reader knows.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use toml::Value;

use super::{Bind, ClientKey, Hours, PublicUrl};
use crate::domain::{AccountName, Authority, Host, OperatorRole, OwnHost};

/// What is wrong with a value: where below its key (`.2` of a list), and the text.
pub(super) type Faults = Vec<(String, String)>;

/// One fault of the value itself.
pub(super) fn fault(text: impl fmt::Display) -> Faults {
    vec![(String::new(), text.to_string())]
}

/// A type that a key can have.
pub(super) trait FromValue: Sized {
    /// What is wanted, with an example.
    const WANTED: &'static str;
    /// May a problem show the value?
    const SHOWN: bool = true;
    /// Is it the right TOML type? Decides too how a variable's text is taken.
    fn fits(value: &Value) -> bool {
        value.is_str()
    }
    /// The value, which fits.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(value: &Value) -> Result<Self, Faults>;

    /// The value, whether it fits or not.
    ///
    /// # Errors
    /// What is wrong with it.
    fn from_value(value: &Value) -> Result<Self, Faults> {
        if Self::fits(value) {
            Self::read(value)
        } else if Self::SHOWN {
            Err(fault(format_args!("{} is {}; give {}", show(value), kind(value), Self::WANTED)))
        } else {
            Err(fault(format_args!("is {}; give {}", kind(value), Self::WANTED)))
        }
    }
}

/// A value as a problem shows it: one line, not too long, lists and tables not at all.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(_) => "[...]".to_owned(),
        Value::Table(_) => "{...}".to_owned(),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => value.to_string(),
    }
}

/// A text in quotes, on one line and cut at 80 characters.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// The TOML type in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "a truth value",
        Value::Datetime(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// The text of a value that fits a text type; empty never happens to matter,
/// because each parser refuses it.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl FromValue for bool {
    const WANTED: &'static str = "true or false, without quotes";
    fn fits(value: &Value) -> bool {
        value.is_bool()
    }
    fn read(value: &Value) -> Result<Self, Faults> {
        Ok(value.as_bool().unwrap_or_default())
    }
}

impl FromValue for Duration {
    const WANTED: &'static str = "a duration in quotes with its unit, such as \"3s\", \"500ms\" or \"1m\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        humantime::parse_duration(text(value))
            .map_err(|err| fault(format_args!("{} is no duration ({err}); give {}", show(value), Self::WANTED)))
    }
}

/// A whole number, 0 or more.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Count(pub usize);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromValue for Count {
    const WANTED: &'static str = "a whole number such as 8, without quotes";
    fn fits(value: &Value) -> bool {
        value.is_integer()
    }
    fn read(value: &Value) -> Result<Self, Faults> {
        let number = value.as_integer().and_then(|n| usize::try_from(n).ok());
        number.map(Self).ok_or_else(|| fault(format_args!("{} is below 0; give {}", show(value), Self::WANTED)))
    }
}

impl FromValue for f64 {
    const WANTED: &'static str = "a number such as 0.05, without quotes";
    fn fits(value: &Value) -> bool {
        value.is_float() || value.is_integer()
    }
    fn read(value: &Value) -> Result<Self, Faults> {
        // Only small numbers are in range, and those a double holds exactly.
        let whole = || value.as_integer().and_then(|n| i32::try_from(n).ok()).map_or(Self::INFINITY, Self::from);
        Ok(value.as_float().unwrap_or_else(whole))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Size(pub usize);

impl Size {
    const UNITS: [(&'static str, usize); 7] = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1_000),
        ("B", 1),
    ];

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = Self::UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)))?;
        number.trim_end().parse::<usize>().ok()?.checked_mul(*unit).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, size): &&(&str, usize)| self.0 >= *size && self.0.is_multiple_of(*size);
        match Self::UNITS.iter().find(fits) {
            Some((unit, size)) => write!(f, "\"{}{unit}\"", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromValue for Size {
    const WANTED: &'static str = "a size such as \"1MiB\", or a whole number of bytes without quotes";
    fn fits(value: &Value) -> bool {
        value.is_str() || value.is_integer()
    }
    fn read(value: &Value) -> Result<Self, Faults> {
        let size = match value.as_integer() {
            Some(bytes) => usize::try_from(bytes).ok().map(Self),
            None => Self::parse(text(value)),
        };
        size.ok_or_else(|| fault(format_args!("{} is no size; give {}", show(value), Self::WANTED)))
    }
}

/// A file's or folder's path. Never shown before it is known to be one: a key
/// or token pasted in place of the path must not reach a log.
#[derive(Debug)]
pub(super) struct FilePath(pub PathBuf);

impl FromValue for FilePath {
    const WANTED: &'static str = "a path in quotes, such as \"state/master.key\"";
    const SHOWN: bool = false;
    fn read(value: &Value) -> Result<Self, Faults> {
        let path = text(value);
        if path.is_empty() {
            return Err(fault(format_args!("is empty; give {}", Self::WANTED)));
        }
        if path.contains(char::is_control) || path.contains("-----BEGIN") {
            return Err(fault("holds more than a path; put the content into a file and give that file's path"));
        }
        Ok(Self(path.into()))
    }
}

impl FromValue for Bind {
    const WANTED: &'static str = "an address such as \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/run/sixgate.sock\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        if let Some(path) = text(value).strip_prefix("unix:") {
            if path.is_empty() || path.contains('\0') {
                return Err(fault(format_args!("{} has no path; give {}", show(value), Self::WANTED)));
            }
            return Ok(Self::Unix(path.into()));
        }
        let wrong = |_| fault(format_args!("{} is no address and port; give {}", show(value), Self::WANTED));
        text(value).parse::<SocketAddr>().map(Self::Tcp).map_err(wrong)
    }
}

impl FromValue for AccountName {
    const WANTED: &'static str = "a name such as \"alpha\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        Self::parse(text(value)).map_err(|err| fault(format_args!("{} is no account name: {err}", show(value))))
    }
}

/// A pool's name, spelled as account names are.
#[derive(Debug)]
pub(super) struct PoolName(pub String);

impl FromValue for PoolName {
    const WANTED: &'static str = "a name such as \"main\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        match AccountName::parse(text(value)) {
            Ok(name) => Ok(Self(name.into())),
            Err(_) => Err(fault(format_args!(
                "{} is no pool name; give 1 to 64 of A-Z a-z 0-9 . _ - that begin with a letter or digit",
                show(value)
            ))),
        }
    }
}

/// An operator's name, spelled as account names are.
#[derive(Debug)]
pub(super) struct OperatorName(pub String);

impl FromValue for OperatorName {
    const WANTED: &'static str = "a name such as \"desk\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        let found = OperatorRole::ALL.into_iter().find(|role| role.as_str() == text(value));
        match (AccountName::parse(text(value)), found) {
            (Ok(name), None) => Ok(Self(name.into())),
            (Ok(_), Some(role)) => Err(fault(format_args!(
                "\"{0}\" is what the token of admin.{0}_token_file is called in logs; give another name",
                role.as_str()
            ))),
            (Err(_), _) => Err(fault(format_args!(
                "{} is no name; give 1 to 64 of A-Z a-z 0-9 . _ - that begin with a letter or digit",
                show(value)
            ))),
        }
    }
}

impl FromValue for OperatorRole {
    const WANTED: &'static str = "\"viewer\", \"operator\" or \"admin\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text(value));
        found.ok_or_else(|| fault(format_args!("{} is no role; give {}", show(value), Self::WANTED)))
    }
}

impl FromValue for ClientKey {
    const WANTED: &'static str = "\"required\" or \"none\"";
    // The name invites people to put a client key here.
    const SHOWN: bool = false;
    fn read(value: &Value) -> Result<Self, Faults> {
        match text(value) {
            "required" => Ok(Self::Required),
            "none" => Ok(Self::None),
            _ => Err(fault(format_args!("says only whether callers must show a key; give {}", Self::WANTED))),
        }
    }
}

impl FromValue for Hours {
    const WANTED: &'static str = "\"market\" or \"always\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        match text(value) {
            "market" => Ok(Self::Market),
            "always" => Ok(Self::Always),
            _ => Err(fault(format_args!("is no such time; give {}", Self::WANTED))),
        }
    }
}

/// The admission that a listener's bytes can be read on their way.
#[derive(Debug)]
pub(super) struct Plaintext;

impl FromValue for Plaintext {
    const WANTED: &'static str = "\"i-know\" to take the risk, or leave the key out";
    fn read(value: &Value) -> Result<Self, Faults> {
        if text(value) == "i-know" {
            return Ok(Self);
        }
        Err(fault(format_args!("{} is not accepted; give {}", show(value), Self::WANTED)))
    }
}

impl FromValue for tracing::Level {
    const WANTED: &'static str = "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        Ok(match text(value) {
            "error" => Self::ERROR,
            "warn" => Self::WARN,
            "info" => Self::INFO,
            "debug" => Self::DEBUG,
            "trace" => Self::TRACE,
            _ => return Err(fault(format_args!("{} is no level; give {}", show(value), Self::WANTED))),
        })
    }
}

impl FromValue for Host {
    const WANTED: &'static str = "a host name such as \"api.dhan.co\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        let wrong = |err| fault(format_args!("{} is {err}; give {}", show(value), Self::WANTED));
        Self::parse(text(value)).map_err(wrong)
    }
}

impl FromValue for Authority {
    const WANTED: &'static str = "a host with or without a port, such as \"example.com:443\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        let wrong = |err| fault(format_args!("{} cannot be read: {err}; give {}", show(value), Self::WANTED));
        Self::parse(text(value), Some(443)).map_err(wrong)
    }
}

impl FromValue for OwnHost {
    const WANTED: &'static str = "a host with or without a port, such as \"gw.lan:9000\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        let wrong = |err| fault(format_args!("{} cannot be read: {err}; give {}", show(value), Self::WANTED));
        Self::parse(text(value)).map_err(wrong)
    }
}

/// Where a host is: IPv6, or IPv4 for a host of `egress.ipv4_hosts`, which is not known here.
#[derive(Debug)]
pub(super) struct Pin(pub SocketAddr);

impl FromValue for Pin {
    const WANTED: &'static str = "an IPv6 address and port, such as \"[2001:db8:b::1]:443\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        let wrong = |what| fault(format_args!("{} {what}; give {}", show(value), Self::WANTED));
        let at: SocketAddr = text(value).parse().map_err(|_| wrong("is no IPv6 address and port"))?;
        if at.port() == 0 {
            return Err(wrong("has port 0, which nobody can connect to"));
        }
        let mapped = matches!(at.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        if at.ip().is_unspecified() || at.ip().is_multicast() || mapped {
            return Err(wrong("is not the address of one IPv6 host"));
        }
        Ok(Self(at))
    }
}

/// A source of `egress.ipv4_hosts`
impl FromValue for Ipv4Addr {
    const WANTED: &'static str = "an IPv4 address of this host, such as \"192.0.2.7\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        let wrong = |what| fault(format_args!("{} {what}; give {}", show(value), Self::WANTED));
        let at = match text(value).parse::<IpAddr>() {
            Ok(IpAddr::V4(at)) => at,
            Ok(IpAddr::V6(_)) => return Err(wrong("is an IPv6 address: what has one needs no entry here")),
            Err(_) => return Err(wrong("is no IPv4 address")),
        };
        if at.is_unspecified() {
            return Err(wrong("leaves the choice to the kernel"));
        }
        if at.is_multicast() || at.is_broadcast() {
            return Err(wrong("is not the address of one host"));
        }
        Ok(at)
    }
}

/// `egress.name_servers`
impl FromValue for SocketAddr {
    const WANTED: &'static str = "an address and port, such as \"[2001:db8::53]:53\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        let wrong = |what| fault(format_args!("{} {what}; give {}", show(value), Self::WANTED));
        let at: Self = text(value).parse().map_err(|_| wrong("is no address and port"))?;
        if at.port() == 0 || at.ip().is_unspecified() || at.ip().is_multicast() {
            return Err(wrong("is not the address of one server"));
        }
        Ok(at)
    }
}

/// A base address of the broker: scheme, host, and a port if it is not 443.
fn base_address(value: &Value, scheme: &str, port: u16, wanted: &str) -> Result<Authority, Faults> {
    let wrong = |what: &dyn fmt::Display| fault(format_args!("{} {what}; give {wanted}", show(value)));
    let rest = text(value).strip_prefix(scheme);
    let rest = rest.ok_or_else(|| wrong(&format_args!("does not begin with {scheme}")))?;
    if rest.contains(['/', '?', '#']) {
        return Err(wrong(&"has more than scheme, host and port"));
    }
    Authority::parse(rest, Some(port)).map_err(|err| wrong(&format_args!("cannot be read: {err}")))
}

/// `https://host` or `https://host:port`.
#[derive(Debug)]
pub(super) struct Https(pub Authority);

impl FromValue for Https {
    const WANTED: &'static str = "only scheme, host and perhaps a port, such as \"https://api.dhan.co\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        base_address(value, "https://", 443, Self::WANTED).map(Self)
    }
}

impl FromValue for PublicUrl {
    const WANTED: &'static str = "only scheme, host and perhaps a port, such as \"https://gw.example\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        let https = text(value).starts_with("https://");
        let (scheme, port) = if https { ("https://", 443) } else { ("http://", 80) };
        base_address(value, scheme, port, Self::WANTED).map(|at| Self { https, at })
    }
}

/// `wss://host` or `wss://host:port`.
#[derive(Debug)]
pub(super) struct Wss(pub Authority);

impl FromValue for Wss {
    const WANTED: &'static str = "only scheme, host and perhaps a port, such as \"wss://api-feed.dhan.co\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        base_address(value, "wss://", 443, Self::WANTED).map(Self)
    }
}

impl FromValue for Ipv6Net {
    const WANTED: &'static str = "an IPv6 prefix such as \"2001:db8:a1::/64\"";
    fn read(value: &Value) -> Result<Self, Faults> {
        let wrong = |what: &dyn fmt::Display| fault(format_args!("{} {what}; give {}", show(value), Self::WANTED));
        if text(value).parse::<Ipv4Net>().is_ok() {
            return Err(wrong(&"is an IPv4 prefix, and accounts send from IPv6 addresses"));
        }
        let net: Self = text(value).parse().map_err(|_| wrong(&"is no IPv6 prefix"))?;
        if net.trunc() != net {
            // Which of the two was meant is not ours to guess.
            let text = format_args!("{net} has bits set after its first {}; give {}", net.prefix_len(), net.trunc())
                .to_string();
            return Err(fault(text));
        }
        Ok(net)
    }
}

/// A key as a problem shows it: bare where TOML allows that, else in quotes and
/// on one line.
pub(super) fn key_text(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare && key.len() <= 80 { key.to_owned() } else { quoted(key) }
}
