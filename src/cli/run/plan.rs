//! What an isolated command's namespace has: which names lead where, and what is listened on there.
//!
//! Each host has a loopback address of its own in `/etc/hosts`, so the address that a connection came to says which host
//! is meant, whatever is spoken on it: nothing has to be read of TLS or HTTP to know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::folder::RunFolder;
use crate::cli::failure::CallError;
use crate::domain::{Authority, Host};

/// The broker's ports, whatever the gateway's configuration makes of them.
const PORTS: [u16; 2] = [443, 80];
/// Where bundles of public roots are: those that Go looks at (`crypto/x509/root_linux.go`). Programs that read no
/// variable read one of these.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Where a name service cache is asked, which would know nothing of our `/etc/hosts`.
const CACHES: [&str; 2] = ["/run/nscd", "/var/run/nscd"];

/// What is made inside a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Ports that are listened on.
    pub(super) ports: BTreeSet<u16>,
    /// Addresses that the loopback interface has beside its own.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// What is put over what, where that is there.
    pub(super) mounts: Vec<(PathBuf, PathBuf)>,
}

/// Where a connection goes on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Through the gateway, to this host and port.
    Gateway(String),
    /// To this host and port, past it.
    Direct { host: String, port: u16 },
}

/// Which address and port leads where.
pub(super) type Routes = BTreeMap<(IpAddr, u16), Route>;

/// Which names lead to the gateway and which past it.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) routes: Routes,
    addresses: BTreeSet<IpAddr>,
    /// `/etc/hosts`.
    hosts: String,
}

/// The broker's hosts in the body of `/v1/status`, with the ports that the configuration has.
pub(super) fn broker_hosts(status: &Value) -> Vec<Authority> {
    let hosts = status.pointer("/broker").and_then(Value::as_object).into_iter().flatten();
    let mut hosts: Vec<_> = hosts.filter_map(|(_, host)| Authority::parse(host.as_str()?, Some(443)).ok()).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

impl Names {
    /// # Errors
    /// [`CallError::Usage`] for a `--allow` that cannot be used.
    pub(super) fn new(broker: &[Authority], allowed: &[String]) -> Result<Self, CallError> {
        let mut names = Self { hosts: "127.0.0.1 localhost\n::1 localhost\n".to_owned(), ..Self::default() };
        let mut next = 1..=u8::MAX;
        let mut number = move || next.next().ok_or_else(|| CallError::Usage("there are too many hosts".to_owned()));
        let by_name: BTreeSet<&str> =
            broker.iter().filter(|at| at.host.ip().is_none()).map(|at| at.host.as_str()).collect();
        for host in &by_name {
            let address: IpAddr = Ipv4Addr::new(127, 101, 0, number()?).into();
            names.hosts.push_str(&format!("{address} {host}\n"));
            let own = broker.iter().filter(|at| at.host.as_str() == *host).map(|at| at.port);
            for port in own.chain(PORTS) {
                names.routes.insert((address, port), Route::Gateway(format!("{host}:{port}")));
            }
        }
        let mut named: BTreeMap<String, IpAddr> = BTreeMap::new();
        for text in allowed {
            let Authority { host, port } = allow(text, &by_name)?;
            let address = match (host.ip(), host.as_str()) {
                (Some(ip), _) => ip,
                (None, "localhost") => Ipv4Addr::LOCALHOST.into(),
                (None, name) => match named.get(name) {
                    Some(address) => *address,
                    None => {
                        let address: IpAddr = Ipv4Addr::new(127, 102, 0, number()?).into();
                        named.insert(name.to_owned(), address);
                        names.hosts.push_str(&format!("{address} {name}\n"));
                        address
                    }
                },
            };
            if !address.is_loopback() {
                names.addresses.insert(address);
            }
            let host = host.ip().map_or_else(|| host.as_str().to_owned(), |ip| ip.to_string());
            // What leads to the gateway stays so.
            names.routes.entry((address, port)).or_insert(Route::Direct { host, port });
        }
        Ok(names)
    }

    /// Write the files of the namespace, and say what is to be made there.
    ///
    /// # Errors
    /// A file could not be written.
    pub(super) fn plan(&self, folder: &RunFolder, bundle: &Path) -> std::io::Result<Plan> {
        let hosts = folder.write("hosts", self.hosts.as_bytes())?;
        let mut mounts = vec![(hosts, PathBuf::from("/etc/hosts"))];
        if let Ok(text) = std::fs::read_to_string("/etc/nsswitch.conf") {
            let own = folder.write("nsswitch.conf", files_only(&text).as_bytes())?;
            mounts.push((own, "/etc/nsswitch.conf".into()));
        }
        mounts.extend(BUNDLES.map(|known| (bundle.to_owned(), known.into())));
        let empty = folder.file("empty");
        std::fs::create_dir(&empty)?;
        mounts.extend(CACHES.map(|known| (empty.clone(), known.into())));
        let ports = self.routes.keys().map(|(_, port)| *port).collect();
        Ok(Plan { ports, addresses: self.addresses.clone(), mounts })
    }
}

/// A `--allow`, which is no host of the broker's.
fn allow(text: &str, broker: &BTreeSet<&str>) -> Result<Authority, CallError> {
    let usage = |why: &str| CallError::Usage(format!("--allow {text}: {why}"));
    let at = Authority::parse(text, None)
        .map_err(|_| usage("is not HOST:PORT, for example db.lan:5432 or 127.0.0.1:6379"))?;
    if broker.contains(at.host.as_str()) {
        return Err(usage("is the broker's, which is reached through the gateway only"));
    }
    Ok(at)
}

/// A name service switch by which hosts are found in `/etc/hosts` and nowhere else: whoever is asked otherwise (a
/// resolver by its socket) knows nothing of this namespace.
fn files_only(text: &str) -> String {
    let others = text.lines().filter(|line| !line.trim_start().starts_with("hosts:"));
    others.chain(["hosts: files"]).fold(String::new(), |text, line| text + line + "\n")
}

/// A host's name as it stands in routes.
pub(super) fn names_of(broker: &[Authority]) -> Vec<String> {
    let mut names: Vec<String> = broker.iter().map(|at| Host::as_str(&at.host).to_owned()).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker() -> Vec<Authority> {
        ["api.dhan.co:8443", "api-feed.dhan.co:443", "[::1]:443"].map(|at| Authority::parse(at, None).unwrap()).into()
    }

    /// What leads past the gateway by mistake is what this is for.
    #[test]
    fn the_broker_s_names_lead_to_the_gateway_on_each_port_and_nothing_else_does() {
        let names = Names::new(&broker(), &["db.lan:5432".into(), "localhost:6379".into(), "192.0.2.9:80".into()]);
        let names = names.unwrap();
        let of = |name: &str| -> Vec<IpAddr> {
            let lines = names.hosts.lines().filter(|line| line.ends_with(&format!(" {name}")));
            lines.map(|line| line.split_once(' ').unwrap().0.parse().unwrap()).collect()
        };
        let [api] = <[_; 1]>::try_from(of("api.dhan.co")).unwrap();
        for port in [443, 80, 8443] {
            assert_eq!(names.routes[&(api, port)], Route::Gateway(format!("api.dhan.co:{port}")));
        }
        let direct = |host: &str, port| Some(Route::Direct { host: host.to_owned(), port });
        assert_eq!(names.routes.get(&(of("db.lan")[0], 5432)).cloned(), direct("db.lan", 5432));
        assert_eq!(names.routes.get(&("127.0.0.1".parse().unwrap(), 6379)).cloned(), direct("localhost", 6379));
        assert_eq!(names.routes.get(&("192.0.2.9".parse().unwrap(), 80)).cloned(), direct("192.0.2.9", 80));
        assert_eq!(names.addresses, ["192.0.2.9".parse().unwrap()].into());
        assert_eq!(names.routes.len(), 5 + 3);
    }

    #[test]
    fn the_broker_is_not_allowed_past_the_gateway() {
        for bad in ["api.dhan.co:443", "API.dhan.co:80", "db.lan", "db.lan:0x1", ""] {
            assert!(Names::new(&broker(), &[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_are_looked_up_in_the_file_alone() {
        let text = "passwd: files\nhosts: mymachines resolve [!UNAVAIL=return] files dns\n hosts: dns\n";
        assert_eq!(files_only(text), "passwd: files\nhosts: files\n");
    }
}
