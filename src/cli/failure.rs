//! Why a command that calls the admin API was not done, in one line for a person.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::advice::commands;
use super::text::clean;
use crate::config::Problems;
use crate::domain::chain;

/// Why a command was not done. Its text says what to do; it never holds a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// What clap cannot see.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(Problems),
    #[error(
        "cannot read the admin token {path}: {why}; name the right file with --token-file (or \
         SIXGATE_ADMIN_TOKEN_FILE), or the gateway's configuration with --config (SIXGATE_CONFIG); no sandbox of yours runs"
    )]
    TokenFile { path: PathBuf, why: String },
    #[error("{0}")]
    Secret(String),
    #[error("nothing was done")]
    Declined,
    #[error("interrupted")]
    Interrupted,
    #[error("no client could be made: {0}")]
    Client(String),
    #[error(
        "cannot connect to the admin API at {at} ({why}); is the gateway running? If it is elsewhere, say so with \
         --admin (or SIXGATE_ADMIN), or name its configuration with --config (or SIXGATE_CONFIG)"
    )]
    Unreachable { at: String, why: String },
    #[error(
        "cannot ask the built-in broker at {at} ({why}); is `sixgate serve --sandbox` or `sixgate sandbox` running? \
         --control names another"
    )]
    NoSandbox { at: String, why: String },
    #[error("no answer from {at} within {} s; what was asked for may still be done", .limit.as_secs())]
    TimedOut { at: String, limit: Duration },
    #[error("the connection to {at} broke ({why}); what was asked for may have been done")]
    Broken { at: String, why: String },
    #[error("what answers at {at} is no admin API ({status}); does --admin name admin.address, and not a listener?")]
    Strange { at: String, status: StatusCode },
    #[error("{}", unauthorized(.at, .file.as_deref()))]
    Unauthorized { at: String, file: Option<PathBuf> },
    /// The gateway has no such call: it is of another version.
    #[error("{text}")]
    NoRoute { text: String },
    /// The API's own refusal.
    #[error("{text}")]
    Refused { text: String },
    #[error("cannot write {what}: {err}")]
    Output {
        what: String,
        #[source]
        err: std::io::Error,
    },
}

fn unauthorized(at: &str, file: Option<&Path>) -> String {
    match file {
        Some(file) => format!(
            "the token in {} is none of the gateway's at {at} (401); is it this gateway's file? --token-file or --config names another",
            file.display()
        ),
        None => format!("{at} wants a token (401); name its file with --token-file or --config"),
    }
}

/// An error of the API (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    code: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
    field: Option<String>,
}

impl CallError {
    /// What an answer with an error's status says.
    pub(super) fn of_problem(at: &str, status: StatusCode, text: &str, token_file: &Path) -> Self {
        let Ok(problem) = serde_json::from_str::<Problem>(text) else {
            return Self::Strange { at: at.to_owned(), status };
        };
        let Problem { code, title, mut detail, field } = problem;
        if detail.is_empty() {
            detail = title;
        }
        if let Some(field) = field.filter(|field| !detail.starts_with(field.as_str())) {
            detail = format!("{field}: {detail}");
        }
        let is_no_route = status == StatusCode::NOT_FOUND && detail.contains("no such route");
        let more = match status {
            StatusCode::FORBIDDEN if code == "forbidden" => format!("; the token is that of {}", token_file.display()),
            _ if is_no_route => "; is the gateway of another version than this program?".to_owned(),
            _ => String::new(),
        };
        let text = format!("{}{more} ({} {})", clean(&commands(&detail)), status.as_u16(), clean(&code));
        if is_no_route { Self::NoRoute { text } } else { Self::Refused { text } }
    }

    /// What the program ends with.
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            // As a shell says it of SIGINT.
            Self::Interrupted => 130,
            Self::TokenFile { .. }
            | Self::Secret(_)
            | Self::Declined
            | Self::Client(_)
            | Self::Unreachable { .. }
            | Self::NoSandbox { .. }
            | Self::TimedOut { .. }
            | Self::Broken { .. }
            | Self::Strange { .. }
            | Self::Unauthorized { .. }
            | Self::NoRoute { .. }
            | Self::Refused { .. }
            | Self::Output { .. } => 1,
        }
    }
}

/// Print what went wrong; how the program ends.
pub(super) fn exit_code(done: Result<ExitCode, CallError>) -> ExitCode {
    let err = match done {
        Ok(code) => return code,
        Err(err) => err,
    };
    // Whoever read our output had enough of it: `sixgate account list | head`.
    if matches!(&err, CallError::Output { err, .. } if err.kind() == std::io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    if let CallError::Config(problems) = &err {
        eprintln!("{problems}");
    } else {
        eprintln!("sixgate: {err}");
    }
    ExitCode::from(err.code())
}

/// Print an error and its causes.
pub(super) fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("sixgate: {}", chain(error));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: StatusCode, text: &str) -> String {
        CallError::of_problem("http://127.0.0.1:1", status, text, Path::new("t/admin.token")).to_string()
    }

    /// Scripts look for the code, and people for the sentence.
    #[test]
    fn a_problem_becomes_one_line() {
        let text = r#"{"title":"Not Found","detail":"there is no\naccount \u001b[31malpha","code":"not_found"}"#;
        assert_eq!(told(StatusCode::NOT_FOUND, text), "there is no account  [31malpha (404 not_found)");
        let text = r#"{"detail":"is missing","code":"invalid","field":"pin"}"#;
        assert_eq!(told(StatusCode::UNPROCESSABLE_ENTITY, text), "pin: is missing (422 invalid)");
        let text = r#"{"detail":"pin: is missing","code":"invalid","field":"pin"}"#;
        assert_eq!(told(StatusCode::UNPROCESSABLE_ENTITY, text), "pin: is missing (422 invalid)");
        let text = r#"{"detail":"this call needs the role admin","code":"forbidden"}"#;
        assert!(told(StatusCode::FORBIDDEN, text).contains("t/admin.token"));
        for strange in ["", "<html>", "{}", r#"{"errorType":"x"}"#] {
            assert!(told(StatusCode::BAD_GATEWAY, strange).contains("no admin API (502"), "{strange}");
        }
    }
}
