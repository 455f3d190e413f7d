//! The login host: PIN with TOTP here, consent in `consent`.
//!
//! Invariants:
//! - Failures of the login itself come as HTTP 200 with `"status":"error"`, as
//!   measured. A status of 4xx says that the call was malformed or its caller unknown.
//! - A window between attempts is counted on the test's clock, so moving the
//!   broker's clock neither opens nor closes it. Codes and tokens follow the broker's.
//! - A code that was accepted is not accepted again.
//!
//! Not here: renewal, which is a call of the API (`tokens`), and the partner's
//! login, which needs an agreement with the broker.

mod consent;
mod handle;
mod rules;
pub(super) mod totp;

use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::domain::ClientId;

use super::Account;
use super::api::Incoming;
use super::reply::{self, Answer, Reply};
use super::tokens::{self, Consumer};
use super::world::World;

pub(super) use consent::Consents;
pub use rules::{ConsentVerbs, ExpiryForm, LoginRules, Window};

const MINT: &str = "/app/generateAccessToken";
const GENERATE_CONSENT: &str = "/app/generate-consent";
const CONSUME_CONSENT: &str = "/app/consumeApp-consent";
const CONSENT_PAGE: &str = "/login/consentApp-login";

/// A token that the broker made for a caller. Those that a test makes or gives by
/// hand are not among these, but they count in the generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mint {
    /// When, on the test's clock.
    pub at: Timestamp,
    /// Which of the account's tokens it was, counted from 1.
    pub token_generation: u64,
    /// What made it.
    pub by: MintedBy,
}

/// What made a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MintedBy {
    /// `generateAccessToken`.
    PinAndTotp,
    /// `consumeApp-consent`.
    Consent,
    /// `RenewToken`.
    Renewal,
}

/// What the broker knows of one account's logins.
#[derive(Default)]
pub(super) struct State {
    /// Where the window between attempts is counted from, on the test's clock.
    counted_from: Option<Timestamp>,
    /// Refusals of PIN or TOTP since the last that was accepted.
    refusals: u32,
    locked: bool,
    /// The newest step whose code was accepted.
    used_step: Option<u64>,
    attempts: u64,
    /// The day of the newest consent, and how many were given on it.
    consents: (String, u32),
    pub(super) mints: Vec<Mint>,
    pub(super) generation: u64,
}

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    TooSoon,
    Pin,
    Totp,
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        reply::login_error(match refusal {
            Refusal::TooSoon => "Token can be generated once every 2 minutes.",
            Refusal::Pin => "Invalid Pin",
            Refusal::Totp => "Invalid TOTP",
        })
    }
}

/// What somebody says to log in.
struct Given<'a> {
    pin: &'a str,
    code: &'a str,
}

impl State {
    /// Count an attempt, which must not come inside the window of the one before.
    fn attempt(&mut self, rules: &LoginRules, real: Timestamp) -> Result<(), Refusal> {
        self.attempts += 1;
        let cooldown = SignedDuration::try_from(rules.cooldown).unwrap_or(SignedDuration::MAX);
        let too_soon = self.counted_from.is_some_and(|from| real.duration_since(from) < cooldown);
        if rules.window == Window::LastAttempt {
            self.counted_from = Some(real);
        }
        if too_soon { Err(Refusal::TooSoon) } else { Ok(()) }
    }

    /// Check PIN and code. [C]: that a third refusal locks, and that a locked
    /// account answers as if its PIN were wrong; nobody wrote down what it says.
    fn check(&mut self, account: &Account, given: &Given<'_>, limit: u32, now: Timestamp) -> Result<(), Refusal> {
        if self.locked {
            return Err(Refusal::Pin);
        }
        let checked = if account.pin.is_empty() || given.pin != account.pin {
            Err(Refusal::Pin)
        } else {
            let step = totp::step_of(&account.totp_secret, given.code, now);
            step.filter(|step| self.used_step.is_none_or(|used| used < *step)).ok_or(Refusal::Totp)
        };
        match checked {
            Ok(step) => {
                self.used_step = Some(step);
                self.refusals = 0;
                Ok(())
            }
            Err(refusal) => {
                self.refusals += 1;
                self.locked = self.refusals >= limit;
                Err(refusal)
            }
        }
    }

    /// Codes of another secret say nothing about this one's.
    pub(super) fn secret_changed(&mut self) {
        self.used_step = None;
    }
}

/// Answer one request to the login host.
pub(super) fn answer(world: &mut World, incoming: &Incoming<'_>) -> Reply {
    let answered = match (incoming.method.as_str(), incoming.path) {
        ("POST", MINT) => mint(world, incoming),
        ("POST", GENERATE_CONSENT) => consent::generate(world, incoming),
        ("GET", CONSENT_PAGE) => consent::page(world, incoming),
        ("POST", CONSENT_PAGE) => consent::login(world, incoming),
        (method, CONSUME_CONSENT) if world.login.consent_verbs.take(method) => consent::consume(world, incoming),
        // [C]: as the API answers a wrong verb.
        (_, MINT | GENERATE_CONSENT | CONSENT_PAGE | CONSUME_CONSENT) => Err(reply::bad_field()),
        (_, path) => Err(reply::not_found(path, incoming.now)),
    };
    answered.unwrap_or_else(|refusal| refusal)
}

/// `POST /app/generateAccessToken`: everything in the query, nothing in the body.
fn mint(world: &mut World, incoming: &Incoming<'_>) -> Answer {
    // [C]: whether such a call counts as an attempt; it is taken for one that
    // never reached the login.
    if incoming.body.is_empty() && says_json(incoming.headers) {
        return Err(reply::bad_field());
    }
    let query = incoming.query.unwrap_or_default();
    let client_id = form_value(query, "dhanClientId").and_then(|id| ClientId::parse(&id).ok());
    let client_id = client_id.ok_or_else(reply::login_unknown)?;
    let (Some(pin), Some(code)) = (form_value(query, "pin"), form_value(query, "totp")) else {
        return Err(reply::bad_field());
    };
    let (real, rules) = (world.real(incoming.now), world.login.clone());
    let ledger = world.ledger_mut(&client_id).ok_or_else(reply::login_unknown)?;
    ledger.login.attempt(&rules, real)?;
    let given = Given { pin: &pin, code: &code };
    ledger.login.check(&ledger.account, &given, rules.refusals_to_lock, incoming.now)?;
    ledger.login.counted_from = Some(real);
    let token = world.mint_by(&client_id, Consumer::App, MintedBy::PinAndTotp, incoming.now);
    tokens::login_reply(world, &client_id, &token, MintedBy::PinAndTotp)
}

/// Which account a request to the login host is for, as far as it says.
pub(super) fn named(world: &World, query: &str, body: &[u8]) -> Option<ClientId> {
    let given = ["dhanClientId", "client_id"].into_iter().find_map(|name| form_value(query, name));
    given.and_then(|id| ClientId::parse(&id).ok()).or_else(|| world.consents.named(query, body))
}

fn says_json(headers: &HeaderMap) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// A value of a query or of a form's body (`application/x-www-form-urlencoded`).
fn form_value(form: &str, name: &str) -> Option<String> {
    super::api::query_value(form, name).map(form_decoded)
}

fn form_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => data_encoding::HEXLOWER_PERMISSIVE.decode(&[*high, *low]).ok(),
            _ => None,
        };
        match (first, escaped) {
            (_, Some(byte)) => {
                decoded.extend(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', None) => {
                decoded.push(b' ');
                rest = after;
            }
            (byte, None) => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests;
