//! The account's pair at the broker: what it holds, and putting the pair there.
//!
//! Invariants:
//! - An empty slot is filled; an occupied one is changed only if its address was named
//!   to be replaced, and not before the broker allows it. A typo here costs a week.
//! - What is not known to be empty counts as occupied. With one exception, or no new customer could
//!   register: an account without addresses gets an error that tells nothing. Then each slot is set, which the
//!   broker refuses where one is occupied, and none is changed.
//! - What happened to one slot is told whatever happened to the other, and what the
//!   broker holds afterwards is read and not assumed.
//!
//! Not here: the calls themselves (`login`).

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use super::seen_registration::SeenRegistration;
use crate::domain::{ClientId, Pair, Role, india, steady};
use crate::legs::Legs;
use crate::tokens::LiveToken;
use crate::tokens::client::{self, Answered, BrokerClient, Holds, Registered, Slot};

/// The account that is asked about.
#[derive(Clone, Debug)]
pub struct AccountSnapshot {
    /// The broker's id.
    pub client_id: ClientId,
    /// Its ways out, if it has a pair.
    pub legs: Option<Arc<Legs>>,
    /// Its live token, else why there is none.
    pub token: Result<Arc<LiveToken>, String>,
    /// It gets its next token by itself.
    pub automatic: bool,
    /// Where what the broker says of its addresses is kept.
    pub seen: Arc<SeenRegistration>,
}

/// Why the broker's registration could not be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum RegistrationError {
    #[error("the account has no pair; assign one first (POST /v1/accounts/{{name}}/pair)")]
    NoPair,
    #[error("there is no live token to ask the broker with: {0}")]
    NoToken(String),
    #[error("what the broker holds could not be read: {0}")]
    Broker(String),
    #[error("what the broker holds could not be read: {why}")]
    Unreported {
        /// One sentence for people.
        why: String,
        /// The broker's time.
        now: Timestamp,
    },
}

/// A slot as it is, beside what should be in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// The account's own address of that role.
    pub assigned: IpAddr,
    /// What the broker holds.
    pub registered: Slot,
}

impl SlotState {
    /// Is the account's own address registered?
    pub fn matches(&self) -> bool {
        self.registered.holds.is(self.assigned)
    }
}

/// The registration of an account's pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The slot `PRIMARY`.
    pub primary: SlotState,
    /// The slot `SECONDARY`.
    pub secondary: SlotState,
    /// From where the broker saw this call come.
    pub detected: Option<IpAddr>,
    /// Its word for how that compares.
    pub match_status: Option<String>,
    /// Does it take orders from there?
    pub orders_allowed: Option<bool>,
}

impl Registration {
    fn of(pair: Pair, registered: Registered) -> Self {
        let state = |role, registered| SlotState { assigned: pair.of(role).ip().into(), registered };
        Self {
            primary: state(Role::Primary, registered.primary),
            secondary: state(Role::Secondary, registered.secondary),
            detected: registered.detected,
            match_status: registered.match_status,
            orders_allowed: registered.orders_allowed,
        }
    }

    /// The slot of a role.
    pub const fn slot(&self, role: Role) -> &SlotState {
        match role {
            Role::Primary => &self.primary,
            Role::Secondary => &self.secondary,
        }
    }
}

/// What was done about a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotOutcome {
    /// It was empty and has the address now.
    Set,
    /// It had another address and has ours now.
    Modified,
    /// It had the address already.
    Unchanged,
    /// It was left alone: not told to, or not allowed yet.
    Refused,
    /// The broker refused, or its answer was lost.
    Failed,
}

impl SlotOutcome {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Modified => "modified",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// What happened to a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotChange {
    /// The slot that it is about.
    pub role: Role,
    /// What was done.
    pub action: SlotOutcome,
    /// One sentence for people.
    pub detail: String,
}

/// What is to be done about a slot.
#[derive(Debug, PartialEq, Eq)]
enum SlotPlan {
    Keep,
    Set,
    Modify { old: IpAddr },
    Refuse(String),
}

/// Read what the broker holds, beside the pair.
///
/// # Errors
/// [`RegistrationError`].
pub async fn read(client: &BrokerClient, subject: &AccountSnapshot) -> Result<Registration, RegistrationError> {
    Ok(fetch(client, subject).await?.0)
}

async fn fetch(
    client: &BrokerClient,
    subject: &AccountSnapshot,
) -> Result<(Registration, Timestamp), RegistrationError> {
    let (legs, token) = means(subject)?;
    let called = client.get_ip(&**legs, &subject.client_id, &token.secret()).await;
    let now = steady::now();
    let now = now.checked_add(called.skew.unwrap_or_default()).unwrap_or(now);
    let registered = match called.answered {
        Answered::Refused(refusal) if client::is_unreported(&refusal) => {
            return Err(RegistrationError::Unreported { why: refusal.trouble.summary.into_owned(), now });
        }
        answered @ (Answered::Good(_) | Answered::Refused(_) | Answered::Unknown(_) | Answered::NotSent(_)) => {
            answered.into_result().map_err(RegistrationError::Broker)?
        }
    };
    subject.seen.note(&registered);
    Ok((Registration::of(legs.pair(), registered), now))
}

fn means(subject: &AccountSnapshot) -> Result<(&Arc<Legs>, &Arc<LiveToken>), RegistrationError> {
    let legs = subject.legs.as_ref().ok_or(RegistrationError::NoPair)?;
    let token = subject.token.as_ref().map_err(|why| RegistrationError::NoToken(why.clone()))?;
    Ok((legs, token))
}

/// Put the pair there: into empty slots, and into those whose address is one of
/// `replace`. Tells what the broker holds afterwards. Not cancel-safe.
///
/// # Errors
/// [`RegistrationError`] when nothing was done.
pub async fn put(
    client: &BrokerClient,
    subject: &AccountSnapshot,
    replace: &[IpAddr],
) -> Result<(Registration, Vec<SlotChange>), RegistrationError> {
    let (legs, token) = means(subject)?;
    let (before, now, is_known) = match fetch(client, subject).await {
        Ok((before, now)) => (before, now, true),
        Err(RegistrationError::Unreported { now, .. }) => {
            (Registration::of(legs.pair(), Registered::default()), now, false)
        }
        Err(err) => return Err(err),
    };
    let today = india::local(now).date();
    let mut changes = Vec::with_capacity(2);
    for role in [Role::Primary, Role::Secondary] {
        if legs.ended().is_cancelled() {
            changes.push(change(
                role,
                SlotOutcome::Refused,
                "the account's pair was changed meanwhile; look again".to_owned(),
            ));
            continue;
        }
        let slot = before.slot(role);
        let address = legs.pair().of(role);
        let (id, secret) = (&subject.client_id, &token.secret());
        let plan = if is_known { plan(slot, replace, today) } else { SlotPlan::Set };
        changes.push(match plan {
            SlotPlan::Keep => change(role, SlotOutcome::Unchanged, format!("{} is registered already", slot.assigned)),
            SlotPlan::Refuse(why) => change(role, SlotOutcome::Refused, why),
            SlotPlan::Set => {
                let called = client.set_ip(legs, id, secret, role, address).await;
                slot_change(role, SlotOutcome::Set, called.answered, format!("{address} was registered"))
            }
            SlotPlan::Modify { old } => {
                let called = client.modify_ip(legs, id, secret, role, address).await;
                slot_change(
                    role,
                    SlotOutcome::Modified,
                    called.answered,
                    format!("{address} was registered in the place of {old}"),
                )
            }
        });
    }
    if !is_known {
        for change in changes.iter_mut().filter(|change| change.action != SlotOutcome::Refused) {
            change.detail.push_str("; the broker did not say what this slot held before");
        }
    }
    if changes.iter().all(|change| matches!(change.action, SlotOutcome::Unchanged | SlotOutcome::Refused)) {
        return Ok((before, changes));
    }
    match fetch(client, subject).await {
        Ok((after, _)) => {
            changes.iter_mut().for_each(|change| compare(change, before.slot(change.role), after.slot(change.role)));
            Ok((after, changes))
        }
        // What was done must be told all the same; what there was before is not what there is.
        Err(err) => {
            for change in &mut changes {
                change.detail.push_str(&format!("; {err}, so what is shown is from before"));
            }
            Ok((before, changes))
        }
    }
}

fn plan(slot: &SlotState, replace: &[IpAddr], today: Date) -> SlotPlan {
    let old = match &slot.registered.holds {
        Holds::Empty => return SlotPlan::Set,
        Holds::Address(_) if slot.matches() => return SlotPlan::Keep,
        Holds::Address(old) => *old,
        Holds::Strange(text) => {
            let why = "which is no address, so it is left alone; look at it on web.dhan.co";
            return SlotPlan::Refuse(format!("the broker holds \"{text}\", {why}"));
        }
        Holds::Unreported => {
            let why = "so it is left alone; look at it on web.dhan.co";
            return SlotPlan::Refuse(format!("the broker does not say what this slot holds, {why}"));
        }
    };
    if !replace.iter().any(|named| named.to_canonical() == old.to_canonical()) {
        return SlotPlan::Refuse(format!("{old} is registered; it is replaced only when it is named in replace"));
    }
    match slot.registered.change_allowed_from {
        Some(from) if from > today => {
            SlotPlan::Refuse(format!("{old} is registered, and the broker allows no change before {from}"))
        }
        Some(_) | None => SlotPlan::Modify { old },
    }
}

const fn change(role: Role, action: SlotOutcome, detail: String) -> SlotChange {
    SlotChange { role, action, detail }
}

fn slot_change(role: Role, action: SlotOutcome, answered: Answered<()>, good: String) -> SlotChange {
    match answered.into_result() {
        Ok(()) => change(role, action, good),
        Err(why) => change(role, SlotOutcome::Failed, why),
    }
}

/// What the broker holds now against what it said that it did.
fn compare(change: &mut SlotChange, before: &SlotState, after: &SlotState) {
    let holds = || after.registered.holds.text().unwrap_or_else(|| "nothing".to_owned());
    match (change.action, after.matches()) {
        (SlotOutcome::Set | SlotOutcome::Modified, false) if after.registered.holds == Holds::Unreported => {
            change.detail.push_str("; the broker does not say what this slot holds now");
        }
        (SlotOutcome::Set | SlotOutcome::Modified, false) => {
            change.detail.push_str(&format!("; drift: the broker said so, and shows {} all the same", holds()));
        }
        (SlotOutcome::Failed, true) => {
            change.action = match before.registered.holds {
                Holds::Empty => SlotOutcome::Set,
                // It may have been there all along.
                Holds::Unreported => SlotOutcome::Unchanged,
                Holds::Address(_) | Holds::Strange(_) => SlotOutcome::Modified,
            };
            change.detail.push_str("; the broker shows it registered all the same");
        }
        (SlotOutcome::Set | SlotOutcome::Modified | SlotOutcome::Unchanged, true)
        | (SlotOutcome::Failed | SlotOutcome::Unchanged, false) => {}
        (SlotOutcome::Refused, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(holds: Holds, from: Option<&str>) -> SlotState {
        let registered = Slot { holds, change_allowed_from: from.map(|day| day.parse().unwrap()) };
        SlotState { assigned: "2001:db8::1".parse().unwrap(), registered }
    }

    fn address(text: &str) -> Holds {
        Holds::Address(text.parse().unwrap())
    }

    /// An address that is changed by mistake cannot be changed back for a week.
    #[test]
    fn an_occupied_slot_is_changed_only_when_its_address_is_named_and_the_week_has_passed() {
        let today: Date = "2026-11-24".parse().unwrap();
        let plan = |holds, from, replace: &[&str]| {
            let replace: Vec<IpAddr> = replace.iter().map(|text| text.parse().unwrap()).collect();
            super::plan(&slot(holds, from), &replace, today)
        };
        let old = "2001:db8::bad";
        let modify = || SlotPlan::Modify { old: old.parse().unwrap() };
        assert_eq!(plan(Holds::Empty, None, &[]), SlotPlan::Set);
        assert_eq!(plan(address("2001:0DB8:0:0:0:0:0:1"), Some("2026-12-01"), &["2001:db8::1"]), SlotPlan::Keep);
        assert_eq!(plan(address(old), Some("2026-11-24"), &["2001:0db8:0::bad"]), modify());
        assert_eq!(plan(address(old), None, &["2001:db8::1", old]), modify(), "the broker refuses it if it is locked");
        for (holds, from, replace, says) in [
            (address(old), Some("2026-11-20"), &[][..], old),
            (address(old), Some("2026-11-20"), &["2001:db8::1"][..], "replace"),
            (address(old), Some("2026-11-25"), &[old][..], "2026-11-25"),
            (Holds::Unreported, None, &[old][..], "does not say"),
            (Holds::Strange("pending".into()), None, &[old][..], "pending"),
        ] {
            let plan = plan(holds, from, replace);
            assert!(
                matches!(&plan, SlotPlan::Refuse(why) if why.contains(says)),
                "{plan:?} where it should say {says}"
            );
        }
    }

    /// A registration that the broker forgot must not look like one that it has.
    #[test]
    fn what_the_broker_shows_afterwards_is_what_counts() {
        let (empty, ours) = (slot(Holds::Empty, None), slot(address("2001:db8::1"), None));
        let mut drifted = change(Role::Primary, SlotOutcome::Set, "set".into());
        compare(&mut drifted, &empty, &empty);
        assert!(drifted.action == SlotOutcome::Set && drifted.detail.contains("drift"), "{drifted:?}");
        let mut silent = change(Role::Primary, SlotOutcome::Set, "set".into());
        compare(&mut silent, &empty, &slot(Holds::Unreported, None));
        assert!(!silent.detail.contains("drift") && silent.detail.contains("does not say"), "{silent:?}");
        let mut lost = change(Role::Primary, SlotOutcome::Failed, "lost".into());
        compare(&mut lost, &empty, &ours);
        assert!(lost.action == SlotOutcome::Set && lost.detail.contains("all the same"), "{lost:?}");
        let mut refused = change(Role::Primary, SlotOutcome::Failed, "no".into());
        compare(&mut refused, &empty, &empty);
        assert_eq!(refused, change(Role::Primary, SlotOutcome::Failed, "no".into()));
    }
}
