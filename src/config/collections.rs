//! From a TOML list or table to many values. Every item that is wrong is named,
//! not only the first.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use toml::Value;

use super::values::{Faults, FromValue, Pin, fault, key_text};
use crate::domain::{AccountName, Host};

impl<T: FromValue> FromValue for Vec<T> {
    const WANTED: &'static str = "a list in square brackets, such as [\"a\", \"b\"]";
    fn fits(value: &Value) -> bool {
        value.is_array()
    }
    fn read(value: &Value) -> Result<Self, Faults> {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut faults = Faults::new();
        let mut list = Self::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match T::from_value(item) {
                Ok(item) => list.push(item),
                Err(below) => faults.extend(below.into_iter().map(|(at, text)| (format!(".{index}{at}"), text))),
            }
        }
        if faults.is_empty() { Ok(list) } else { Err(faults) }
    }
}

/// What the keys of a table stand for, where people choose them.
trait Label: Ord + Sized {
    fn label(text: &str) -> Result<Self, String>;
}

impl Label for Host {
    fn label(text: &str) -> Result<Self, String> {
        Self::parse(text)
            .map_err(|err| format!("the name before the = is {err}; write it like \"api.dhan.co\", in quotes"))
    }
}

impl Label for IpAddr {
    fn label(text: &str) -> Result<Self, String> {
        let address: Self = text.parse().map_err(|_| {
            "the name before the = is no IPv4 or IPv6 address; write it like \"192.0.2.10\", in quotes".to_owned()
        })?;
        Ok(address.to_canonical())
    }
}

impl Label for u32 {
    fn label(text: &str) -> Result<Self, String> {
        // `uid_t`'s -1 means "no uid" to the kernel.
        let uid = text.parse().ok().filter(|uid| *uid != Self::MAX);
        uid.ok_or_else(|| "a uid is a number such as 1000 (see `id -u`); write \"1000\" = \"alpha\"".to_owned())
    }
}

/// A table whose keys people choose, read as a whole.
fn by_label<K: Label, V: FromValue>(value: &Value) -> Result<BTreeMap<K, V>, Faults> {
    let mut faults = Faults::new();
    let mut map = BTreeMap::new();
    for (name, value) in value.as_table().into_iter().flatten() {
        let at = format!(".{}", key_text(name));
        let value = V::from_value(value)
            .map_err(|below| faults.extend(below.into_iter().map(|(deeper, text)| (format!("{at}{deeper}"), text))));
        match (K::label(name), value) {
            (Err(text), _) => faults.push((at, text)),
            (Ok(key), _) if map.contains_key(&key) => {
                faults.push((at, "is there twice, in two spellings; leave one out".to_owned()));
            }
            (Ok(key), Ok(value)) => {
                map.insert(key, value);
            }
            (Ok(_), Err(())) => {}
        }
    }
    if faults.is_empty() { Ok(map) } else { Err(faults) }
}

/// What one pinned host stands for.
struct Addresses(Vec<SocketAddr>);

impl FromValue for Addresses {
    const WANTED: &'static str = "a list such as [\"[2001:db8:b::1]:443\"]";
    fn fits(value: &Value) -> bool {
        value.is_array()
    }
    fn read(value: &Value) -> Result<Self, Faults> {
        let list: Vec<Pin> = Vec::from_value(value)?;
        if list.is_empty() {
            return Err(fault(format_args!("has no address; give {}, or leave the host out to ask DNS", Self::WANTED)));
        }
        Ok(Self(list.into_iter().map(|Pin(at)| at).collect()))
    }
}

/// `egress.resolve`
impl FromValue for BTreeMap<Host, Vec<SocketAddr>> {
    const WANTED: &'static str = "a table such as { \"api.dhan.co\" = [\"[2001:db8:b::1]:443\"] }";
    fn fits(value: &Value) -> bool {
        value.is_table()
    }
    fn read(value: &Value) -> Result<Self, Faults> {
        let map: BTreeMap<Host, Addresses> = by_label(value)?;
        Ok(map.into_iter().map(|(host, Addresses(list))| (host, list)).collect())
    }
}

/// `egress.ipv4_hosts`
impl FromValue for BTreeMap<Host, Ipv4Addr> {
    const WANTED: &'static str = "a table such as { \"api-feed.dhan.co\" = \"192.0.2.7\" }";
    fn fits(value: &Value) -> bool {
        value.is_table()
    }
    fn read(value: &Value) -> Result<Self, Faults> {
        by_label(value)
    }
}

/// `listener.sources`
impl FromValue for BTreeMap<IpAddr, AccountName> {
    const WANTED: &'static str = "a table such as { \"192.0.2.10\" = \"alpha\" }";
    fn fits(value: &Value) -> bool {
        value.is_table()
    }
    fn read(value: &Value) -> Result<Self, Faults> {
        by_label(value)
    }
}

/// `listener.uids`
impl FromValue for BTreeMap<u32, AccountName> {
    const WANTED: &'static str = "a table such as { \"1000\" = \"alpha\" }";
    fn fits(value: &Value) -> bool {
        value.is_table()
    }
    fn read(value: &Value) -> Result<Self, Faults> {
        by_label(value)
    }
}
