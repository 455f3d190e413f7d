//! Records of secrets. Their values stay sealed in memory too, and nothing but the store can print them.

use std::io::Write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::domain::secret::ExposeSecret;
use crate::domain::{AccountName, Secret};
use crate::store::tree::{Record, Tree};

/// What an account logs in with. Key: the account's name.
#[derive(Clone, Debug, Default)]
pub struct CredentialsRecord {
    /// The broker's PIN.
    pub pin: Option<Secret>,
    /// The seed of the one-time codes.
    pub totp_secret: Option<Secret>,
    /// The phone number, where a login asks for it.
    pub phone: Option<Secret>,
    /// The key for consents.
    pub api_key: Option<Secret>,
    /// The secret that goes with it.
    pub api_secret: Option<Secret>,
}

impl CredentialsRecord {
    /// Is there anything in it?
    pub const fn is_given(&self) -> bool {
        let Self { pin, totp_secret, phone, api_key, api_secret } = self;
        pin.is_some() || totp_secret.is_some() || phone.is_some() || api_key.is_some() || api_secret.is_some()
    }
}

/// A live token. Key: the account's name.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// The broker's access token.
    pub access_token: Secret,
    /// When it ends, Unix seconds.
    pub expires_at: i64,
    /// How we came by it.
    pub source: String,
    /// Counts the tokens of this account.
    pub generation: u64,
    /// When it was stored.
    pub stored_at: Timestamp,
}

/// A secret on its way into a value that is sealed next. `Secret` is not `Serialize` on purpose.
#[derive(Deserialize)]
#[serde(transparent)]
struct Exposed(Secret);

impl Serialize for Exposed {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.expose_secret())
    }
}

/// [`CredentialsRecord`] as JSON. Private, so that nothing else can print it.
#[derive(Serialize, Deserialize)]
struct CredentialsJson {
    pin: Option<Exposed>,
    totp_secret: Option<Exposed>,
    phone: Option<Exposed>,
    api_key: Option<Exposed>,
    api_secret: Option<Exposed>,
}

impl Record for CredentialsRecord {
    const TREE: Tree = Tree::Credentials;
    type Key = AccountName;

    fn to_json(&self, out: &mut dyn Write) -> serde_json::Result<()> {
        let exposed = |secret: &Option<Secret>| secret.clone().map(Exposed);
        let json = CredentialsJson {
            pin: exposed(&self.pin),
            totp_secret: exposed(&self.totp_secret),
            phone: exposed(&self.phone),
            api_key: exposed(&self.api_key),
            api_secret: exposed(&self.api_secret),
        };
        serde_json::to_writer(out, &json)
    }

    fn from_json(_layout: u8, json: &[u8]) -> serde_json::Result<Self> {
        let json: CredentialsJson = serde_json::from_slice(json)?;
        let secret = |exposed: Option<Exposed>| exposed.map(|exposed| exposed.0);
        Ok(Self {
            pin: secret(json.pin),
            totp_secret: secret(json.totp_secret),
            phone: secret(json.phone),
            api_key: secret(json.api_key),
            api_secret: secret(json.api_secret),
        })
    }
}

/// [`TokenRecord`] as JSON. Private, so that nothing else can print it.
#[derive(Serialize, Deserialize)]
struct TokenJson {
    access_token: Exposed,
    expires_at: i64,
    source: String,
    generation: u64,
    stored_at: Timestamp,
}

impl Record for TokenRecord {
    const TREE: Tree = Tree::Tokens;
    type Key = AccountName;

    fn to_json(&self, out: &mut dyn Write) -> serde_json::Result<()> {
        let json = TokenJson {
            access_token: Exposed(self.access_token.clone()),
            expires_at: self.expires_at,
            source: self.source.clone(),
            generation: self.generation,
            stored_at: self.stored_at,
        };
        serde_json::to_writer(out, &json)
    }

    fn from_json(_layout: u8, json: &[u8]) -> serde_json::Result<Self> {
        let json: TokenJson = serde_json::from_slice(json)?;
        Ok(Self {
            access_token: json.access_token.0,
            expires_at: json.expires_at,
            source: json.source,
            generation: json.generation,
            stored_at: json.stored_at,
        })
    }
}
