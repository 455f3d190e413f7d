//! Is an account ready to trade? Checks, each with what was found, from as few calls
//! as that takes: `/profile` once and `getIP` once by each leg. Where these cannot be asked, before there is a token,
//! the API host is asked for nothing by each leg: nobody registers for a week what cannot leave.
//!
//! A check fails on what the broker says. On what it does not say it is unknown, which is neither well nor a failure:
//! members of its replies are missing more often than they are documented.
//!
//! Not here: mending anything.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::accounts::registration::AccountSnapshot;
use crate::broker::dhan::calendar;
use crate::broker::dhan::token::Claims;
use crate::domain::secret::ExposeSecret;
use crate::domain::{Authority, Pair, Role, india, steady};
use crate::egress::{DialError, ResolveError};
use crate::legs::Leg;
use crate::tokens::LiveToken;
use crate::tokens::client::{Answered, BrokerClient, Called, Registered, TokenProfile};
use crate::tokens::lifecycle::{CheckOutcome, Consumer};

/// A clock further off than this is told: two windows of TOTP are 30 s apart, and a
/// clock that drifts does not stop.
const CLOCK: SignedDuration = SignedDuration::from_secs(2);

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What. A word of the API.
    pub name: &'static str,
    /// Is it as it should be?
    pub verdict: CheckVerdict,
    /// One sentence: what was found.
    pub detail: String,
}

/// What a check found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckVerdict {
    /// It is as it should be.
    Good,
    /// It is not.
    Failed,
    /// It could not be found out.
    Unknown,
}

impl CheckVerdict {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl Check {
    /// Is it known to be as it should be?
    pub const fn ok(&self) -> bool {
        matches!(self.verdict, CheckVerdict::Good)
    }
}

/// What a validation found, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validated {
    /// When it was asked for.
    pub at: Timestamp,
    /// What was looked at.
    pub checks: Vec<Check>,
}

impl Validated {
    /// Were all checks as they should be?
    pub fn ok(&self) -> bool {
        all_ok(&self.checks)
    }

    /// Did one of them fail? Not to know is no failure.
    pub fn failed(&self) -> bool {
        self.checks.iter().any(|check| check.verdict == CheckVerdict::Failed)
    }
}

const fn check(name: &'static str, ok: bool, detail: String) -> Check {
    Check { name, verdict: if ok { CheckVerdict::Good } else { CheckVerdict::Failed }, detail }
}

fn unknown(name: &'static str, why: &str) -> Check {
    Check { name, verdict: CheckVerdict::Unknown, detail: format!("not known: {why}") }
}

const NO_PAIR: &str = "the account has no addresses yet, so it cannot trade: sixgate pair assign NAME";

/// How long the name of a host may take.
const NAMES: Duration = Duration::from_secs(3);

/// What a leg's `getIP` said, else why it said nothing.
type AddressReply = Result<Registered, String>;

/// Do TCP and TLS work by a leg? Else why not.
type LineResult = Result<(), String>;

/// What was asked and answered.
struct BrokerReplies {
    profile: Result<TokenProfile, String>,
    primary: AddressReply,
    secondary: AddressReply,
    lines: Option<[LineResult; 2]>,
    skew: Option<SignedDuration>,
}

/// Look at an account. Reads only. `now` is by the steady clock.
pub async fn validate(client: &BrokerClient, subject: &AccountSnapshot, now: Timestamp) -> Vec<Check> {
    let (replies, hosts) = tokio::join!(call_broker(client, subject), hosts(client, subject));
    let now = now.checked_add(replies.skew.unwrap_or_default()).unwrap_or(now);
    let pair = subject.legs.as_ref().map(|legs| legs.pair());
    let name = subject.legs.as_ref().map_or("NAME", |legs| legs.account().as_str());
    vec![
        match pair {
            Some(pair) => check("pair", true, format!("{} and {}", pair.primary, pair.secondary)),
            None => check("pair", false, NO_PAIR.to_owned()),
        },
        line(
            "line_primary",
            client.api(),
            pair.map(|pair| pair.primary.ip()),
            replies.lines.as_ref().map(|[one, _]| one),
        ),
        line(
            "line_secondary",
            client.api(),
            pair.map(|pair| pair.secondary.ip()),
            replies.lines.as_ref().map(|[_, two]| two),
        ),
        hosts,
        token(subject, &replies.profile, name),
        token_expiry(subject, now),
        leg("leg_primary", Role::Primary, pair.map(|pair| pair.primary.ip()), &replies.primary),
        leg("leg_secondary", Role::Secondary, pair.map(|pair| pair.secondary.ip()), &replies.secondary),
        registration(pair, &replies, name),
        orders_allowed(&replies, name),
        clock(replies.skew.and_then(|_| steady::brokers_ahead_of_host())),
    ]
}

async fn call_broker(client: &BrokerClient, subject: &AccountSnapshot) -> BrokerReplies {
    let Some(legs) = subject.legs.as_ref() else {
        let why = || NO_PAIR.to_owned();
        return BrokerReplies {
            profile: Err(why()),
            primary: Err(why()),
            secondary: Err(why()),
            lines: None,
            skew: None,
        };
    };
    let [primary, secondary] = legs.both();
    // Without a token: only whether anything leaves, and what time it is.
    let plain = async |profile: Result<TokenProfile, String>, why: String, skew: Option<SignedDuration>| {
        let ((one, first), (two, second)) =
            tokio::join!(try_line(client, subject, primary), try_line(client, subject, secondary));
        let skew = skew.or(first).or(second);
        BrokerReplies { profile, primary: Err(why.clone()), secondary: Err(why), lines: Some([one, two]), skew }
    };
    let token = match &subject.token {
        Ok(token) => token,
        Err(why) => {
            let why = format!("not asked: there is no live token ({why})");
            return plain(Err(why.clone()), why, None).await;
        }
    };
    let called: Called<TokenProfile> = client.profile(legs, &subject.client_id, &token.secret()).await;
    let (profile, skew) = (called.answered, called.skew);
    if profile.outcome == CheckOutcome::Dead {
        return plain(Ok(profile), "not asked: the broker refuses the token".to_owned(), skew).await;
    }
    let see = |leg| see(client, subject, leg, token);
    let ((primary, one, first), (secondary, two, second)) = tokio::join!(see(primary), see(secondary));
    let skew = skew.or(first).or(second);
    BrokerReplies { profile: Ok(profile), primary, secondary, lines: Some([one, two]), skew }
}

/// By that very leg: the other one's answer would be no answer.
async fn see(
    client: &BrokerClient,
    subject: &AccountSnapshot,
    leg: &Leg,
    token: &Arc<LiveToken>,
) -> (AddressReply, LineResult, Option<SignedDuration>) {
    let Called { answered, skew, .. } = client.get_ip(leg, &subject.client_id, &token.secret()).await;
    let line = line_of(&answered);
    let registered = answered.into_result();
    if let Ok(known) = &registered {
        subject.seen.note(known);
    }
    (registered, line, skew)
}

async fn try_line(client: &BrokerClient, subject: &AccountSnapshot, leg: &Leg) -> (LineResult, Option<SignedDuration>) {
    let Called { answered, skew, .. } = client.line(leg, &subject.client_id).await;
    (line_of(&answered), skew)
}

/// What was sent had a connection with TLS to be sent on, whatever became of it.
fn line_of<T>(answered: &Answered<T>) -> LineResult {
    match answered {
        Answered::Good(_) | Answered::Refused(_) | Answered::Unknown(_) => Ok(()),
        Answered::NotSent(why) => Err(why.clone()),
    }
}

fn line(name: &'static str, to: &Authority, from: Option<Ipv6Addr>, line: Option<&LineResult>) -> Check {
    match (from, line) {
        (Some(from), Some(Ok(()))) => {
            check(name, true, format!("this address reaches the broker ({from}: TCP and TLS with {to} work)"))
        }
        (_, Some(Err(why))) => check(name, false, why.clone()),
        (None, _) | (_, None) => unknown(name, NO_PAIR),
    }
}

/// Has each of the broker's hosts an address to which something can be sent? What neither orders nor logins need is told
/// and is no failure.
async fn hosts(client: &BrokerClient, subject: &AccountSnapshot) -> Check {
    let name = "hosts";
    let Some(legs) = subject.legs.as_ref() else { return unknown(name, NO_PAIR) };
    let by = Instant::now() + NAMES;
    let asked = client.hosts().map(async |(to, is_needed)| (to, is_needed, legs.resolve(to, by).await.err()));
    let (mut verdict, mut found) = (CheckVerdict::Good, Vec::new());
    for (to, is_needed, err) in join_all(asked).await {
        let Some(err) = err else { continue };
        let has_none =
            matches!(err, DialError::Resolve(ResolveError::NoAddress { .. } | ResolveError::NoIpv4Address { .. }));
        match (is_needed, has_none) {
            (true, true) => verdict = CheckVerdict::Failed,
            (true, false) => verdict = worse(verdict, CheckVerdict::Unknown),
            (false, true) => {}
            (false, false) => continue,
        }
        let advice = match (has_none, to == client.api()) {
            (true, true) => "has no IPv6 address, and orders never leave over IPv4: see sixgate doctor",
            (true, false) if legs.is_ipv4(to) => {
                "is in egress.ipv4_hosts and has no IPv4 address: take it out there, and see sixgate doctor"
            }
            (true, false) => {
                "has no IPv6 address: name it in egress.ipv4_hosts, with the IPv4 address of this host to send from"
            }
            (false, _) => "is not known: the name servers do not say where it is",
        };
        found.push(format!("{} {advice}", to.host));
    }
    let detail = match (found.is_empty(), verdict) {
        (true, _) => "each of the broker's hosts has an address".to_owned(),
        (false, CheckVerdict::Good) => format!("orders and logins are not affected: {}", found.join("; ")),
        (false, CheckVerdict::Failed | CheckVerdict::Unknown) => found.join("; "),
    };
    Check { name, verdict, detail }
}

fn token(subject: &AccountSnapshot, profile: &Result<TokenProfile, String>, account: &str) -> Check {
    let name = "token";
    let until =
        || format!("orders are refused until there is a new one: sixgate token refresh {account}, or token set");
    if let Err(why) = &subject.token {
        return check(name, false, format!("{why}; {}", until()));
    }
    let profile = match profile {
        Ok(profile) => profile,
        Err(why) => return unknown(name, why),
    };
    let plan = match profile.data_plan {
        Some(true) => "; the data plan is active",
        Some(false) => "; there is no data plan",
        None => "",
    };
    let why = profile.trouble.as_ref().map(|trouble| trouble.summary.as_ref()).unwrap_or_default();
    match profile.outcome {
        CheckOutcome::Lives => check(name, true, format!("the broker accepts it{plan}")),
        CheckOutcome::Dead => check(name, false, format!("the broker refuses it: {why}; {}", until())),
        CheckOutcome::Unclear | CheckOutcome::NoAnswer => unknown(name, &format!("whether it lives: {why}")),
    }
}

fn token_expiry(subject: &AccountSnapshot, now: Timestamp) -> Check {
    let name = "token_expiry";
    let token = match &subject.token {
        Ok(token) => token,
        Err(why) => return unknown(name, why),
    };
    let ends = token.expires_at();
    let there = india::local(ends);
    let when = format!("it ends at {}", there.strftime("%Y-%m-%d %H:%M IST"));
    if !calendar::is_market_hours(ends) {
        return check(name, true, format!("{when}, outside market hours"));
    }
    // Those that the gateway replaces by itself do not live to see that moment.
    let claims = Claims::read(token.secret().expose_secret()).ok();
    let consumer = Consumer::from_claim(claims.as_ref().and_then(|claims| claims.consumer.as_deref()));
    let (_, replaced_by) = calendar::refresh_window(there.date());
    if (subject.automatic || consumer == Consumer::SelfMade) && now < replaced_by {
        return check(name, true, format!("{when}, in market hours; the gateway replaces it before they begin"));
    }
    // One that was pasted this morning lives until tomorrow morning, and nobody can have a better one today.
    if there.date() > india::local(now).date() {
        let by = india::local(replaced_by).strftime("%Y-%m-%d %H:%M IST");
        return check(name, true, format!("{when}, in market hours: give the account a new token by {by}"));
    }
    check(name, false, format!("{when}, in market hours: give the account a new token before then"))
}

fn leg(name: &'static str, role: Role, address: Option<Ipv6Addr>, seen: &AddressReply) -> Check {
    let (Some(address), Ok(seen)) = (address, seen) else {
        let why = seen.as_ref().err().map(|why| format!("it is not proved as what the broker sees it: {why}"));
        return unknown(name, why.as_deref().unwrap_or(NO_PAIR));
    };
    match seen.seen_from(role, address) {
        Some(detected) if detected == address => check(name, true, format!("the broker sees it as {detected}")),
        Some(detected) => check(
            name,
            false,
            format!(
                "the broker sees {address} as {detected}, and refuses orders from there. Something changes the address on \
                 the way: remove masquerade or snat for {address} (nft list ruleset shows them)"
            ),
        ),
        None => unknown(
            name,
            &format!(
                "not proved: {address} got an answer, but the broker did not say which address it saw. Nothing is known to \
                 be wrong; try again, or look at the check registration"
            ),
        ),
    }
}

fn registration(pair: Option<Pair>, replies: &BrokerReplies, account: &str) -> Check {
    let name = "registration";
    let Some(pair) = pair else { return unknown(name, NO_PAIR) };
    let registered = match (&replies.primary, &replies.secondary) {
        (Ok(registered), _) | (Err(_), Ok(registered)) => registered,
        (Err(why), Err(_)) => return unknown(name, why),
    };
    let (mut verdict, mut found) = (CheckVerdict::Good, Vec::with_capacity(2));
    for role in [Role::Primary, Role::Secondary] {
        let (slot, want) = (registered.slot(role), pair.of(role));
        let word = role.as_str();
        if slot.holds.is(want.ip().into()) {
            found.push(format!("{word} is registered"));
        } else if slot.holds == crate::tokens::client::Holds::Unreported {
            verdict = worse(verdict, CheckVerdict::Unknown);
            found.push(format!("the broker does not say what is registered as {word}"));
        } else {
            verdict = CheckVerdict::Failed;
            let held = slot.holds.text().unwrap_or_else(|| "nothing".to_owned());
            found.push(format!("{word}: the broker has {held} registered, the account uses {want}"));
        }
    }
    if verdict == CheckVerdict::Failed {
        found.push(format!(
            "orders will be refused. What to do: sixgate register {account} (a change locks for 7 days)"
        ));
    }
    Check { name, verdict, detail: found.join("; ") }
}

fn orders_allowed(replies: &BrokerReplies, account: &str) -> Check {
    let name = "orders_allowed";
    let (mut verdict, mut found) = (CheckVerdict::Good, Vec::with_capacity(2));
    for (word, seen) in [("primary", &replies.primary), ("secondary", &replies.secondary)] {
        match seen.as_ref().map(|seen| seen.orders_allowed) {
            Ok(Some(true)) => found.push(format!("{word}: allowed")),
            Ok(Some(false)) => {
                verdict = CheckVerdict::Failed;
                found.push(format!("{word}: the broker does not let orders in from this address"));
            }
            Ok(None) => {
                verdict = worse(verdict, CheckVerdict::Unknown);
                found.push(format!("{word}: the broker does not say"));
            }
            Err(why) => {
                verdict = worse(verdict, CheckVerdict::Unknown);
                found.push(format!("{word}: {why}"));
            }
        }
    }
    if verdict == CheckVerdict::Failed {
        found.push(format!("register the address (sixgate register {account}), or ask Dhan"));
    }
    Check { name, verdict, detail: found.join("; ") }
}

/// A failure is told as one, whatever else is not known.
const fn worse(one: CheckVerdict, other: CheckVerdict) -> CheckVerdict {
    match (one, other) {
        (CheckVerdict::Failed, _) | (_, CheckVerdict::Failed) => CheckVerdict::Failed,
        (CheckVerdict::Unknown, _) | (_, CheckVerdict::Unknown) => CheckVerdict::Unknown,
        (CheckVerdict::Good, CheckVerdict::Good) => CheckVerdict::Good,
    }
}

fn clock(skew: Option<SignedDuration>) -> Check {
    let name = "totp_clock";
    let Some(skew) = skew else { return unknown(name, "the broker does not say what time it is, or was not reached") };
    let tenths = skew.as_millis() / 100;
    let side = if tenths < 0 { "behind" } else { "ahead of" };
    let off = format!("the broker's clock is {}.{} s {side} this host's", tenths.abs() / 10, tenths.abs() % 10);
    if skew.abs() < CLOCK {
        check(name, true, off)
    } else {
        check(name, false, format!("{off}: timedatectl set-ntp true; otherwise the broker refuses logins"))
    }
}

/// Are all checks as they should be?
pub fn all_ok(checks: &[Check]) -> bool {
    !checks.is_empty() && checks.iter().all(Check::ok)
}

#[cfg(test)]
mod tests;
