//! Why an account cannot trade, from what the API shows of it. What is not known is told as such, and not as well.

use jiff::Timestamp;
use serde_json::Value;

use crate::tokens::lifecycle::ANOTHER_LOGS_IN;

use super::table::{distance, ist_of, list, maybe, text};

/// Everything that keeps the account from placing orders, with what to do.
pub(super) fn of(account: &Value, now: Timestamp) -> Vec<String> {
    let name = text(account, "/name");
    let mut why = Vec::new();
    if super::table::is(account, "/halted") {
        why.push(format!("halted{}: sixgate halt {name} --off", reason(account)));
    }
    if maybe(account, "/pair/primary").is_none() {
        why.push(format!("no pair of addresses: sixgate pair assign {name}"));
    }
    let legs = list(account, "/legs");
    let pinned = maybe(account, "/pin");
    // What is being tried again is used where there is no other, and orders by it are how it proves itself.
    let carries = |leg: &&Value| matches!(text(leg, "/state").as_str(), "admits" | "probing");
    let usable = legs.iter().filter(|leg| pinned.as_ref().is_none_or(|pin| *pin == text(leg, "/role")));
    if !legs.is_empty() && !usable.clone().any(|leg| carries(&leg)) {
        let each = usable.map(|leg| format!("{} {}", text(leg, "/role"), leg_reason(leg)));
        let each = each.collect::<Vec<_>>().join(", ");
        why.push(match pinned {
            Some(pin) => format!(
                "pinned to its {pin}, which is out of use ({each}); or use the other: sixgate account leg {name} auto"
            ),
            None => format!("no leg admits ({each})"),
        });
    }
    let token = account.pointer("/token").unwrap_or(&Value::Null);
    if !matches!(text(token, "/state").as_str(), "live" | "refreshing") {
        why.push(format!("token {}", token_state(token, now)));
    }
    why
}

/// Orders of today that did not come through this gateway, with what to do.
pub(super) fn elsewhere(account: &Value) -> Option<String> {
    let found = account.pointer("/elsewhere").filter(|found| !found.is_null())?;
    Some(format!("{}; {}", text(found, "/summary"), text(found, "/action")))
}

/// What else logs in or places orders for it, with what to do; `None` where nothing is known.
pub(super) fn not_alone(account: &Value) -> Option<String> {
    let rival = || {
        let error = account.pointer("/token/last_error").filter(|error| text(error, "/code") == ANOTHER_LOGS_IN)?;
        Some(format!("{}; {}", text(error, "/summary"), text(error, "/action")))
    };
    elsewhere(account).or_else(rival)
}

/// ` since ... (reason)`.
pub(super) fn reason(account: &Value) -> String {
    let since = maybe(account, "/halted_since").map(|since| format!(" since {}", ist_of(&since))).unwrap_or_default();
    let reason = maybe(account, "/halt_reason").filter(|reason| !reason.is_empty());
    format!("{since}{}", reason.map(|reason| format!(" ({reason})")).unwrap_or_default())
}

/// A leg's state, why, and what to do about it.
pub(super) fn leg_reason(leg: &Value) -> String {
    let state = text(leg, "/state");
    let Some(reason) = maybe(leg, "/reason") else { return state };
    format!("{state} ({reason}): {}", what_to_do(&reason, &text(leg, "/address")))
}

/// What a leg's reason asks for.
fn what_to_do(reason: &str, address: &str) -> String {
    match reason {
        "address_gone" => format!("{address} is not an address of this host; as root: ip -6 route add local {address}/128 dev lo"),
        "bind_failed" => format!("{address} cannot be bound; see sixgate status for what this host lacks"),
        "connect_failed" | "connect_timed_out" => {
            "no connection to the broker from it; see sixgate status, and whether the provider routes it".to_owned()
        }
        "tls_failed" | "tls_timed_out" | "http_failed" => {
            "a connection was made, and what answers is not the broker; look at egress.resolve and at what stands between"
                .to_owned()
        }
        "wrong_source" => "the kernel took another address; report it".to_owned(),
        "no_reply" => "reads go by the other leg until it answers; nothing to do".to_owned(),
        "source_refused" | "orders_not_allowed" => {
            "the broker takes no orders from it; is it registered? sixgate register NAME --show".to_owned()
        }
        "seen_as_another" => "the broker sees another address: a NAT or masquerade rule is in the way".to_owned(),
        _ => "see the log".to_owned(),
    }
}

/// Why the next login waits, in words.
pub(super) fn waits(token: &Value) -> Option<String> {
    let word = maybe(token, "/waiting_for")?;
    Some(match word.as_str() {
        "cooldown" => "Dhan allows one login in two minutes".to_owned(),
        "backoff" => "the last login failed".to_owned(),
        "next_code" => "the next TOTP code is waited for".to_owned(),
        "check" => "Dhan is asked whether the token lives".to_owned(),
        _ => word,
    })
}

/// A token's state in words: until when it waits and why, and how long it lives, if it lives.
pub(super) fn token_state(token: &Value, now: Timestamp) -> String {
    let state = text(token, "/state");
    let mut told = state.clone();
    if let Some(until) = maybe(token, "/waiting_until") {
        let left = distance(&until, now).map(|left| format!(", {left}")).unwrap_or_default();
        let why = waits(token).map(|why| format!(" ({why})")).unwrap_or_default();
        told.push_str(&format!(" until {}{left}{why}", ist_of(&until)));
    }
    if let Some(summary) = maybe(token, "/last_error/summary") {
        told.push_str(&format!(": {summary}; {}", text(token, "/last_error/action")));
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::of;

    /// Whoever finds that an account stands still has to find out why from one line.
    #[test]
    fn each_reason_is_told_with_what_to_do() {
        let now = "2026-11-24T04:00:00Z".parse().unwrap();
        let leg = |role: &str, state: &str, reason: Option<&str>| json!({ "role": role, "address": "2001:db8::1", "state": state, "reason": reason });
        let well = json!({ "name": "a", "halted": false, "pair": { "primary": "2001:db8::1" }, "pin": null,
            "legs": [leg("primary", "admits", None), leg("secondary", "tripped", Some("address_gone"))], "token": { "state": "live" } });
        assert_eq!(of(&well, now), Vec::<String>::new());
        let mut pinned = well.clone();
        pinned["pin"] = json!("secondary");
        let told = of(&pinned, now);
        assert!(
            told[0].contains("ip -6 route add local 2001:db8::1/128") && told[0].contains("account leg a auto"),
            "{told:?}"
        );
        // It is how an address that is back proves itself: orders go by it.
        pinned["legs"][1]["state"] = json!("probing");
        assert_eq!(of(&pinned, now), Vec::<String>::new());
        let bad = json!({ "name": "a", "halted": true, "halt_reason": "wild", "halted_since": "2026-11-24T03:00:00.123456789Z",
            "pair": null, "legs": [], "token": { "state": "waiting", "waiting_until": "2026-11-24T04:02:10Z", "waiting_for": "cooldown",
            "last_error": { "summary": "refused", "action": "wait" } } });
        let told = of(&bad, now);
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[0], "halted since 2026-11-24 08:30 IST (wild): sixgate halt a --off");
        assert!(told[1].contains("pair assign a"), "{told:?}");
        assert_eq!(
            told[2],
            "token waiting until 2026-11-24 09:32 IST, 2 min left (Dhan allows one login in two minutes): refused; wait"
        );
    }
}
