//! What to do, in the words of whoever holds commands. The gateway's texts name calls of its API, because its callers
//! hold no commands; here each call becomes the command that makes it.

use std::borrow::Cow;

/// Calls and their commands. `{}` stands for a name in the path, on both sides. The longer ones first.
const COMMANDS: &[(&str, &str)] = &[
    ("POST /v1/accounts/{}/token/refresh", "sixgate token refresh {}"),
    ("POST /v1/accounts/{}/token/consent", "sixgate token consent {}"),
    ("PUT /v1/accounts/{}/registration", "sixgate register {}"),
    ("GET /v1/accounts/{}/registration", "sixgate register {} --show"),
    ("POST /v1/accounts/{}/validate", "sixgate validate {}"),
    ("POST /v1/accounts/{}/pair", "sixgate pair assign {}"),
    ("DELETE /v1/accounts/{}/pair", "sixgate pair retire {}"),
    ("PUT /v1/accounts/{}/token", "sixgate token set {} --ask"),
    ("POST /v1/accounts/{}/keys", "sixgate key create {}"),
    ("PUT /v1/accounts/{}/halt", "sixgate halt {}"),
    ("GET /v1/accounts/{}/limits", "sixgate account limits {}"),
    ("PUT /v1/accounts/{}/leg", "sixgate account leg {}"),
    ("PATCH /v1/accounts/{}", "sixgate account change {} --ask"),
    ("DELETE /v1/accounts/{}", "sixgate account delete {}"),
    ("GET /v1/accounts/{}", "sixgate account show {}"),
    ("POST /v1/accounts", "sixgate account create"),
    ("GET /v1/accounts", "sixgate account list"),
    ("POST /v1/pools", "sixgate pool create"),
    ("DELETE /v1/pools/{}", "sixgate pool delete {}"),
    ("GET /v1/pools", "sixgate pool list"),
    ("POST /v1/validate", "sixgate validate --all"),
    ("POST /v1/reload", "sixgate reload"),
    ("GET /v1/host", "sixgate status"),
    ("POST /v1/pools/{}/reservations", "sixgate pair reserve --pool {}"),
    ("POST /v1/totp/preview", "sixgate totp preview"),
    ("POST /v1/orders/{}/settled", "sixgate order settle {}"),
    ("GET /v1/orders/unsettled", "sixgate order unsettled"),
    ("GET /v1/orders", "sixgate journal list"),
];

/// The text with commands in place of calls.
pub(super) fn commands(text: &str) -> Cow<'_, str> {
    if !text.contains(" /v1/") {
        return Cow::Borrowed(text);
    }
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    'text: while !rest.is_empty() {
        for (call, command) in COMMANDS {
            if let Some((name, length)) = matched(rest, call) {
                done.push_str(&command.replace("{}", name));
                rest = rest.get(length..).unwrap_or_default();
                continue 'text;
            }
        }
        let mut characters = rest.chars();
        done.extend(characters.next());
        rest = characters.as_str();
    }
    Cow::Owned(done)
}

/// Does the text begin with this call? Then the name in its path, and how long it is.
fn matched<'t>(text: &'t str, call: &str) -> Option<(&'t str, usize)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '{' | '}');
    let (before, after) = call.split_once("{}").map_or((call, None), |(before, after)| (before, Some(after)));
    let rest = text.strip_prefix(before)?;
    let (name, rest) = match after {
        None => ("", rest),
        Some(after) => {
            let name = rest.get(..rest.find(|c| !is_name(c)).unwrap_or(rest.len()))?.trim_end_matches('.');
            let rest = rest.get(name.len()..)?.strip_prefix(after)?;
            (name, rest)
        }
    };
    let is_whole = !rest.starts_with('/') && (after.is_some() || !rest.starts_with(is_name));
    (is_whole && (after.is_none() || !name.is_empty())).then(|| (name, text.len() - rest.len()))
}

#[cfg(test)]
mod tests {
    use super::commands;

    /// Who stands at a shell must not be sent to an API.
    #[test]
    fn calls_become_commands() {
        for (text, told) in [
            ("assign one by POST /v1/accounts/alpha/pair: logins", "assign one by sixgate pair assign alpha: logins"),
            ("give it by PUT /v1/accounts/a.b-c/token.", "give it by sixgate token set a.b-c --ask."),
            ("(POST /v1/accounts/a/token/consent) and", "(sixgate token consent a) and"),
            ("make it by POST /v1/accounts", "make it by sixgate account create"),
            ("POST /v1/pools, or PATCH /v1/accounts/x", "sixgate pool create, or sixgate account change x --ask"),
            ("GET /v1/accounts/x/unknown stays", "GET /v1/accounts/x/unknown stays"),
            ("settle it by POST /v1/orders/0190-7e54/settled", "settle it by sixgate order settle 0190-7e54"),
            ("GET /v1/orders/unsettled names it", "sixgate order unsettled names it"),
            ("no call at all €", "no call at all €"),
        ] {
            assert_eq!(commands(text), told);
        }
    }

    /// A call that somebody adds to a text of the gateway gets its command.
    #[test]
    fn every_call_in_a_text_of_the_gateway_has_a_command() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut folders, mut texts) = (vec![root], 0);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let own = path.ends_with("cli/advice.rs");
                let code = text.split("#[cfg(test)]").next().unwrap();
                for line in code.lines().filter(|line| !own && !line.trim_start().starts_with("//")) {
                    for method in ["POST", "PUT", "PATCH", "DELETE"] {
                        let Some(at) = line.find(&format!("{method} /v1/")) else { continue };
                        let said = line[at..].replace("{0}", "x").replace("{{name}}", "x").replace("{name}", "x");
                        assert!(!commands(&said).starts_with(method), "{}: {line}", path.display());
                        texts += 1;
                    }
                }
            }
        }
        assert!(texts > 5, "{texts} texts");
    }
}
