//! Seal: what makes a stolen copy of the state useless, and a moved record refused.
//!
//! XChaCha20-Poly1305 under the master key (draft-irtf-cfrg-xchacha-03, section 2): the ChaCha20-Poly1305
//! of RFC 8439 under a key that HChaCha20 makes of the master key and the nonce's first 16 bytes. The former
//! is the one that TLS has here too. It takes a quarter of the time of RustCrypto's, and far less in a build
//! without optimisation, where that one is compiled as our own code is. A sealed value is a version byte, a
//! nonce of 24 random bytes, the ciphertext and its tag. The associated data name
//! what is sealed (purpose, tree and key, or a file's label), so a value copied to
//! another place does not open there. Each purpose has its own prefix, and the
//! parts before the last hold no NUL, so no two places share associated data.
//!
//! Invariants:
//! - Neither the key nor a plaintext is in any error or `Debug` text.
//! - A nonce is never used twice: 192 random bits a value, from the kernel each
//!   time, so that a virtual machine resumed twice from one image does not repeat.
//!
//! Not here: which values are secret (`records`), where files are (`export`, the CA).

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use chacha20::{R20, hchacha};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::folder;
use crate::domain::pasted;
use crate::domain::secret::ExposeSecret;

const VERSION: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;
/// By how much a sealed value is longer than its plaintext.
pub(super) const OVERHEAD: usize = 1 + NONCE + TAG;

/// Why a key could not be had or a seal not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file is open to others.
    #[error("master key file {path} can be read by others (mode {mode:04o}); run: chmod 600 {path}", path = .path.display())]
    Exposed {
        /// The file that the key is in.
        path: PathBuf,
        /// The file's permission bits.
        mode: u32,
    },
    /// The key file's content is no key.
    #[error(
        "master key file {path} does not hold 64 hexadecimal digits; put the right key back from your backup. \
         Only if there is no state yet, delete the file and a new key is made",
        path = .path.display()
    )]
    MalformedFile {
        /// The file that the key is in.
        path: PathBuf,
    },
    /// A text is no key.
    #[error("a master key is 64 hexadecimal digits (32 bytes)")]
    Malformed,
    /// The key file could not be read or made.
    #[error("cannot {doing} master key file {path}", path = .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file that the key is in.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The kernel gave no random bytes.
    #[error("the kernel gave no random bytes")]
    Random(#[source] getrandom::Error),
    /// A seal that does not open: another key, another place, or changed bytes.
    #[error("the seal does not open: another key, moved from another place, or changed")]
    Refused,
}

impl SealError {
    /// The word in metrics and logs. Never changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Exposed { .. } => "key_exposed",
            Self::MalformedFile { .. } | Self::Malformed => "key_malformed",
            Self::Io { .. } => "key_io",
            Self::Random(_) => "no_random",
            Self::Refused => "seal_refused",
        }
    }
}

/// The 32 bytes that everything secret is sealed with. Wiped on drop.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([redacted])")
    }
}

impl MasterKey {
    /// Read the key file, or make it (and its folder) when there is none: 64
    /// hexadecimal digits and a line end, mode 0600, durable before it is used.
    ///
    /// # Errors
    /// [`SealError`] when others can read the file, it holds no key, or it cannot
    /// be read or made. An existing file is never changed.
    pub fn load_or_create(path: &Path) -> Result<Self, SealError> {
        match Self::load(path, 0o077) {
            Err(SealError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::create(path)?;
                // Not the key just made: another process may have been first.
                Self::load(path, 0o077)
            }
            done => done,
        }
    }

    /// Read a credential that systemd handed over (systemd.exec(5), `LoadCredential=`).
    /// Its folder is this service's alone; an access control list for the service's
    /// user shows as a group that may read.
    ///
    /// # Errors
    /// As [`MasterKey::load_or_create`], but nothing is made.
    pub fn load_credential(path: &Path) -> Result<Self, SealError> {
        Self::load(path, 0o007)
    }

    /// # Errors
    /// [`SealError::Malformed`] unless the text is 64 hexadecimal digits, whatever
    /// people have around them.
    pub fn from_hex(text: &str) -> Result<Self, SealError> {
        let mut key = Zeroizing::new([0; 32]);
        let digits = pasted::read(pasted::Kind::Key, text).map_err(|_| SealError::Malformed)?;
        let lower = Zeroizing::new(digits.expose_secret().to_ascii_lowercase());
        if lower.len() != 64 {
            return Err(SealError::Malformed);
        }
        HEXLOWER.decode_mut(lower.as_bytes(), key.as_mut()).map_err(|_| SealError::Malformed)?;
        Ok(Self(key))
    }

    /// `forbidden` are the mode's bits that nobody may have set.
    fn load(path: &Path, forbidden: u32) -> Result<Self, SealError> {
        let fail = |source| SealError::Io { doing: "read", path: path.to_path_buf(), source };
        let mut file = std::fs::File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o7777;
        if mode & forbidden != 0 {
            return Err(SealError::Exposed { path: path.to_path_buf(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(256));
        let read = Read::by_ref(&mut file).take(256).read_to_string(&mut text);
        match read {
            Err(err) if err.kind() == io::ErrorKind::InvalidData => None,
            Err(err) => return Err(fail(err)),
            Ok(_) => Self::from_hex(&text).ok(),
        }
        .ok_or_else(|| SealError::MalformedFile { path: path.to_path_buf() })
    }

    /// Linked into place when whole, so that a stop half way leaves no half key; a link never replaces a file.
    fn create(path: &Path) -> Result<(), SealError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut()).map_err(SealError::Random)?;
        let text = Zeroizing::new(format!("{}\n", HEXLOWER.encode(key.as_ref())));
        let fail = |source| SealError::Io { doing: "make", path: path.to_path_buf(), source };
        let name = path.file_name().ok_or_else(|| fail(io::ErrorKind::InvalidInput.into()))?;
        let draft =
            path.with_file_name(format!("{}.{}{}", name.to_string_lossy(), std::process::id(), folder::UNFINISHED));
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            folder::make(parent).map_err(fail)?;
        }
        folder::delete(&draft).map_err(fail)?;
        let linked = (|| {
            let mut file = folder::create_new(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            match std::fs::hard_link(&draft, path) {
                Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(err),
                Ok(()) | Err(_) => Ok(()),
            }
        })();
        folder::delete(&draft).map_err(fail)?;
        linked.and_then(|()| folder::sync_parent(path)).map_err(fail)
    }
}

/// Names a master key without telling it: a hash of 256 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyId(pub(super) [u8; 16]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Seals and opens under one master key. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    inner: Arc<SealerInner>,
}

struct SealerInner {
    key: Zeroizing<[u8; 32]>,
    id: KeyId,
    /// Nonces should the kernel refuse random bytes: a random start, counted up.
    spare: ([u8; 16], AtomicU64),
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("key_id", &self.inner.id).finish_non_exhaustive()
    }
}

impl Sealer {
    /// # Errors
    /// [`SealError::Random`] when the kernel gives no random bytes.
    pub fn new(key: &MasterKey) -> Result<Self, SealError> {
        let mut hash = Sha256::new_with_prefix(b"sixgate master key id 1\0");
        hash.update(key.0.as_slice());
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        let mut spare = [0; 16];
        getrandom::fill(&mut spare).map_err(SealError::Random)?;
        let (key, id) = (key.0.clone(), KeyId(id));
        Ok(Self { inner: Arc::new(SealerInner { key, id, spare: (spare, AtomicU64::new(0)) }) })
    }

    pub(super) fn key_id(&self) -> KeyId {
        self.inner.id
    }

    /// Seal a file that is kept beside the store. It opens under this label only.
    pub fn seal_file(&self, label: &str, plain: &[u8]) -> Vec<u8> {
        self.seal(&associated(b"sixgate file 1", label, b""), plain)
    }

    /// # Errors
    /// [`SealError::Refused`] for another key, another label or changed bytes.
    pub fn open_file(&self, label: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.open(&associated(b"sixgate file 1", label, b""), sealed)
    }

    pub(super) fn seal_record(&self, tree: &str, key: &[u8], plain: &[u8]) -> Vec<u8> {
        self.seal(&associated(b"sixgate record 1", tree, key), plain)
    }

    pub(super) fn open_record(&self, tree: &str, key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.open(&associated(b"sixgate record 1", tree, key), sealed)
    }

    pub(super) fn seal_export(&self, place: &[u8], plain: &[u8]) -> Vec<u8> {
        self.seal(&associated(b"sixgate export 1", "", place), plain)
    }

    pub(super) fn open_export(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.open(&associated(b"sixgate export 1", "", place), sealed)
    }

    fn seal(&self, associated: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce = self.nonce();
        let mut sealed = Vec::with_capacity(OVERHEAD + plain.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let Some((_, text)) = sealed.split_at_mut_checked(1 + NONCE) else { std::process::abort() };
        let tag = self
            .under(&nonce)
            .and_then(|(key, nonce)| key.seal_in_place_separate_tag(nonce, Aad::from(associated), text));
        let Ok(tag) = tag else {
            // Only for a plaintext over 256 GiB, which no caller has, or without a byte of memory left. An empty
            // seal in its place would be a secret lost without a word.
            std::process::abort();
        };
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let rest = sealed.strip_prefix(&[VERSION]).ok_or(SealError::Refused)?;
        let (nonce, cipher) = rest.split_first_chunk::<NONCE>().ok_or(SealError::Refused)?;
        let mut text = Zeroizing::new(cipher.to_vec());
        let opened = self.under(nonce).and_then(|(key, nonce)| {
            key.open_in_place(nonce, Aad::from(associated), &mut text).map(|plain| plain.len())
        });
        text.truncate(opened.map_err(|_| SealError::Refused)?);
        Ok(text)
    }

    /// The key that HChaCha20 makes for this nonce, and what of the nonce is left for it.
    fn under(&self, nonce: &[u8; NONCE]) -> Result<(LessSafeKey, Nonce), Unspecified> {
        let (first, last) = nonce.split_first_chunk::<16>().ok_or(Unspecified)?;
        let key = Zeroizing::new(<[u8; 32]>::from(hchacha::<R20>((&*self.inner.key).into(), first.into())));
        let mut short = [0; NONCE_LEN];
        for (to, from) in short.iter_mut().skip(NONCE_LEN - last.len()).zip(last) {
            *to = *from;
        }
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_slice())?;
        Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key(short)))
    }

    fn nonce(&self) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        if getrandom::fill(&mut nonce).is_err() {
            let count = self.inner.spare.1.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            let spare = self.inner.spare.0.iter().chain(&count);
            for (to, from) in nonce.iter_mut().zip(spare) {
                *to = *from;
            }
        }
        nonce
    }
}

/// Purpose and name hold no NUL, so the parts can be told from one another.
fn associated(purpose: &[u8], name: &str, rest: &[u8]) -> Vec<u8> {
    [&[VERSION], purpose, &[0], name.as_bytes(), &[0], rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(digit: &str) -> Sealer {
        Sealer::new(&MasterKey::from_hex(&digit.repeat(64)).unwrap()).unwrap()
    }

    /// By RustCrypto's crate of that name, which sealed what states of before hold.
    #[test]
    fn a_seal_is_xchacha20_poly1305() {
        use chacha20poly1305::aead::{Aead, KeyInit, Payload};
        use chacha20poly1305::{XChaCha20Poly1305, XNonce};

        let (sealer, other) = (sealer("7"), XChaCha20Poly1305::new(&[0x77; 32].into()));
        for length in [0, 1, 15, 16, 17, 63, 64, 65, 200, 255, 256, 257, 4096, 100_000] {
            let plain: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let place = associated(b"sixgate record 1", "tokens", b"alpha");
            let sealed = sealer.seal_record("tokens", b"alpha", &plain);
            assert_eq!(sealed.len(), OVERHEAD + plain.len());
            let (nonce, cipher) = sealed[1..].split_first_chunk::<NONCE>().unwrap();
            let opened = other.decrypt(&XNonce::from(*nonce), Payload { msg: cipher, aad: &place }).unwrap();
            assert!(opened == plain, "{length} bytes");

            let nonce = sealer.nonce();
            let cipher = other.encrypt(&XNonce::from(nonce), Payload { msg: &plain, aad: &place }).unwrap();
            let sealed = [&[VERSION], nonce.as_slice(), &cipher].concat();
            assert!(*sealer.open_record("tokens", b"alpha", &sealed).unwrap() == plain, "{length} bytes");
            for at in [0, 1, NONCE, sealed.len() - TAG - 1, sealed.len() - 1] {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(sealer.open_record("tokens", b"alpha", &changed).is_err(), "{length} bytes, {at} changed");
            }
        }
    }

    /// Whoever can write the files must not be able to give one account another's credentials.
    #[test]
    fn a_record_moved_to_another_key_tree_or_file_is_refused() {
        let sealer = sealer("1");
        let sealed = sealer.seal_record("tokens", b"alpha", b"secret");
        assert_eq!(*sealer.open_record("tokens", b"alpha", &sealed).unwrap(), b"secret");
        assert!(sealer.open_record("tokens", b"beta", &sealed).is_err());
        assert!(sealer.open_record("credentials", b"alpha", &sealed).is_err());
        assert!(sealer.open_file("tokens", &sealed).is_err());
        assert!(sealer.open_export(b"alpha", &sealed).is_err());
    }

    /// Every byte counts: version, nonce, text and tag.
    #[test]
    fn any_flipped_bit_or_missing_byte_is_refused() {
        let sealer = sealer("1");
        let sealed = sealer.seal_file("ca.key", b"secret");
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(sealer.open_file("ca.key", &bad).is_err(), "byte {at}");
            assert!(sealer.open_file("ca.key", &sealed[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(sealed.len(), 6 + OVERHEAD);
    }

    #[test]
    fn another_key_opens_nothing_and_has_another_id() {
        let sealed = sealer("1").seal_file("a", b"secret");
        assert!(matches!(sealer("2").open_file("a", &sealed), Err(SealError::Refused)));
        assert_ne!(sealer("1").key_id(), sealer("2").key_id());
    }

    /// The same value sealed twice must not tell that it is the same.
    #[test]
    fn no_two_seals_are_alike() {
        let sealer = sealer("1");
        assert_ne!(sealer.seal_file("a", b"x"), sealer.seal_file("a", b"x"));
    }

    /// A new key at each start would make the state of yesterday unreadable.
    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/master.key");
        let first = MasterKey::load_or_create(&path).unwrap();
        let second = MasterKey::load_or_create(&path).unwrap();
        assert_eq!(*first.0, *second.0);
        assert_ne!(*first.0, [0; 32]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.len(), 65);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a draft was left");
        assert!(!format!("{first:?} {:?}", Sealer::new(&first)).contains(text.trim()));
    }

    #[test]
    fn a_key_file_that_others_can_read_or_that_holds_no_key_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        std::fs::write(&path, "1".repeat(64)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let err = MasterKey::load_or_create(&path).unwrap_err();
        assert!(matches!(err, SealError::Exposed { mode: 0o640, .. }));
        assert!(err.to_string().contains("chmod 600"), "{err}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(MasterKey::load_or_create(&path).is_ok());
        for bad in ["", "1", &"g".repeat(64), &"1".repeat(66), &"11 ".repeat(32)] {
            std::fs::write(&path, bad).unwrap();
            let err = MasterKey::load_or_create(&path).unwrap_err();
            assert!(matches!(err, SealError::MalformedFile { .. }), "{bad:?}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
        }
    }
}
