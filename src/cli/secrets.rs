//! Where a command's secrets come from: files, standard input, or a prompt without
//! echo. Never an argument: every user of the host can read those (`ps`), and shells
//! keep them in their history.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, ValueEnum};
use zeroize::Zeroizing;

use super::failure::CallError;
use super::fields::Fields;
use super::prompt;
use crate::domain::secret::ExposeSecret;
use crate::domain::{Platform, Secret, pasted};

/// No secret is near this long; a file given by mistake may be.
const LARGEST: u64 = 16 * 1024;

/// A secret of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SecretName {
    Pin,
    TotpSecret,
    ApiKey,
    ApiSecret,
    Phone,
    AccessToken,
}

impl SecretName {
    /// In the API.
    const fn field(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::TotpSecret => "totp_secret",
            Self::ApiKey => "api_key",
            Self::ApiSecret => "api_secret",
            Self::Phone => "phone",
            Self::AccessToken => "access_token",
        }
    }

    /// On the command line.
    const fn option(self) -> &'static str {
        match self {
            Self::Pin => "--pin-file",
            Self::TotpSecret => "--totp-secret-file",
            Self::ApiKey => "--api-key-file",
            Self::ApiSecret => "--api-secret-file",
            Self::Phone => "--phone-file",
            Self::AccessToken => "--access-token-file",
        }
    }

    const fn question(self) -> &'static str {
        match self {
            Self::Pin => "PIN",
            Self::TotpSecret => "TOTP secret",
            Self::ApiKey => "API key",
            Self::ApiSecret => "API secret",
            Self::Phone => "Phone number",
            Self::AccessToken => "Access token",
        }
    }

    /// What an account needs to log in.
    const fn needed(platform: Platform) -> &'static [Self] {
        match platform {
            Platform::Automatic => &[Self::Pin, Self::TotpSecret],
            Platform::Manual => &[Self::AccessToken],
        }
    }
}

/// An account's secrets.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Secrets (FILE is a file's name, or - for standard input)")]
pub(super) struct SecretArguments {
    /// The PIN of 4 to 6 digits
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// The TOTP secret in Base32, as the broker shows it when TOTP is set up
    #[arg(long, value_name = "FILE")]
    totp_secret_file: Option<PathBuf>,
    /// The API key, for consent logins
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// The API secret, for consent logins
    #[arg(long, value_name = "FILE")]
    api_secret_file: Option<PathBuf>,
    /// The phone number of the login
    #[arg(long, value_name = "FILE")]
    phone_file: Option<PathBuf>,
    /// A live access token
    #[arg(long, value_name = "FILE")]
    access_token_file: Option<PathBuf>,
    /// Ask for them on the terminal, without echo
    ///
    /// Without WHAT: for what the platform needs (PIN and TOTP secret, or the access token).
    #[arg(long, value_name = "WHAT,...", num_args = 0..=1, require_equals = true, value_delimiter = ',')]
    ask: Option<Vec<SecretName>>,
}

impl SecretArguments {
    /// Must the platform be known to know what to ask for?
    pub(super) fn prompts_by_platform(&self) -> bool {
        self.ask.as_ref().is_some_and(Vec::is_empty)
    }

    /// Put every secret that was given into the fields of a call. `platform` says what
    /// to ask for.
    ///
    /// # Errors
    /// [`CallError`] when one cannot be read; its text never holds any part of one.
    pub(super) fn read(&self, platform: Option<Platform>, fields: &mut Fields) -> Result<(), CallError> {
        let files = [
            (SecretName::Pin, &self.pin_file),
            (SecretName::TotpSecret, &self.totp_secret_file),
            (SecretName::ApiKey, &self.api_key_file),
            (SecretName::ApiSecret, &self.api_secret_file),
            (SecretName::Phone, &self.phone_file),
            (SecretName::AccessToken, &self.access_token_file),
        ];
        let files: Vec<_> = files.into_iter().filter_map(|(secret, file)| Some((secret, file.as_deref()?))).collect();
        if files.iter().filter(|(_, file)| is_stdin(file)).count() > 1 {
            return Err(CallError::Usage(
                "- stands for standard input, which can be read once; give one secret so".to_owned(),
            ));
        }
        for (secret, file) in &files {
            fields.secret(secret.field(), &read_file(secret.option(), file)?);
        }
        let wanted: &[SecretName] = match (&self.ask, platform) {
            (None, _) => &[],
            (Some(secrets), Some(platform)) if secrets.is_empty() => SecretName::needed(platform),
            (Some(secrets), _) => secrets,
        };
        for secret in wanted.iter().filter(|secret| files.iter().all(|(given, _)| given != *secret)) {
            fields.secret(secret.field(), &prompt(secret.question())?);
        }
        Ok(())
    }
}

/// Ask for a secret that must be given.
///
/// # Errors
/// [`CallError`].
pub(super) fn prompt(question: &str) -> Result<Secret, CallError> {
    let answer = prompt::read(question)?;
    if pasted::is_empty(answer.expose_secret()) {
        return Err(CallError::Secret(format!("{question}: nothing was typed")));
    }
    Ok(answer)
}

/// The one secret of a command, from its `--file` or by `--ask`.
///
/// # Errors
/// [`CallError`]; a usage if neither was given.
pub(super) fn from_file_or_prompt(file: Option<&Path>, ask: bool, what: &str) -> Result<Secret, CallError> {
    match file {
        Some(file) => read_file("--file", file),
        None if ask => prompt(what),
        None => Err(CallError::Usage(format!(
            "say where the {} is: --file FILE, --file - for standard input, or --ask to be asked for it",
            lowered(what)
        ))),
    }
}

/// As it stands within a sentence: `Access token` as `access token`, and `TOTP secret` as it is.
fn lowered(what: &str) -> String {
    match what.split_at_checked(1) {
        Some((first, rest)) if rest.starts_with(|next: char| next.is_lowercase()) => first.to_lowercase() + rest,
        Some(_) | None => what.to_owned(),
    }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Read the text with a secret in it from the file of an option, or from standard input. The gateway reads the secret in
/// it, and a client key is read by [`read_key`].
///
/// # Errors
/// [`CallError::Secret`]. A name of no file is not quoted: it is likely the secret.
fn read_file(option: &str, file: &Path) -> Result<Secret, CallError> {
    use std::io::ErrorKind::{InvalidFilename, NotFound};
    let fail = |why: &str| CallError::Secret(format!("{option}: {why}"));
    let mut bytes = Zeroizing::new(Vec::new());
    let read = if is_stdin(file) {
        std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
    };
    if let Err(err) = read {
        let nowhere = matches!(err.kind(), NotFound | InvalidFilename);
        return Err(if nowhere {
            fail("there is no such file; it takes a file's name (or -), not the secret")
        } else {
            fail(&format!("cannot read {}: {err}", file.display()))
        });
    }
    if bytes.len() as u64 > LARGEST {
        return Err(fail("the file is too large for a secret"));
    }
    let text = pasted::text(&bytes).map_err(|why| fail(&why.to_string()))?;
    if pasted::is_empty(&text) {
        return Err(fail("there is nothing in it"));
    }
    Ok(Secret::from(text.as_str()))
}

/// Read a client key from the file of an option, or from standard input.
///
/// # Errors
/// [`CallError::Secret`].
pub(super) fn read_key(option: &str, file: &Path) -> Result<Secret, CallError> {
    let text = read_file(option, file)?;
    let key = pasted::read(pasted::Kind::Key, text.expose_secret());
    key.map_err(|why| CallError::Secret(format!("{option}: {why}")))
}

/// The commands that take secrets.
const TAKERS: [&str; 3] = ["account", "token", "totp"];
/// What people try, and the option to use in its place.
const MISPLACED: [(&str, &str); 7] = [
    ("pin", "--pin-file"),
    ("totp-secret", "--totp-secret-file"),
    ("api-key", "--api-key-file"),
    ("api-secret", "--api-secret-file"),
    ("phone", "--phone-file"),
    ("access-token", "--access-token-file"),
    ("token", "--access-token-file"),
];
/// What stands behind the last argument that a command takes.
const TOO_MANY: &str = "too-many";

/// The command line with hidden arguments where people put secrets. They are taken only
/// to be refused: clap's own message would quote the secret into whatever keeps the
/// output. Not for completions, which would offer them.
pub(super) fn watching(command: Command) -> Command {
    let hidden = |name: &'static str| Arg::new(name).long(name).hide(true).num_args(0..=1);
    let watch = move |command: Command| {
        let known = |name: &str| command.get_arguments().any(|arg| arg.get_long() == Some(name));
        let options: Vec<_> = MISPLACED.iter().filter(|(name, _)| !known(name)).map(|(name, _)| hidden(name)).collect();
        command.args(options).arg(Arg::new(TOO_MANY).hide(true).num_args(0..))
    };
    TAKERS.into_iter().fold(command, |command, taker| {
        command.mut_subcommand(taker, |taker| {
            let names: Vec<String> = taker.get_subcommands().map(|command| command.get_name().to_owned()).collect();
            names.into_iter().fold(taker, |taker, name| taker.mut_subcommand(name, watch))
        })
    })
}

/// Refuse what [`watching`] found.
///
/// # Errors
/// [`CallError::Usage`], without the secret.
pub(super) fn refuse_misplaced(matches: &ArgMatches) -> Result<(), CallError> {
    let Some((taker, matches)) = matches.subcommand().filter(|(name, _)| TAKERS.contains(name)) else { return Ok(()) };
    let Some((_, matches)) = matches.subcommand() else { return Ok(()) };
    let given = |name: &str| matches.try_contains_id(name).unwrap_or(false);
    if let Some((_, option)) = MISPLACED.iter().find(|(name, _)| given(name)) {
        let option = if taker == "account" { option } else { "--file" };
        return Err(CallError::Usage(format!(
            "a secret is not given as an argument: every user of this host could read it there, and the shell keeps it in \
             its history. Use {option} FILE, {option} - for standard input, or --ask to be asked on the terminal"
        )));
    }
    if given(TOO_MANY) {
        let text = "there is an argument too many; it is not shown, as it may be a secret (secrets come from files, \
                    standard input or a prompt: see --help)";
        return Err(CallError::Usage(text.to_owned()));
    }
    Ok(())
}
