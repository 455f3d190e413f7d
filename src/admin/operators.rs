//! Who may call the admin API, and the token files that say so.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::Method;
use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::domain::problem::Invalid;
use crate::domain::secret::ExposeSecret;
use crate::domain::{OperatorRole, pasted};

/// What a call needs.
pub(super) fn needed(method: &Method, path: &str) -> OperatorRole {
    match *method {
        // Asks the broker, which counts what the account asks.
        Method::GET | Method::HEAD if is_order_of_an_account(path) => OperatorRole::Operator,
        // It reads the disk at length, and what it gives leaves the house.
        Method::GET | Method::HEAD if path == "/v1/evidence" => OperatorRole::Operator,
        Method::GET | Method::HEAD => OperatorRole::Viewer,
        Method::PUT if ["/token", "/halt", "/leg"].iter().any(|end| path.ends_with(end)) => OperatorRole::Operator,
        Method::POST if path.ends_with("/token/refresh") || path.ends_with("/token/consent") => OperatorRole::Operator,
        Method::POST if path.ends_with("/validate") || path == "/v1/host/check" => OperatorRole::Operator,
        Method::POST | Method::DELETE if path == "/v1/validate/job" => OperatorRole::Operator,
        Method::POST if path.starts_with("/v1/orders/") && path.ends_with("/settled") => OperatorRole::Operator,
        // A session of the console can do what the token can that it was opened with.
        Method::POST if path == "/v1/console/links" => OperatorRole::Viewer,
        _ => OperatorRole::Admin,
    }
}

/// `/v1/accounts/{name}/orders/{order_id}`
fn is_order_of_an_account(path: &str) -> bool {
    let below = path.strip_prefix("/v1/accounts/").and_then(|rest| rest.split_once('/'));
    below.is_some_and(|(_, rest)| rest.starts_with("orders/"))
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum TokenError {
    #[error("cannot {doing} the token file {path}")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        err: std::io::Error,
    },
    #[error("the token file {0} holds less than 20 characters; remove it and a new one is made")]
    TooShort(PathBuf),
    #[error("the token file {path} holds no token: {why}")]
    Unusable { path: PathBuf, why: Invalid },
    #[error("the token file {0} can be read by others: chmod 600 it")]
    Readable(PathBuf),
    #[error("the kernel gave no random bytes")]
    Random,
}

/// Somebody who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The name in the configuration; `admin`, `operator` or `viewer` for the tokens that have none.
    pub name: Arc<str>,
    /// What they may do.
    pub role: OperatorRole,
    /// Which token they showed.
    pub(super) token: TokenDigest,
}

/// SHA-256 of a token. A token has 256 random bits, so this gives nothing away that could be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

/// Everybody who may call, known by their tokens.
#[derive(Debug, Default)]
pub struct Operators(Vec<Operator>);

impl Operators {
    /// The tokens of the admin API.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn read(admin: &crate::config::AdminConfig) -> Result<Self, TokenError> {
        let mut operators = Self::default();
        let files = [
            (OperatorRole::Admin, Some(&admin.token_file)),
            (OperatorRole::Operator, admin.operator_token_file.as_ref()),
            (OperatorRole::Viewer, admin.viewer_token_file.as_ref()),
        ];
        for (role, file) in files {
            if let Some(file) = file {
                operators.add_file(role.as_str(), role, file)?;
            }
        }
        for operator in &admin.operators {
            operators.add_file(&operator.name, operator.role, &operator.token_file)?;
        }
        Ok(operators)
    }

    /// Read `path` as the token of `name`; make it, for its owner only, if it is absent.
    ///
    /// # Errors
    /// [`TokenError`].
    fn add_file(&mut self, name: &str, role: OperatorRole, path: &Path) -> Result<(), TokenError> {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let file = |doing, err| TokenError::File { doing, path: path.to_owned(), err };
        if !path.exists() {
            let mut random = Zeroizing::new([0u8; 32]);
            getrandom::fill(&mut *random).map_err(|_| TokenError::Random)?;
            let text = Zeroizing::new(format!("sga_{}\n", BASE32_NOPAD.encode(&*random).to_ascii_lowercase()));
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(|err| file("make the folder of", err))?;
            }
            // Renamed when whole: a stop half way must not leave half a token, which
            // the next start would refuse.
            let mut draft = path.as_os_str().to_owned();
            draft.push(".unfinished");
            match std::fs::remove_file(&draft) {
                Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(file("make", err)),
                Ok(()) | Err(_) => {}
            }
            let mut options = std::fs::OpenOptions::new();
            let made = options.write(true).create_new(true).mode(0o600).open(&draft);
            let mut made = made.map_err(|err| file("make", err))?;
            made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).map_err(|err| file("write", err))?;
            std::fs::rename(&draft, path).map_err(|err| file("make", err))?;
        }
        let mode = std::fs::metadata(path).map_err(|err| file("read", err))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(TokenError::Readable(path.to_owned()));
        }
        let bytes = Zeroizing::new(std::fs::read(path).map_err(|err| file("read", err))?);
        let unusable = |why| TokenError::Unusable { path: path.to_owned(), why };
        let text = pasted::text(&bytes).map_err(unusable)?;
        if pasted::is_empty(&text) {
            return Err(TokenError::TooShort(path.to_owned()));
        }
        let token = pasted::read(pasted::Kind::Key, &text).map_err(unusable)?;
        if token.expose_secret().len() < 20 {
            return Err(TokenError::TooShort(path.to_owned()));
        }
        self.0.push(Operator { name: name.into(), role, token: TokenDigest::of(token.expose_secret()) });
        Ok(())
    }

    /// Who shows `token`, if it is one of theirs; the strongest, should two have one token.
    pub(super) fn of(&self, token: &str) -> Option<Operator> {
        self.by_digest(TokenDigest::of(token))
    }

    /// Whose token has this digest: who they are and what they may do now, which a reload changes.
    pub(super) fn by_digest(&self, token: TokenDigest) -> Option<Operator> {
        // All are compared, so the time does not tell which one came near.
        let found = self.0.iter().filter(|known| known.token.0.ct_eq(&token.0).into());
        found.max_by_key(|known| known.role).cloned()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Operators with these names, roles and tokens.
    pub(in super::super) fn known(of: &[(&str, OperatorRole, &str)]) -> Operators {
        let of = of.iter().map(|(name, role, token)| Operator {
            name: (*name).into(),
            role: *role,
            token: TokenDigest::of(token),
        });
        Operators(of.collect())
    }

    #[test]
    fn a_token_is_its_owner_s_and_two_with_one_token_are_the_stronger() {
        let operators = known(&[
            ("desk", OperatorRole::Operator, "one"),
            ("wall", OperatorRole::Viewer, "two"),
            ("boss", OperatorRole::Admin, "two"),
        ]);
        let of = |token| operators.of(token).map(|operator| operator.name.to_string());
        assert_eq!(of("one").as_deref(), Some("desk"));
        assert_eq!(of("two").as_deref(), Some("boss"));
        assert_eq!(of("three"), None);
        assert_eq!(of(""), None);
    }
}
