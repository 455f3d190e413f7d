//! The checks of a validation in the console's words, and what to do about each.

use super::super::wire::CheckBody;

/// What a check is about.
pub(super) fn label(check: &str) -> &'static str {
    match check {
        "pair" => "Addresses",
        "line_primary" => "Way to Dhan from the primary address",
        "line_secondary" => "Way to Dhan from the secondary address",
        "hosts" => "Addresses of Dhan's hosts",
        "token" => "Token",
        "token_expiry" => "Token's end",
        "leg_primary" => "Primary address as Dhan sees it",
        "leg_secondary" => "Secondary address as Dhan sees it",
        "registration" => "Registration at Dhan",
        "orders_allowed" => "Orders from these addresses",
        "totp_clock" => "Clock",
        _ => "Another check",
    }
}

/// What to do when it is not as it should be. An address that nobody told about is none that was seen to be changed on
/// the way.
pub(super) fn todo(check: &str, result: &str) -> Option<&'static str> {
    Some(match check {
        "leg_primary" | "leg_secondary" if result != "failed" => {
            "Nothing is known to be wrong; validate again once it is logged in and registered."
        }
        "pair" => "Give the account two addresses: Auto Assign IP.",
        "line_primary" | "line_secondary" => {
            "Look at This machine: it says what is missing for the address, and the command that mends it."
        }
        "hosts" => "Look at This machine: it says which of Dhan's hosts has no address, and what to write where.",
        "token" => "See Login: it says why there is none, and the ways on.",
        "token_expiry" => "Give it a new token before the market opens, or make it automatic.",
        "leg_primary" | "leg_secondary" => {
            "Something between this machine and Dhan changes the address: look at This machine."
        }
        "registration" => "Register the two addresses at Dhan.",
        "orders_allowed" => "Register the two addresses at Dhan; if they are, ask Dhan.",
        "totp_clock" => "Set the clock: timedatectl set-ntp true.",
        _ => return None,
    })
}

/// What was found, without the command that a person at a terminal would type, and without what the page says elsewhere:
/// why there is no token stands under Login, and what is wrong with an address under This machine.
pub(super) fn found(detail: &str) -> &str {
    const NO_TOKEN: &str = "there is no live token";
    let detail =
        detail.find(&format!("{NO_TOKEN} (")).map_or(detail, |at| detail.get(..at + NO_TOKEN.len()).unwrap_or(detail));
    [". Why it matters: ", " What to do: ", ": sixgate ", " (sixgate "]
        .iter()
        .fold(detail, |text, end| text.split_once(end).map_or(text, |(found, _)| found))
}

/// Is it no failure but what comes next? An account that is logged in and not registered yet has done nothing wrong.
pub(super) fn is_next(check: &CheckBody, all: &[CheckBody]) -> bool {
    let is = |name: &str, result: &str| all.iter().any(|check| check.name == name && check.result == result);
    let unregistered = is("token", "ok") && !is("registration", "ok");
    let follows = matches!(check.name, "leg_primary" | "leg_secondary") && check.result == "unknown";
    unregistered && (follows || matches!(check.name, "registration" | "orders_allowed"))
}

/// Could it only not be asked, for want of a token? Then there is nothing to do about it but what the token wants.
pub(super) fn waits_for_login(check: &CheckBody, all: &[CheckBody]) -> bool {
    let asks =
        matches!(check.name, "token_expiry" | "leg_primary" | "leg_secondary" | "registration" | "orders_allowed");
    asks && check.result == "unknown" && all.iter().any(|check| check.name == "token" && check.result == "failed")
}

/// What was found, in short where it only follows from what comes next.
pub(super) fn told<'c>(check: &'c CheckBody, all: &[CheckBody]) -> &'c str {
    match check.name {
        _ if waits_for_login(check, all) => "known once it is logged in.",
        "leg_primary" | "leg_secondary" | "orders_allowed" if is_next(check, all) && check.result == "unknown" => {
            "known once the two addresses are registered"
        }
        _ => found(&check.detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_has_no_command_in_it() {
        let detail = "primary: the broker has nothing registered; orders will be refused. What to do: sixgate register a1 (a \
                      change locks for 7 days)";
        assert_eq!(found(detail), "primary: the broker has nothing registered; orders will be refused.");
        assert_eq!(
            found("no addresses yet, so it cannot trade: sixgate pair assign a1"),
            "no addresses yet, so it cannot trade"
        );
        assert_eq!(found("register the address (sixgate register a1), or ask Dhan"), "register the address");
        assert_eq!(found("plain"), "plain");
        let machine =
            "primary: 2001:db8::1 is not an address of this host. Why it matters: answers. What to do: as root: ip";
        assert_eq!(found(machine), "primary: 2001:db8::1 is not an address of this host");
        assert_eq!(found("not asked: there is no live token (a login: {why})"), "not asked: there is no live token");
    }

    /// A new account is logged in and not registered: the next step, and nothing that failed.
    #[test]
    fn what_is_not_registered_yet_is_next() {
        let check = |name, result| CheckBody { name, ok: result == "ok", result, detail: String::new() };
        let all = [
            check("token", "ok"),
            check("registration", "failed"),
            check("orders_allowed", "failed"),
            check("pair", "ok"),
        ];
        assert!(is_next(&all[1], &all) && is_next(&all[2], &all) && !is_next(&all[3], &all));
        let silent = [check("token", "ok"), check("registration", "unknown"), check("leg_primary", "unknown")];
        assert!(is_next(&silent[2], &silent) && told(&silent[2], &silent).contains("once"));
        let changed = [check("token", "ok"), check("registration", "unknown"), check("leg_primary", "failed")];
        assert!(!is_next(&changed[2], &changed), "an address that is changed on the way is a failure");
        let dead = [check("token", "failed"), check("registration", "unknown"), check("registration", "failed")];
        assert!(!is_next(&dead[1], &dead));
        assert!(waits_for_login(&dead[1], &dead) && told(&dead[1], &dead).contains("logged in"));
        assert!(!waits_for_login(&dead[2], &dead) && !waits_for_login(&silent[1], &silent));
    }

    #[test]
    fn every_check_has_a_name_and_an_advice() {
        for check in super::super::super::validation_job::ORDER {
            assert!(label(check) != "Another check", "{check}");
            assert!(["failed", "unknown"].iter().all(|result| todo(check, result).is_some()), "{check}");
        }
    }
}
