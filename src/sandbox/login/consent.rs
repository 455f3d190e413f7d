//! Consent: an app asks, the account's owner logs in with a browser, the app
//! fetches a token. Key and secret of the app are the account's own.

use std::collections::HashMap;

use http::HeaderMap;
use serde_json::json;

use crate::domain::ClientId;

use super::{CONSENT_PAGE, Given, MintedBy, form_value};
use crate::sandbox::Account;
use crate::sandbox::api::Incoming;
use crate::sandbox::clock;
use crate::sandbox::reply::{self, Answer, Reply};
use crate::sandbox::tokens::{self, Consumer};
use crate::sandbox::world::World;

/// Consents that were asked for and those that were given, each good for one use.
#[derive(Default)]
pub(in super::super) struct Consents {
    /// By `consentAppId`, until its owner has logged in.
    requested: HashMap<String, ClientId>,
    /// By `tokenId`, until its token is fetched.
    given: HashMap<String, ClientId>,
}

impl Consents {
    /// Whose consent a request is about. Consents that are used up are nobody's.
    pub(super) fn named(&self, query: &str, body: &[u8]) -> Option<ClientId> {
        let requested = consent_id(query, body).and_then(|id| self.requested.get(&id));
        requested.or_else(|| self.given.get(&form_value(query, "tokenId")?)).cloned()
    }
}

/// `consentAppId` of the query, or of the form that the page sends.
fn consent_id(query: &str, body: &[u8]) -> Option<String> {
    let name = "consentAppId";
    form_value(query, name).or_else(|| form_value(std::str::from_utf8(body).ok()?, name))
}

/// A UUID, as both of the broker's ids of a consent are.
fn new_id() -> String {
    let mut random = [0_u8; 16];
    // Without randomness a consent's id could be guessed; nothing is at stake here.
    let _best_effort = getrandom::fill(&mut random);
    uuid::Builder::from_random_bytes(random).into_uuid().to_string()
}

/// Do the headers carry the key and secret of the account's app?
fn app_is(account: &Account, headers: &HeaderMap) -> bool {
    let says = |name: &str, known: &Option<String>| {
        known.as_ref().is_some_and(|known| headers.get(name).is_some_and(|said| said.as_bytes() == known.as_bytes()))
    };
    says("app_id", &account.api_key) && says("app_secret", &account.api_secret)
}

/// `POST /app/generate-consent`.
pub(super) fn generate(world: &mut World, incoming: &Incoming<'_>) -> Answer {
    let client_id = form_value(incoming.query.unwrap_or_default(), "client_id");
    let client_id = client_id.and_then(|id| ClientId::parse(&id).ok()).ok_or_else(reply::app_unauthorized)?;
    let limit = world.login.consents_a_day;
    let ledger = world.ledger_mut(&client_id).ok_or_else(reply::app_unauthorized)?;
    if !app_is(&ledger.account, incoming.headers) {
        return Err(reply::app_unauthorized());
    }
    // [C]: which midnight ends the broker's day.
    let today = clock::date(incoming.now);
    let (day, count) = &mut ledger.login.consents;
    if *day != today {
        (*day, *count) = (today, 0);
    }
    if *count >= limit {
        return Err(reply::consent_limit());
    }
    *count += 1;
    let id = new_id();
    world.consents.requested.insert(id.clone(), client_id);
    Ok(Reply::ok(&json!({"consentAppId": id, "consentAppStatus": "GENERATED", "status": "success"})))
}

/// `GET /login/consentApp-login`: what the owner's browser shows.
pub(super) fn page(world: &World, incoming: &Incoming<'_>) -> Answer {
    let id = consent_id(incoming.query.unwrap_or_default(), b"").filter(|id| world.consents.requested.contains_key(id));
    Ok(form(&id.ok_or_else(unknown)?, ""))
}

/// `POST /login/consentApp-login`: the form comes back. The real page does this by
/// private calls that are not imitated; what it ends in is the same redirect.
pub(super) fn login(world: &mut World, incoming: &Incoming<'_>) -> Answer {
    let id = consent_id(incoming.query.unwrap_or_default(), incoming.body).ok_or_else(unknown)?;
    let client_id = world.consents.requested.get(&id).cloned().ok_or_else(unknown)?;
    let body = std::str::from_utf8(incoming.body).unwrap_or_default();
    let field = |name: &str| form_value(body, name).unwrap_or_default();
    let (pin, code) = (field("pin"), field("totp"));
    if field("phone").is_empty() {
        return Ok(form(&id, "Enter your mobile number"));
    }
    let limit = world.login.refusals_to_lock;
    let ledger = world.ledger_mut(&client_id).ok_or_else(unknown)?;
    // An app cannot be made without one, so what happens then is nobody's knowledge. [C]
    let Some(back) = ledger.account.redirect_url.clone() else { return Err(unknown()) };
    // [C]: that PIN and TOTP count here as they do at `generateAccessToken`, and
    // that the window between attempts does not.
    if ledger.login.check(&ledger.account, &Given { pin: &pin, code: &code }, limit, incoming.now).is_err() {
        return Ok(form(&id, "Invalid Pin or TOTP"));
    }
    let token_id = give(world, &id).ok_or_else(unknown)?;
    Ok(Reply::redirect(&return_address(&back, &token_id)))
}

/// The owner has logged in: the consent becomes a `tokenId`.
pub(super) fn give(world: &mut World, consent_app_id: &str) -> Option<String> {
    let client_id = world.consents.requested.remove(consent_app_id)?;
    let token_id = new_id();
    world.consents.given.retain(|_, of| *of != client_id);
    world.consents.given.insert(token_id.clone(), client_id);
    Some(token_id)
}

/// `{redirect_URL}/?tokenId=…`, and nothing that says whose it is.
fn return_address(redirect_url: &str, token_id: &str) -> String {
    match redirect_url.split_once('?') {
        // [C]: what becomes of a query of the app's own.
        Some(_) => format!("{redirect_url}&tokenId={token_id}"),
        None => format!("{}/?tokenId={token_id}", redirect_url.trim_end_matches('/')),
    }
}

/// `/app/consumeApp-consent`: the token, once.
pub(super) fn consume(world: &mut World, incoming: &Incoming<'_>) -> Answer {
    let token_id = form_value(incoming.query.unwrap_or_default(), "tokenId").unwrap_or_default();
    // The app's headers are checked first, against any account's: the id alone says whose it is.
    let known = world.ledgers().any(|ledger| app_is(&ledger.account, incoming.headers));
    if !known {
        return Err(reply::app_unauthorized());
    }
    // [C]: the words, and that a used id is refused like one that never was.
    let invalid = || reply::login_error("Invalid Token Id");
    let client_id = world.consents.given.get(&token_id).cloned().ok_or_else(invalid)?;
    let ledger = world.ledger(&client_id).ok_or_else(invalid)?;
    if !app_is(&ledger.account, incoming.headers) {
        return Err(reply::app_unauthorized());
    }
    world.consents.given.remove(&token_id);
    // [C]: that such a token is of the kind that does not renew.
    let token = world.mint_by(&client_id, Consumer::App, MintedBy::Consent, incoming.now);
    tokens::login_reply(world, &client_id, &token, MintedBy::Consent)
}

/// The page with its form. Both texts are the sandbox's own, so nothing is escaped.
fn form(consent_app_id: &str, said: &str) -> Reply {
    Reply::text(
        "text/html; charset=utf-8",
        format!(
            "<!doctype html><title>Sandbox broker login</title><p>{said}</p>\n\
             <form method=\"post\" action=\"{CONSENT_PAGE}\">\n\
             <input type=\"hidden\" name=\"consentAppId\" value=\"{consent_app_id}\">\n\
             <label>Mobile number <input name=\"phone\"></label>\n\
             <label>PIN <input name=\"pin\" type=\"password\"></label>\n\
             <label>TOTP <input name=\"totp\" autocomplete=\"one-time-code\"></label>\n\
             <button>Log in</button></form>\n"
        ),
    )
}

/// [C]: what the page shows for a consent that is not there.
fn unknown() -> Reply {
    let text = "<!doctype html><title>Sandbox broker login</title><p>This login has expired.</p>\n";
    Reply::text("text/html; charset=utf-8", text.to_owned()).with_status(http::StatusCode::BAD_REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented form has the slash; a gateway that expects its own path back
    /// to the letter would answer 404 to a person who has just logged in.
    #[test]
    fn the_way_back_is_as_documented() {
        assert_eq!(return_address("https://a.test/auth/dhan", "T"), "https://a.test/auth/dhan/?tokenId=T");
        assert_eq!(return_address("https://a.test/", "T"), "https://a.test/?tokenId=T");
        assert_eq!(return_address("https://a.test/x?a=1", "T"), "https://a.test/x?a=1&tokenId=T");
    }

    #[test]
    fn an_id_is_a_random_uuid() {
        let (one, two) = (new_id(), new_id());
        assert!(one != two && one.len() == 36 && one.as_bytes().get(14) == Some(&b'4'), "{one}");
    }
}
