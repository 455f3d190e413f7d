//! Records: the only place of tree and key layout.
//!
//! Everything is in one ordered map of bytes. A physical key is one byte, the
//! tree's id, and then the record's own key; the order of the bytes is the order
//! of the keys. One map and not one per tree, because a change touches several
//! trees and must be there whole or not at all: a batch on one map is that by
//! itself, a transaction over several needs locks and retries.
//!
//! | id | tree | key | value | secret |
//! | --- | --- | --- | --- | --- |
//! | 0 | `meta` | `store` | layout version, when made | |
//! | 0 | `meta` | `sequence` | number of the last group of changes written | |
//! | 0 | `meta` | `all_halted` | why all accounts are halted, and since when | |
//! | 1 | `pools` | pool name | both prefixes, when made | |
//! | 2 | `accounts` | account name | nickname, platform, client id, halt, pin, when made, what makes a repeat, what becomes of streams, how often changed | |
//! | 3 | `credentials` | account name | PIN, TOTP secret, phone, API key and secret, when each was given | yes |
//! | 4 | `client_ids` | client id | the account that has it (a client id is taken once) | |
//! | 5 | `pairs` | account name | both addresses, the pool they came from, when given | |
//! | 6 | `addresses` | 16 bytes of the address | account, client id, role, when retired (a tombstone stays) | |
//! | 7 | `client_keys` | account name, NUL, key id | SHA-256 of the key, when made, its label, when last used | |
//! | 8 | `tokens` | account name | access token, its end, source, generation | yes |
//! | 9 | `logins` | account name | what of the broker's login limits is spent | |
//!
//! A value is one byte, the layout version ([`LAYOUT`]), and JSON. On disk every
//! value is sealed with the tree's name and the record's key as associated data;
//! in memory those of secret trees stay sealed. JSON, because a field may be added
//! without a migration (a missing one reads as none) and it is small here: a value
//! is under 4 KiB, as sled puts larger ones into files that it never syncs.
//!
//! To change a layout, or to add a tree: raise [`LAYOUT`] (an older program then refuses the
//! folder instead of calling it damaged), let `from_json` read the old version too,
//! and rewrite old values at open (an `unchanged` guard compares encodings).
//!
//! Not here: what the records mean (`addressing`, `tokens`), how they are kept.

mod secrets;

use std::io::{self, Write};

use ipnet::Ipv6Net;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::{AccountName, ClientId, Pair, Platform, RepeatsBy, Role, SourceAddr, StreamsMode};

use super::seal;

pub use secrets::{CredentialsRecord, TokenRecord};

pub use super::tree::{Record, RecordKey, Tree};

pub(super) use super::tree::physical;

/// The version of this layout, in the first byte of every value.
pub const LAYOUT: u8 = 1;
/// The longest plaintext, so that the sealed value stays under 4 KiB.
pub(super) const MAX_VALUE: usize = 4095 - seal::OVERHEAD;
/// The longest record key. sled keeps up to 256 keys in one index page, which must stay under 128 KiB.
pub(super) const MAX_KEY: usize = 255;

/// The record's value: layout version and JSON. `None` when it is too long.
pub(super) fn encode<R: Record>(record: &R) -> Option<Zeroizing<Vec<u8>>> {
    /// Never grows: a grown vector leaves a copy behind that nobody wipes.
    struct FixedBuffer(Zeroizing<Vec<u8>>);
    impl Write for FixedBuffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() + bytes.len() > MAX_VALUE {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut room = FixedBuffer(Zeroizing::new(Vec::with_capacity(MAX_VALUE)));
    room.0.push(LAYOUT);
    record.to_json(&mut room).ok()?;
    Some(room.0)
}

/// The record of a value. `None` when it is not one; why is not told, since a
/// parser's message may quote the value.
pub(super) fn decode<R: Record>(value: &[u8]) -> Option<R> {
    let (layout, json) = value.split_first()?;
    (*layout <= LAYOUT).then(|| R::from_json(*layout, json).ok())?
}

macro_rules! plain_record {
    ($record:ty, $key:ty, $tree:expr) => {
        impl Record for $record {
            const TREE: Tree = $tree;
            type Key = $key;
            fn to_json(&self, out: &mut dyn Write) -> serde_json::Result<()> {
                const { assert!(!Self::SECRET) };
                serde_json::to_writer(out, self)
            }
            fn from_json(_layout: u8, json: &[u8]) -> serde_json::Result<Self> {
                serde_json::from_slice(json)
            }
        }
    };
}

/// The store about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MetaRecord {
    pub(super) layout: u8,
    pub(super) created_at: Timestamp,
}
plain_record!(MetaRecord, String, Tree::Meta);

/// How many groups of changes have been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SequenceRecord {
    pub(super) sequence: u64,
}
plain_record!(SequenceRecord, String, Tree::Meta);

/// A pool. Key: its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// Primaries come from here.
    pub primary: Ipv6Net,
    /// Secondaries come from here.
    pub secondary: Ipv6Net,
    /// When it was made.
    pub created_at: Timestamp,
}
plain_record!(PoolRecord, String, Tree::Pools);

/// Why an account is halted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaltRecord {
    /// The operator's words.
    pub reason: String,
    /// When the halt was asked for.
    pub since: Timestamp,
    /// Came it with the halt of all accounts? Then it goes with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_all: bool,
}

/// All accounts are halted, those to come included. Key: `all_halted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllHaltedRecord {
    /// The operator's words.
    pub reason: String,
    /// When it was asked for.
    pub since: Timestamp,
}
plain_record!(AllHaltedRecord, String, Tree::Meta);

/// An account. Key: its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// A name for people.
    pub nickname: Option<String>,
    /// How it logs in.
    pub platform: Platform,
    /// The broker's id.
    pub client_id: ClientId,
    /// Set while placements are refused.
    pub halted: Option<HaltRecord>,
    /// The leg an operator pinned it to.
    pub pin: Option<Role>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What makes a write of it a repeat. Absent where it is the default.
    #[serde(default, skip_serializing_if = "RepeatsBy::is_default")]
    pub repeats_by: RepeatsBy,
    /// What becomes of its WebSockets when the broker's side ends. Absent where it is the default.
    #[serde(default, skip_serializing_if = "StreamsMode::is_default")]
    pub streams: StreamsMode,
    /// How often its settings were changed. Absent where they were not since this is counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub changes: u64,
}
plain_record!(AccountRecord, AccountName, Tree::Accounts);

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Which account has a client id. Key: the client id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientIdRecord {
    /// The account that the record is of.
    pub account: AccountName,
}
plain_record!(ClientIdRecord, ClientId, Tree::ClientIds);

/// An account's addresses. Key: the account's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairRecord {
    /// The two addresses of the pair.
    pub pair: Pair,
    /// The pool they came from; none for a pair given by hand.
    pub pool: Option<String>,
    /// When they were given.
    pub assigned_at: Timestamp,
    /// Was neither address anybody's before? Absent where one was, and where it is not known, as in records of older
    /// versions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first_given: bool,
}
plain_record!(PairRecord, AccountName, Tree::Pairs);

/// Who has, or had, an address. Key: the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRecord {
    /// The account that the record is of.
    pub account: AccountName,
    /// The broker's customer: a retired address may go back to the same one.
    pub client_id: ClientId,
    /// For which leg.
    pub role: Role,
    /// Set when the account gave it up: it is never given to another.
    pub retired_at: Option<Timestamp>,
}
plain_record!(AddressRecord, SourceAddr, Tree::Addresses);

/// A client key, hashed. Key: the account's name and the key's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKeyRecord {
    /// SHA-256 of the key. JSON has it as 64 hexadecimal digits.
    #[serde(with = "hex32")]
    pub sha256: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// Whose it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it was last used, as far as that was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}
plain_record!(ClientKeyRecord, (AccountName, String), Tree::ClientKeys);

mod hex32 {
    use data_encoding::HEXLOWER;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEXLOWER.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let bytes = HEXLOWER.decode(String::deserialize(from)?.as_bytes()).map_err(D::Error::custom)?;
        bytes.try_into().map_err(|_| D::Error::custom("not 32 bytes"))
    }
}

/// What of the broker's login limits an account has spent, as `tokens::lifecycle`
/// counts it. Key: the account's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoginRecord(pub serde_json::Value);
plain_record!(LoginRecord, AccountName, Tree::Logins);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;
    use crate::domain::secret::ExposeSecret;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn again<R: Record>(record: &R) -> R {
        decode(&encode(record).unwrap()).unwrap()
    }

    /// The bytes on disk outlive this code. A change here needs a new layout version.
    #[test]
    fn the_layout_on_disk_is_this_one() {
        let account = AccountRecord {
            nickname: None,
            platform: Platform::Automatic,
            client_id: ClientId::parse("1000000001").unwrap(),
            halted: Some(HaltRecord { reason: "r".into(), since: at(0), of_all: false }),
            pin: Some(Role::Secondary),
            created_at: at(1),
            repeats_by: RepeatsBy::AnyId,
            streams: StreamsMode::PassOn,
            changes: 0,
        };
        let expected = concat!(
            "\u{1}",
            r#"{"nickname":null,"platform":"DHAN_V2_AT_IPV6","client_id":"1000000001","#,
            r#""halted":{"reason":"r","since":"1970-01-01T00:00:00Z"},"pin":"secondary","created_at":"1970-01-01T00:00:01Z"}"#
        );
        assert_eq!(std::str::from_utf8(&encode(&account).unwrap()).unwrap(), expected);
        assert_eq!(again(&account), account);
        let name = AccountName::parse("alpha").unwrap();
        assert_eq!(physical::<AccountRecord>(&name), b"\x02alpha");
        assert_eq!(physical::<ClientKeyRecord>(&(name, "k1".into())), b"\x07alpha\0k1");
        let address = SourceAddr::parse("2001:db8::1").unwrap();
        assert_eq!(physical::<AddressRecord>(&address), b"\x06\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01");
    }

    /// A tree number used twice would read one kind of record as another.
    #[test]
    fn every_tree_is_found_by_its_own_byte_and_has_its_own_name() {
        for (index, tree) in Tree::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(tree.id()), index);
            assert_eq!(Tree::split(&[tree.id(), b'x']), Some((tree, b"x".as_slice())));
            assert_eq!(Tree::ALL.iter().filter(|other| other.name() == tree.name()).count(), 1);
        }
        assert_eq!(Tree::split(&[200]), None);
        assert_eq!(Tree::split(&[]), None);
    }

    #[test]
    fn secrets_survive_the_way_and_are_in_no_debug_text() {
        let token = TokenRecord {
            access_token: Secret::from("hunter2"),
            expires_at: 5,
            source: "pin_totp".into(),
            generation: 9,
            stored_at: at(2),
        };
        let credentials = CredentialsRecord { pin: Some(Secret::from("hunter2")), ..Default::default() };
        assert_eq!(again(&token).access_token.expose_secret(), "hunter2");
        assert_eq!(again(&token).generation, 9);
        assert_eq!(again(&credentials).pin.unwrap().expose_secret(), "hunter2");
        assert!(again(&credentials).phone.is_none());
        assert!(!format!("{token:?} {credentials:?}").contains("hunter2"));
        const { assert!(TokenRecord::SECRET && CredentialsRecord::SECRET && !AccountRecord::SECRET) };
    }

    /// A guard that a record is unchanged compares how it is written: one that is written otherwise than an older version
    /// wrote it could never be changed again.
    #[test]
    fn what_an_older_version_wrote_is_written_as_it_was_read() {
        fn is_same<R: Record>(json: &str) {
            let mut value = vec![LAYOUT];
            value.extend_from_slice(json.as_bytes());
            let record: R = decode(&value).unwrap();
            assert_eq!(std::str::from_utf8(&encode(&record).unwrap()[1..]).unwrap(), json);
        }
        let at = "2026-11-01T00:00:00Z";
        let pair = r#"{"primary":"2001:db8:a1::1","secondary":"2001:db8:a2::1"}"#;
        is_same::<PairRecord>(&format!(r#"{{"pair":{pair},"pool":"main","assigned_at":"{at}"}}"#));
        is_same::<PoolRecord>(&format!(
            r#"{{"primary":"2001:db8:a1::/64","secondary":"2001:db8:a2::/64","created_at":"{at}"}}"#
        ));
        let halted = format!(r#"{{"reason":"x","since":"{at}"}}"#);
        is_same::<AllHaltedRecord>(&halted);
        is_same::<AccountRecord>(&format!(
            r#"{{"nickname":null,"platform":"DHAN_V2_IPV6","client_id":"7","halted":{halted},"pin":"primary","created_at":"{at}"}}"#
        ));
        is_same::<ClientIdRecord>(r#"{"account":"alpha"}"#);
        is_same::<AddressRecord>(r#"{"account":"alpha","client_id":"7","role":"primary","retired_at":null}"#);
        is_same::<ClientKeyRecord>(&format!(r#"{{"sha256":"{}","created_at":"{at}"}}"#, "0".repeat(64)));
        is_same::<LoginRecord>(r#"{"refusals":1}"#);
        is_same::<TokenRecord>(&format!(
            r#"{{"access_token":"a.b.c","expires_at":5,"source":"manual","generation":1,"stored_at":"{at}"}}"#
        ));
        is_same::<CredentialsRecord>(
            r#"{"pin":"1234","totp_secret":null,"phone":null,"api_key":null,"api_secret":null}"#,
        );
    }

    /// A value over the limit would go to a file that sled never syncs.
    #[test]
    fn a_value_that_would_leave_the_log_is_refused() {
        let token = |length: usize| TokenRecord {
            access_token: Secret::from("x".repeat(length)),
            expires_at: 0,
            source: String::new(),
            generation: 0,
            stored_at: at(0),
        };
        let longest = (0..5000).rev().find_map(|length| encode(&token(length))).unwrap();
        assert_eq!(longest.len(), MAX_VALUE);
        assert!(longest.len() + seal::OVERHEAD < 4096);
    }

    /// An older program must not guess at what a newer one wrote.
    #[test]
    fn a_newer_value_is_not_read() {
        let mut value = encode(&ClientIdRecord { account: AccountName::parse("a").unwrap() }).unwrap().to_vec();
        value[0] = LAYOUT + 1;
        assert!(decode::<ClientIdRecord>(&value).is_none());
        assert!(decode::<ClientIdRecord>(b"").is_none());
    }

    proptest::proptest! {
        /// Keys come back as they were, and one account's keys never stand among another's.
        #[test]
        fn keys_come_back_and_stay_together(name in "[a-z0-9][a-z0-9._-]{0,5}", other in "[a-z0-9][a-z0-9._-]{0,5}", id in "\\PC{0,8}") {
            let name = AccountName::parse(&name).unwrap();
            let key = (name.clone(), id);
            proptest::prop_assert_eq!(<(AccountName, String)>::from_bytes(&key.to_bytes()), Some(key.clone()));
            let prefix = (name.clone(), String::new()).to_bytes();
            let stranger = AccountName::parse(&other).unwrap();
            if stranger != name {
                proptest::prop_assert!(!(stranger, key.1).to_bytes().starts_with(&prefix));
            }
        }
    }
}
