//! Static addresses: what is registered, what is seen, and the week between changes.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::api::Call;
use super::clock;
use super::reply::{self, Answer, Reply};
use super::world::World;

/// How long a registered address may not change.
const LOCK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A registered address.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) address: IpAddr,
    pub(super) locked_until: Timestamp,
}

impl Slot {
    /// Registered now, and so locked for a week.
    pub(super) fn taken(address: IpAddr, now: Timestamp) -> Self {
        Self { address, locked_until: now.checked_add(LOCK).unwrap_or(now) }
    }
}

/// `GET /ip/getIP`, with the three fields that the documents leave out.
pub(super) fn get(world: &World, call: &Call<'_>) -> Answer {
    let ledger = call.ledger(world)?;
    let address = |slot: &Option<Slot>| slot.as_ref().map_or_else(|| "NA".to_owned(), |slot| slot.address.to_string());
    let date = |slot: &Option<Slot>| slot.as_ref().map(|slot| clock::date(slot.locked_until));
    let is = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.address == call.peer);
    let status = if ledger.primary.is_none() && ledger.secondary.is_none() {
        "NOT_CONFIGURED"
    } else if is(&ledger.primary) {
        "PRIMARY_MATCH"
    } else if is(&ledger.secondary) {
        "SECONDARY_MATCH"
    } else {
        "MISMATCH"
    };
    Ok(Reply::ok(&json!({
        "modifyDateSecondary": date(&ledger.secondary),
        "secondaryIP": address(&ledger.secondary),
        "modifyDatePrimary": date(&ledger.primary),
        "primaryIP": address(&ledger.primary),
        "detectedIP": call.peer.to_string(),
        "ipMatchStatus": status,
        "ordersAllowed": ledger.registered(call.peer),
    })))
}

/// `POST /ip/setIP`: for an empty slot only. [C]
pub(super) fn set(world: &mut World, call: &Call<'_>) -> Answer {
    write(world, call, |slot, _| slot.is_none())
}

/// `PUT /ip/modifyIP`: once a week.
pub(super) fn modify(world: &mut World, call: &Call<'_>) -> Answer {
    write(world, call, |slot, now| slot.is_none_or(|slot| slot.locked_until <= now))
}

fn write(world: &mut World, call: &Call<'_>, may: fn(Option<&Slot>, Timestamp) -> bool) -> Answer {
    let fields = call.fields()?;
    let primary = fields.required_choice("ipFlag", &["PRIMARY", "SECONDARY"])? == "PRIMARY";
    let address: IpAddr = fields.required_text("ip")?.parse().map_err(|_| reply::bad_field())?;
    // [C]: that it refuses is documented ("unique"), its words are not known.
    if world.ledgers().any(|ledger| ledger.registered(address)) {
        return Ok(outcome("IP is already registered", "ERROR"));
    }
    let (ledger, _) = call.books(world)?;
    let slot = if primary { &mut ledger.primary } else { &mut ledger.secondary };
    if !may(slot.as_ref(), call.now) {
        return Ok(outcome("IP can be modified only after 7 days", "ERROR"));
    }
    *slot = Some(Slot::taken(address, call.now));
    Ok(outcome("IP saved successfully", "SUCCESS"))
}

fn outcome(message: &str, status: &str) -> Reply {
    Reply::ok(&json!({"message": message, "status": status}))
}
