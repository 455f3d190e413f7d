//! Access tokens: made, killed, renewed. One per account is live.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::broker::dhan::token::Claims;
use crate::domain::ClientId;

use super::api::Call;
use super::clock;
use super::login::{ExpiryForm, Mint, MintedBy};
use super::reply::{self, Answer, Reply};
use super::world::{Event, World};

/// Who made a token, which decides whether it can be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consumer {
    /// `APP`: PIN and TOTP, or consent.
    App,
    /// `SELF`: the button on the broker's web page.
    Web,
}

/// A live token.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: String,
    /// Its end in seconds since 1970; none if it does not say.
    pub(super) expires_at: Option<i64>,
    /// Its end to the millisecond, as the reply that carries it shows it.
    shown_end: Option<Timestamp>,
    pub(super) consumer: Consumer,
}

impl Token {
    fn read(text: &str) -> Self {
        let claims = Claims::read(text).ok();
        let web = claims.as_ref().is_some_and(|claims| claims.consumer.as_deref() == Some("SELF"));
        Self {
            text: text.to_owned(),
            expires_at: claims.map(|claims| claims.expires_at),
            shown_end: None,
            consumer: if web { Consumer::Web } else { Consumer::App },
        }
    }

    pub(super) fn expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now.as_second())
    }

    /// When it ends, for replies.
    pub(super) fn end(&self, now: Timestamp) -> Timestamp {
        self.expires_at.and_then(|end| Timestamp::from_second(end).ok()).unwrap_or(now)
    }
}

impl World {
    /// Make a token and let it be the account's only one.
    pub(super) fn mint(&mut self, client_id: &ClientId, consumer: Consumer, now: Timestamp) -> String {
        // The claims are in whole seconds, so the life is too.
        let life = SignedDuration::from_secs(self.login.token_life.as_secs().try_into().unwrap_or(i64::MAX));
        let end = now.checked_add(life).unwrap_or(Timestamp::MAX);
        let text = token_text(client_id, consumer, now, end);
        self.adopt(client_id, &text);
        if let Some(token) = self.ledger_mut(client_id).and_then(|ledger| ledger.token.as_mut()) {
            token.shown_end = Some(end);
        }
        text
    }

    /// Makes a token as [`mint`](Self::mint) does, for a caller that asked for it, and notes who asked.
    pub(super) fn mint_by(&mut self, client_id: &ClientId, consumer: Consumer, by: MintedBy, now: Timestamp) -> String {
        let text = self.mint(client_id, consumer, now);
        let at = self.real(now);
        if let Some(ledger) = self.ledger_mut(client_id) {
            let token_generation = ledger.login.generation;
            ledger.login.mints.push(Mint { at, token_generation, by });
        }
        text
    }

    /// Let a text be the account's only token.
    pub(super) fn adopt(&mut self, client_id: &ClientId, text: &str) {
        self.kill(client_id);
        if let Some(ledger) = self.ledger_mut(client_id) {
            ledger.token = Some(Token::read(text));
            ledger.login.generation += 1;
            self.tokens.insert(text.to_owned(), client_id.clone());
        }
    }

    /// Leave the account without a token. Its WebSockets drop: [C], nobody
    /// measured what becomes of sockets that a dead token opened.
    pub(super) fn kill(&mut self, client_id: &ClientId) {
        let Some(ledger) = self.ledger_mut(client_id) else { return };
        if let Some(token) = ledger.token.take() {
            ledger.publish(Event::TokenDied(token.text.clone()));
            self.tokens.remove(&token.text);
        }
    }

    /// The account of a live token, unless it is past its end.
    pub(super) fn account_of(&self, token: &str, now: Timestamp) -> TokenState {
        let Some(client_id) = self.tokens.get(token) else { return TokenState::Dead };
        let expired = self.ledger(client_id).and_then(|l| l.token.as_ref()).is_none_or(|token| token.expired(now));
        if expired { TokenState::Expired } else { TokenState::Live(client_id.clone()) }
    }
}

/// What a token is worth.
pub(super) enum TokenState {
    /// It speaks for this account.
    Live(ClientId),
    /// Superseded, revoked or never made: all one to the broker.
    Dead,
    /// The account's last, past its end.
    Expired,
}

/// A JWT with the claims that were measured, and one more (`jti`) so that two
/// of one second differ. The signature is no signature.
fn token_text(client_id: &ClientId, consumer: Consumer, now: Timestamp, end: Timestamp) -> String {
    let mut random = [0_u8; 12];
    // Without randomness tokens of one second would be alike; nothing is at stake here.
    let _best_effort = getrandom::fill(&mut random);
    let jti = HEXLOWER.encode(&random);
    let mut claims = json!({
        "iss": "dhan", "exp": end.as_second(), "iat": now.as_second(), "jti": jti, "dhanClientId": client_id.as_str(),
    });
    let more = match consumer {
        Consumer::App => json!({"partnerId": "SANDBOX", "tokenConsumerType": "APP", "userRegion": "IN"}),
        Consumer::Web => json!({"partnerId": "", "tokenConsumerType": "SELF", "webhookUrl": ""}),
    };
    if let (Some(claims), Some(more)) = (claims.as_object_mut(), more.as_object()) {
        claims.extend(more.clone());
    }
    let encode = |text: String| BASE64URL_NOPAD.encode(text.as_bytes());
    let header = encode(json!({"typ": "JWT", "alg": "HS512"}).to_string());
    // As long as one of HS512 is: whoever looks whether a token is whole counts it.
    let signature = format!("{:-<64}", format!("fake-signature-{jti}"));
    format!("{header}.{}.{}", encode(claims.to_string()), encode(signature))
}

/// `GET /RenewToken`: a new token for a live `SELF` token, which dies.
pub(super) fn renew(world: &mut World, call: &Call<'_>) -> Answer {
    // [C]: what a missing or wrong header brings was not seen.
    if call.header("dhanclientid") != Some(call.client_id.as_str()) {
        return Err(reply::bad_field());
    }
    let kind = world.ledger(&call.client_id).and_then(|l| l.token.as_ref()).map(|token| token.consumer);
    if kind != Some(Consumer::Web) {
        return Err(reply::not_renewable());
    }
    let text = world.mint_by(&call.client_id, Consumer::Web, MintedBy::Renewal, call.now);
    login_reply(world, &call.client_id, &text, MintedBy::Renewal)
}

/// The six fields of every login reply.
pub(super) fn login_reply(world: &World, client_id: &ClientId, token: &str, by: MintedBy) -> Answer {
    let ledger = world.ledger(client_id).ok_or_else(reply::invalid_token)?;
    let end = ledger.token.as_ref().and_then(|token| token.shown_end).unwrap_or(Timestamp::MAX);
    let expiry = match (world.login.expiry, by) {
        (ExpiryForm::Seconds, _) | (ExpiryForm::AsSeen, MintedBy::Consent) => json!(clock::expiry_seconds(end)),
        (ExpiryForm::Milliseconds, _) | (ExpiryForm::AsSeen, MintedBy::PinAndTotp | MintedBy::Renewal) => {
            json!(clock::expiry_time(end))
        }
        (ExpiryForm::EpochMilliseconds, _) => json!(end.as_millisecond()),
        (ExpiryForm::Offset, _) => json!(clock::expiry_offset(end)),
    };
    Ok(Reply::ok(&json!({
        "dhanClientId": client_id,
        "dhanClientName": ledger.account.name,
        "dhanClientUcc": format!("SBOX{client_id}"),
        "givenPowerOfAttorney": false,
        "accessToken": token,
        "expiryTime": expiry,
    })))
}

/// `GET /profile`.
pub(super) fn profile(world: &World, call: &Call<'_>) -> Answer {
    let ledger = world.ledger(&call.client_id).ok_or_else(reply::invalid_token)?;
    let end = ledger.token.as_ref().map_or(call.now, |token| token.end(call.now));
    Ok(Reply::ok(&json!({
        "dhanClientId": call.client_id,
        "tokenValidity": clock::profile_time(end),
        "activeSegment": "Equity, Derivative, Currency, Commodity",
        "ddpi": "Active",
        "mtf": "Active",
        "dataPlan": if world.desk.habits.no_data_plan { "Deactive" } else { "Active" },
        "dataValidity": format!("{} 23:59:59.0", clock::date(end)),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Account;

    /// A gateway that keeps using the old one must be caught at once.
    #[test]
    fn a_new_token_kills_the_one_before() {
        let now: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
        let id = ClientId::parse("1000000001").unwrap();
        let mut world = World::default();
        world.add_account(Account::new(id.clone(), "T", "123456", "JBSWY3DPEHPK3PXP"), now);
        let first = world.mint(&id, Consumer::App, now);
        let second = world.mint(&id, Consumer::App, now);
        assert_ne!(first, second);
        assert!(matches!(world.account_of(&first, now), TokenState::Dead));
        assert!(matches!(world.account_of(&second, now), TokenState::Live(owner) if owner == id));
        let later = Timestamp::from_second(now.as_second() + 86_400).unwrap();
        assert!(matches!(world.account_of(&second, later), TokenState::Expired));
    }

    /// The gateway reads the end of a token's life from its claims.
    #[test]
    fn a_token_reads_as_one_of_the_brokers() {
        let now: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
        let id = ClientId::parse("1000000001").unwrap();
        let end: Timestamp = "2026-11-24T04:00:00Z".parse().unwrap();
        let claims = Claims::read(&token_text(&id, Consumer::Web, now, end)).unwrap();
        assert_eq!(claims.client_id, id);
        assert_eq!(claims.expires_at, end.as_second());
        assert_eq!(claims.consumer.as_deref(), Some("SELF"));
    }
}
