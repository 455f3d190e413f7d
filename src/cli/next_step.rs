//! What an account still lacks, in the order in which it is done: nothing is registered for a week that cannot leave.

use serde_json::Value;

use super::table::{list, maybe, text};

/// The steps that are left until the account can trade, for standard error; nothing where none is known.
pub(super) fn advice(account: &Value) -> Option<String> {
    let steps = steps(account);
    if steps.is_empty() {
        return None;
    }
    let lines = (1..).zip(&steps).map(|(number, step)| format!("\n  {number}. {step}"));
    Some(format!("Next:{}", lines.collect::<String>()))
}

fn steps(account: &Value) -> Vec<String> {
    let name = text(account, "/name");
    let mut steps = Vec::new();
    let (Some(primary), Some(secondary)) = (maybe(account, "/pair/primary"), maybe(account, "/pair/secondary")) else {
        return vec![format!("give it its pair of addresses: sixgate pair assign {name}")];
    };
    let gone: Vec<String> = list(account, "/legs")
        .iter()
        .filter(|leg| text(leg, "/reason") == "address_gone")
        .map(|leg| text(leg, "/address"))
        .collect();
    if !gone.is_empty() {
        let commands = gone.iter().map(|address| format!("ip -6 route add local {address}/128 dev lo"));
        steps.push(format!(
            "let this host have {}, as root: {} (or their whole prefix, as in the README)",
            if gone.len() == 2 { "both addresses".to_owned() } else { gone.concat() },
            commands.collect::<Vec<_>>().join(" && ")
        ));
    }
    match (text(account, "/token/state").as_str(), text(account, "/platform").as_str()) {
        ("live" | "refreshing", _) => {}
        (_, "DHAN_V2_AT_IPV6") => steps.push(format!("let it log in, and see that it did: sixgate token show {name}")),
        (_, _) => steps.push(format!("give it a token of web.dhan.co: sixgate token set {name} --ask")),
    }
    steps.push(format!("check that both addresses reach the broker: sixgate validate {name}"));
    steps.push(format!(
        "only then register both with the broker ({primary} as primary, {secondary} as secondary), which fixes them for \
         seven days: sixgate register {name}"
    ));
    steps
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::advice;

    /// An address that is registered before it works is there for a week.
    #[test]
    fn registering_comes_last() {
        let account = |reason: Option<&str>, token: &str, platform: &str| {
            json!({ "name": "alpha", "platform": platform, "pair": { "primary": "2001:db8:a1::1", "secondary": "2001:db8:a2::1" },
                "legs": [{ "address": "2001:db8:a1::1", "reason": reason }, { "address": "2001:db8:a2::1", "reason": null }],
                "token": { "state": token } })
        };
        let steps = advice(&account(Some("address_gone"), "absent", "DHAN_V2_IPV6")).unwrap();
        let at = |word: &str| steps.find(word).unwrap_or_else(|| panic!("no {word}: {steps}"));
        let order = ["ip -6 route add local 2001:db8:a1::1/128", "token set alpha", "validate alpha", "register alpha"];
        assert!(order.map(at).is_sorted(), "{steps}");
        assert!(!steps.contains("local 2001:db8:a2::1"), "{steps}");
        let steps = advice(&account(None, "live", "DHAN_V2_AT_IPV6")).unwrap();
        assert!(!steps.contains("ip -6") && !steps.contains("token"), "{steps}");
        let steps = advice(&json!({ "name": "alpha", "pair": null })).unwrap();
        assert!(steps.contains("pair assign alpha") && !steps.contains("register"), "{steps}");
    }
}
