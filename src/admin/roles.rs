//! Roles, and the token files that give them.

use std::io::Write;
use std::path::{Path, PathBuf};

use axum::http::Method;
use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What a bearer token allows, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads, and changes nothing.
    Viewer,
    /// Also gives tokens, halts, pins and validates.
    Operator,
    /// Also makes and deletes.
    Admin,
}

impl Role {
    /// The word in logs and texts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// What a call needs.
    pub(super) fn needed(method: &Method, path: &str) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Viewer,
            Method::PUT if ["/token", "/halt", "/leg"].iter().any(|end| path.ends_with(end)) => Self::Operator,
            Method::POST if path.ends_with("/token/refresh") || path.ends_with("/token/consent") => Self::Operator,
            Method::POST if path.ends_with("/validate") || path == "/v1/host/check" => Self::Operator,
            _ => Self::Admin,
        }
    }
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
    #[error("the token file {0} can be read by others: chmod 600 it")]
    Readable(PathBuf),
    #[error("the kernel gave no random bytes")]
    Random,
}

/// The digests of the tokens and what they allow.
#[derive(Debug, Default)]
pub struct Roles(Vec<(Role, [u8; 32])>);

impl Roles {
    /// The tokens of the admin API.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn read(admin: &crate::config::Admin) -> Result<Self, TokenError> {
        let mut roles = Self::default();
        let files = [
            (Role::Admin, Some(&admin.token_file)),
            (Role::Operator, admin.operator_token_file.as_ref()),
            (Role::Viewer, admin.viewer_token_file.as_ref()),
        ];
        for (role, file) in files {
            if let Some(file) = file {
                roles.add_file(role, file)?;
            }
        }
        Ok(roles)
    }

    /// Read `path` as the token of `role`; make it, for its owner only, if it is absent.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn add_file(&mut self, role: Role, path: &Path) -> Result<(), TokenError> {
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
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|err| file("read", err))?);
        if text.trim().len() < 20 {
            return Err(TokenError::TooShort(path.to_owned()));
        }
        self.0.push((role, Sha256::digest(text.trim().as_bytes()).into()));
        Ok(())
    }

    /// What `shown` allows, if it is one of the tokens.
    pub(super) fn of(&self, shown: &str) -> Option<Role> {
        let shown: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
        // All are compared, so the time does not tell which one came near.
        self.0.iter().filter(|(_, known)| known.ct_eq(&shown).into()).map(|(role, _)| *role).max()
    }
}
