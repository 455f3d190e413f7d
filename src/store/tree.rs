//! Trees, and how a record's place in them becomes bytes.
//!
//! The table of all trees and keys stands in [`records`](super::records).

use std::io::Write;
use std::net::Ipv6Addr;

use crate::domain::{AccountName, ClientId, SourceAddr};

/// The trees, by the byte that begins their keys. Never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Tree {
    /// The store about itself.
    Meta = 0,
    /// Pools of addresses.
    Pools = 1,
    /// The tree of accounts.
    Accounts = 2,
    /// What accounts log in with.
    Credentials = 3,
    /// Which account has a client id.
    ClientIds = 4,
    /// Which addresses an account has.
    Pairs = 5,
    /// Which account has, or had, an address.
    Addresses = 6,
    /// Client keys, hashed.
    ClientKeys = 7,
    /// The tree of live tokens.
    Tokens = 8,
    /// Spent login limits.
    Logins = 9,
}

impl Tree {
    pub(super) const ALL: [Self; 10] = [
        Self::Meta,
        Self::Pools,
        Self::Accounts,
        Self::Credentials,
        Self::ClientIds,
        Self::Pairs,
        Self::Addresses,
        Self::ClientKeys,
        Self::Tokens,
        Self::Logins,
    ];

    /// The name in associated data and error texts. Never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Pools => "pools",
            Self::Accounts => "accounts",
            Self::Credentials => "credentials",
            Self::ClientIds => "client_ids",
            Self::Pairs => "pairs",
            Self::Addresses => "addresses",
            Self::ClientKeys => "client_keys",
            Self::Tokens => "tokens",
            Self::Logins => "logins",
        }
    }

    pub(super) const fn id(self) -> u8 {
        self as u8
    }

    /// Are its values kept sealed in memory too?
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Credentials | Self::Tokens)
    }

    /// Tree and record key of a physical key; `None` for a tree we do not know.
    pub(super) fn split(physical: &[u8]) -> Option<(Self, &[u8])> {
        let (id, key) = physical.split_first()?;
        Some((Self::ALL.into_iter().find(|tree| tree.id() == *id)?, key))
    }
}

/// A record's key: bytes whose order is the order of the keys.
pub trait RecordKey: Sized {
    /// The key as bytes.
    fn to_bytes(&self) -> Vec<u8>;
    /// The key those bytes stand for.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
    /// The key in error texts. Keys are not secret.
    fn show(&self) -> String;
}

impl RecordKey for String {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }
    fn show(&self) -> String {
        self.clone()
    }
}

impl RecordKey for AccountName {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_str().as_bytes().to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::parse(std::str::from_utf8(bytes).ok()?).ok()
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl RecordKey for ClientId {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_str().as_bytes().to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::parse(std::str::from_utf8(bytes).ok()?).ok()
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl RecordKey for SourceAddr {
    fn to_bytes(&self) -> Vec<u8> {
        self.ip().octets().to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::new(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).ok()
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// An account's thing with an id of its own. A NUL between them: a name has none,
/// so all of one account's keys stand together and no other's among them.
impl RecordKey for (AccountName, String) {
    fn to_bytes(&self) -> Vec<u8> {
        [self.0.as_str().as_bytes(), &[0], self.1.as_bytes()].concat()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let at = bytes.iter().position(|b| *b == 0)?;
        Some((AccountName::from_bytes(bytes.get(..at)?)?, String::from_bytes(bytes.get(at + 1..)?)?))
    }
    fn show(&self) -> String {
        format!("{}/{}", self.0, self.1)
    }
}

/// A kind of record: where it is kept and how it becomes bytes.
pub trait Record: Sized {
    /// The tree that such records are kept in.
    const TREE: Tree;
    /// Kept sealed in memory, opened on get.
    const SECRET: bool = Self::TREE.is_secret();
    /// What it is found by.
    type Key: RecordKey;

    /// Write the record as JSON.
    ///
    /// # Errors
    /// When the writer has no more room.
    fn to_json(&self, out: &mut dyn Write) -> serde_json::Result<()>;

    /// Read what a given layout version wrote.
    ///
    /// # Errors
    /// When it is not that.
    fn from_json(layout: u8, json: &[u8]) -> serde_json::Result<Self>;
}

/// The physical key of a record.
pub(super) fn physical<R: Record>(key: &R::Key) -> Vec<u8> {
    [&[R::TREE.id()], key.to_bytes().as_slice()].concat()
}
