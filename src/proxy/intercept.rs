//! Ending a caller's TLS: our own certificate authority and its leaves.
//!
//! Callers trust one file, `ca.pem`. The authority is constrained (RFC 5280
//! section 4.2.1.10) to the hosts it was made for, so that whoever steals its key
//! can imitate the broker to these callers and nobody else to anybody. Its key is
//! sealed with the store's master key.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::domain::Host;
use crate::store::Sealer;

/// How long the authority lasts: callers must be told to trust another one after it.
const AUTHORITY_LASTS: Duration = Duration::days(3650);
/// From when on the authority is valid, in seconds of Unix time: the first day of 2024, when there was no gateway. Where
/// the clock of the host that makes it shows an earlier day, it is wrong.
const AUTHORITY_BEGINS: i64 = 1_704_067_200;
/// How long a leaf lasts. Some clients refuse more than 398 days.
const LEAF_LASTS: Duration = Duration::days(90);
/// A leaf is made anew well before it ends.
const LEAF_KEPT: Duration = Duration::days(30);
/// A caller's clock may be behind ours.
const BACKDATED: Duration = Duration::days(2);
/// By so much our own may have been set back since a leaf was made. By more, and a leaf is made anew: a caller whose clock
/// was right all the time would have to wait until it is valid.
const SET_BACK: Duration = Duration::hours(1);
const SEAL_LABEL: &str = "ca.key";

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum InterceptError {
    #[error("cannot {doing} {path}")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        err: std::io::Error,
    },
    #[error(
        "{present} is there and {missing} is not: restore it from a backup, or remove both to make a new authority, whose ca.pem callers must then trust"
    )]
    Half { present: PathBuf, missing: PathBuf },
    #[error("{path} cannot be opened with this master key")]
    Sealed {
        path: PathBuf,
        #[source]
        err: crate::store::seal::SealError,
    },
    #[error(
        "the authority of {path} was made for other hosts and may not vouch for {hosts}: remove ca.pem and ca.key to make a new one, and give callers the new ca.pem"
    )]
    Constrained { path: PathBuf, hosts: String },
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot serve a certificate")]
    Tls(#[from] rustls::Error),
    #[error("{path} is damaged")]
    Damaged { path: PathBuf },
}

/// The authority, and the leaves it has made.
pub struct Interceptor {
    pem: Arc<str>,
    issuer: Issuer<'static, KeyPair>,
    authority: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
    /// With the time at which each was made, by this host's clock.
    leaves: Mutex<HashMap<Host, (OffsetDateTime, Arc<ServerConfig>)>>,
}

impl std::fmt::Debug for Interceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interceptor").finish_non_exhaustive()
    }
}

/// What `ca.key` holds under its seal.
#[derive(Serialize, Deserialize)]
struct Sealed {
    key: String,
    hosts: Vec<String>,
    /// What `ca.pem` says, so that it can be written again.
    pem: String,
}

impl Interceptor {
    /// The authority of the folder `state`; made for `hosts` if there is none. `ca.pem`
    /// is a copy for callers: it is written again when it is gone, and never read.
    ///
    /// # Errors
    /// [`InterceptError`]; nothing of an existing authority is ever overwritten.
    pub fn load_or_create(state: &Path, hosts: &[Host], sealer: &Sealer) -> Result<Self, InterceptError> {
        Self::load_or_create_at(OffsetDateTime::now_utc(), state, hosts, sealer)
    }

    fn load_or_create_at(
        now: OffsetDateTime,
        state: &Path,
        hosts: &[Host],
        sealer: &Sealer,
    ) -> Result<Self, InterceptError> {
        let (pem_path, key_path) = (state.join("ca.pem"), state.join("ca.key"));
        match (pem_path.exists(), key_path.exists()) {
            (false, false) => create(now, &key_path, hosts, sealer)?,
            // Killed between the two, or ca.pem was removed: the key's file has both.
            (_, true) => {}
            (true, false) => return Err(InterceptError::Half { present: pem_path, missing: key_path }),
        }
        let read = |path: &Path| {
            std::fs::read(path).map_err(|err| InterceptError::File { doing: "read", path: path.to_owned(), err })
        };
        let damaged = |path: &Path| InterceptError::Damaged { path: path.to_owned() };
        let plain = sealer
            .open_file(SEAL_LABEL, &read(&key_path)?)
            .map_err(|err| InterceptError::Sealed { path: key_path.clone(), err })?;
        let mut sealed: Sealed = serde_json::from_slice(&plain).map_err(|_| damaged(&key_path))?;
        let uncovered: Vec<_> =
            hosts.iter().map(Host::as_str).filter(|host| !sealed.hosts.iter().any(|known| known == host)).collect();
        if !uncovered.is_empty() {
            return Err(InterceptError::Constrained { path: pem_path, hosts: uncovered.join(", ") });
        }
        let pem = std::mem::take(&mut sealed.pem);
        if !pem_path.exists() {
            write_new(&pem_path, pem.as_bytes(), 0o644)?;
        }
        let key = KeyPair::from_pem(&sealed.key);
        zeroize::Zeroize::zeroize(&mut sealed.key);
        let issuer = Issuer::from_ca_cert_pem(&pem, key?)?;
        let authority: Result<CertificateDer<'static>, _> = PemObject::from_pem_slice(pem.as_bytes());
        Ok(Self {
            pem: pem.into(),
            issuer,
            authority: authority.map_err(|_| damaged(&pem_path))?,
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            leaves: Mutex::default(),
        })
    }

    /// What callers trust: the authority's certificate. No secret.
    pub const fn pem(&self) -> &Arc<str> {
        &self.pem
    }

    /// The TLS configuration that speaks as `host`.
    ///
    /// # Errors
    /// [`InterceptError::Certificate`], [`InterceptError::Tls`].
    pub fn leaf(&self, host: &Host) -> Result<Arc<ServerConfig>, InterceptError> {
        self.leaf_at(OffsetDateTime::now_utc(), host)
    }

    /// A clock may be set while we run, by years on a host that starts without one: a leaf of before is not valid then.
    fn leaf_at(&self, now: OffsetDateTime, host: &Host) -> Result<Arc<ServerConfig>, InterceptError> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, leaf)) = leaves.get(host)
            && (-SET_BACK..LEAF_KEPT).contains(&(now - *made))
        {
            return Ok(Arc::clone(leaf));
        }
        let leaf = Arc::new(self.make(now, host)?);
        leaves.insert(host.clone(), (now, Arc::clone(&leaf)));
        Ok(leaf)
    }

    fn make(&self, now: OffsetDateTime, host: &Host) -> Result<ServerConfig, InterceptError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![host.as_str().to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, host.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (now - BACKDATED, now + LEAF_LASTS);
        let leaf = params.signed_by(&key, &self.issuer)?;
        let chain = vec![leaf.der().clone(), self.authority.clone()];
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn create(now: OffsetDateTime, key_path: &Path, hosts: &[Host], sealer: &Sealer) -> Result<(), InterceptError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "Sixgate");
    params.distinguished_name.push(DnType::CommonName, "Sixgate interception CA (this gateway only)");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: hosts.iter().map(|host| GeneralSubtree::DnsName(host.as_str().to_owned())).collect(),
        // Names are permitted by list; addresses, which no list names, not at all.
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([0; 4], 0)),
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix([0; 16], 0)),
        ],
    });
    // Callers have this file: it must not matter what the clock showed on the day that it was made. One that showed a day
    // before there was a gateway says nothing of what day it was.
    let begins = OffsetDateTime::from_unix_timestamp(AUTHORITY_BEGINS).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let ends = if now < begins { begins + AUTHORITY_LASTS * 2 } else { now + AUTHORITY_LASTS };
    (params.not_before, params.not_after) = (begins, ends);
    let certificate = params.self_signed(&key)?;
    let hosts = hosts.iter().map(|host| host.as_str().to_owned()).collect();
    let mut sealed = Sealed { key: key.serialize_pem(), hosts, pem: certificate.pem() };
    let plain = zeroize::Zeroizing::new(serde_json::to_vec(&sealed).unwrap_or_default());
    zeroize::Zeroize::zeroize(&mut sealed.key);
    write_new(key_path, &sealer.seal_file(SEAL_LABEL, &plain), 0o600)
}

/// Written beside, synced and renamed, so that a file is there whole or not at all.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), InterceptError> {
    use std::os::unix::fs::OpenOptionsExt;
    let write = || {
        let beside = path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|err| InterceptError::File { doing: "write", path: path.to_owned(), err })
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::time_provider::TimeProvider;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

    use super::*;
    use crate::store::Store;
    use crate::store::seal::MasterKey;

    fn hosts(names: &[&str]) -> Vec<Host> {
        names.iter().map(|name| Host::parse(name).unwrap()).collect()
    }

    fn store(dir: &tempfile::TempDir) -> Store {
        let key = MasterKey::load_or_create(&dir.path().join("master.key")).unwrap();
        Store::open(&dir.path().join("store"), key).unwrap()
    }

    /// A clock that stands still.
    #[derive(Debug)]
    struct At(OffsetDateTime);

    impl TimeProvider for At {
        fn current_time(&self) -> Option<UnixTime> {
            let seconds = u64::try_from(self.0.unix_timestamp()).unwrap();
            Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
        }
    }

    /// Does a client that trusts `ca.pem` accept what `interceptor` serves as `host`?
    fn accepted(dir: &tempfile::TempDir, interceptor: &Interceptor, host: &str) -> bool {
        accepted_at(OffsetDateTime::now_utc(), dir, interceptor, host)
    }

    /// The same where both clocks show this.
    fn accepted_at(now: OffsetDateTime, dir: &tempfile::TempDir, interceptor: &Interceptor, host: &str) -> bool {
        let mut roots = RootCertStore::empty();
        for der in crate::egress::tls::read_certificates(&dir.path().join("ca.pem")).unwrap() {
            roots.add(der).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_details(provider, Arc::new(At(now)))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let leaf = interceptor.leaf_at(now, &Host::parse(host).unwrap()).unwrap();
        let mut server = ServerConnection::new(leaf).unwrap();
        for _ in 0..6 {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            let _ = server.process_new_packets();
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut wire = wire.as_slice();
            while !wire.is_empty() {
                client.read_tls(&mut wire).unwrap();
                if client.process_new_packets().is_err() {
                    return false;
                }
            }
        }
        !client.is_handshaking()
    }

    /// Whoever holds this key must not be able to speak as a bank.
    #[test]
    fn the_authority_vouches_for_its_hosts_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let own = hosts(&["api.dhan.co", "auth.dhan.co"]);
        let interceptor = Interceptor::load_or_create(dir.path(), &own, store.sealer()).unwrap();
        assert!(accepted(&dir, &interceptor, "api.dhan.co"));
        assert!(!accepted(&dir, &interceptor, "bank.example"));
    }

    /// A host without a clock of its own starts in 1970, and one whose clock was set wrong by hand is ahead. Once it is
    /// right, engines must not be refused until a restart, or for ever.
    #[test]
    fn what_was_made_by_a_wrong_clock_is_valid_once_it_is_right() {
        let right = OffsetDateTime::now_utc();
        let ahead = [Duration::hours(20), Duration::days(3), Duration::days(400)].map(|by| right + by);
        for wrong in
            [OffsetDateTime::UNIX_EPOCH + Duration::days(3), right - Duration::days(200)].into_iter().chain(ahead)
        {
            let dir = tempfile::tempdir().unwrap();
            let store = store(&dir);
            let own = hosts(&["api.dhan.co"]);
            let interceptor = Interceptor::load_or_create_at(wrong, dir.path(), &own, store.sealer()).unwrap();
            interceptor.leaf_at(wrong, &own[0]).unwrap();
            for now in [right, right + Duration::days(29), right + Duration::days(3000)] {
                assert!(accepted_at(now, &dir, &interceptor, "api.dhan.co"), "made at {wrong}, looked at at {now}");
            }
        }
    }

    /// A leaf takes a key, and an engine may open a connection for each order.
    #[test]
    fn a_leaf_is_made_once_while_the_clock_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let own = hosts(&["api.dhan.co"]);
        let interceptor = Interceptor::load_or_create(dir.path(), &own, store.sealer()).unwrap();
        let now = OffsetDateTime::now_utc();
        let leaf = interceptor.leaf_at(now, &own[0]).unwrap();
        for later in [Duration::ZERO, -Duration::minutes(5), Duration::days(29)] {
            assert!(Arc::ptr_eq(&leaf, &interceptor.leaf_at(now + later, &own[0]).unwrap()), "{later}");
        }
        assert!(!Arc::ptr_eq(&leaf, &interceptor.leaf_at(now + Duration::days(31), &own[0]).unwrap()));
    }

    #[test]
    fn an_authority_is_kept_and_its_key_does_not_lie_about_in_clear() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let own = hosts(&["api.dhan.co"]);
        Interceptor::load_or_create(dir.path(), &own, store.sealer()).unwrap();
        let pem = std::fs::read(dir.path().join("ca.pem")).unwrap();
        let again = Interceptor::load_or_create(dir.path(), &own, store.sealer()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("ca.pem")).unwrap(), pem);
        assert!(accepted(&dir, &again, "api.dhan.co"));
        let key = std::fs::read(dir.path().join("ca.key")).unwrap();
        assert!(!String::from_utf8_lossy(&key).contains("PRIVATE"));

        let more = hosts(&["api.dhan.co", "new.dhan.co"]);
        let err = Interceptor::load_or_create(dir.path(), &more, store.sealer()).unwrap_err();
        assert!(err.to_string().contains("new.dhan.co"), "{err}");
        // A stop between the two files.
        std::fs::remove_file(dir.path().join("ca.pem")).unwrap();
        let again = Interceptor::load_or_create(dir.path(), &own, store.sealer()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("ca.pem")).unwrap(), pem);
        assert!(accepted(&dir, &again, "api.dhan.co"));
        std::fs::remove_file(dir.path().join("ca.key")).unwrap();
        assert!(matches!(
            Interceptor::load_or_create(dir.path(), &own, store.sealer()),
            Err(InterceptError::Half { .. })
        ));
    }
}
