//! Static addresses: what is registered, what is seen, and the week between changes.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
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

/// How `getIP` answers. Documents and clients do not agree, and no form is more likely
/// than the first, which two parties measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressForm {
    /// Four documented fields and the three that the documents leave out; an error inside
    /// an array where nothing is registered.
    #[default]
    Full,
    /// The four documented fields.
    Documented,
    /// `ip` and `ipFlag` of the slot that matches, else of the first that is taken, as
    /// one client in production reads them.
    Single,
    /// As `Full`, but an error as an object where nothing is registered. `[C]`
    ErrorWhenEmpty,
    /// As `Full`, and where nothing is registered an object that says so. `[C]`
    SaysNotConfigured,
    /// As `Full`, but without the address that it sees.
    Unseen,
    /// As `Full`, but this is the address that it says to see, and judges by.
    Sees(IpAddr),
    /// The error inside an array, whatever is registered.
    ErrorArray,
}

/// `GET /ip/getIP`, in the form that is set.
pub(super) fn get(world: &World, call: &Call<'_>) -> Answer {
    let ledger = call.ledger(world)?;
    let peer = if let AddressForm::Sees(address) = world.address_form { address } else { call.peer };
    let address = |slot: &Option<Slot>| slot.as_ref().map_or_else(|| "NA".to_owned(), |slot| slot.address.to_string());
    let date = |slot: &Option<Slot>| slot.as_ref().map(|slot| clock::date(slot.locked_until));
    let is = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.address == peer);
    let empty = ledger.primary.is_none() && ledger.secondary.is_none();
    let status = if empty {
        "NOT_CONFIGURED"
    } else if is(&ledger.primary) {
        "PRIMARY_MATCH"
    } else if is(&ledger.secondary) {
        "SECONDARY_MATCH"
    } else {
        "MISMATCH"
    };
    let documented = json!({
        "modifyDateSecondary": date(&ledger.secondary),
        "secondaryIP": address(&ledger.secondary),
        "modifyDatePrimary": date(&ledger.primary),
        "primaryIP": address(&ledger.primary),
    });
    let mut seen = json!({
        "detectedIP": peer.to_string(),
        "ipMatchStatus": status,
        "ordersAllowed": ledger.registered(peer),
    });
    if let (AddressForm::Unseen, Some(seen)) = (world.address_form, seen.as_object_mut()) {
        seen.remove("detectedIP");
    }
    Ok(match world.address_form {
        AddressForm::ErrorWhenEmpty if empty => outcome("No IP is configured", "ERROR"),
        AddressForm::ErrorArray => error_array(),
        AddressForm::Full if empty => error_array(),
        AddressForm::Full
        | AddressForm::ErrorWhenEmpty
        | AddressForm::SaysNotConfigured
        | AddressForm::Unseen
        | AddressForm::Sees(_) => Reply::ok(&merged(documented, &seen)),
        AddressForm::Documented => Reply::ok(&documented),
        AddressForm::Single => {
            let second = is(&ledger.secondary) || ledger.primary.is_none();
            let slot = if second { &ledger.secondary } else { &ledger.primary };
            let matched = if is(slot) { "MATCH" } else { "MISMATCH" };
            let single = json!({
                "ip": address(slot),
                "ipFlag": if second { "SECONDARY" } else { "PRIMARY" },
                "modifyDatePrimary": date(&ledger.primary).unwrap_or_default(),
                "modifyDateSecondary": date(&ledger.secondary).unwrap_or_default(),
            });
            Reply::ok(&merged(merged(single, &seen), &json!({ "ipMatchStatus": matched })))
        }
    })
}

fn merged(mut one: serde_json::Value, other: &serde_json::Value) -> serde_json::Value {
    if let (Some(one), Some(other)) = (one.as_object_mut(), other.as_object()) {
        one.extend(other.clone());
    }
    one
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

/// 200 and an error inside an array, as it was measured.
fn error_array() -> Reply {
    Reply::ok(&json!([{"message": "Something went wrong", "status": "ERROR"}]))
}

fn outcome(message: &str, status: &str) -> Reply {
    Reply::ok(&json!({"message": message, "status": status}))
}
