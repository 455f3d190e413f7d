//! A look at what is typed in a form before it is sent: nothing is kept, and Dhan is not asked. With scripts the answer
//! is put under the field; without, the button opens it in another tab, and the form stays as it is.

use std::net::Ipv6Addr;

use axum::Extension;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use maud::{Markup, html};

use super::act::{forbidden, lacks};
use super::call::{call, part};
use super::context::Console;
use super::form::Form;
use super::page::{self, Part};
use super::visitor::Visitor;
use super::words;
use crate::broker::dhan::token::Claims;
use crate::domain::pasted::{self, Kind};
use crate::domain::secret::ExposeSecret;
use crate::domain::{OperatorRole, SourceAddr};
use crate::host::answers_for;

/// What the TOTP key gives now.
pub(super) async fn totp(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Form>,
) -> Response {
    let body = form.object(&["totp_secret"]);
    let reply = call(&console.api, &visitor.operator, Method::POST, "/v1/totp/preview", &body).await;
    let content = match reply {
        Ok(reply) => {
            let code = reply.get("code").and_then(serde_json::Value::as_str).unwrap_or_default();
            let left = reply.get("seconds_left").and_then(serde_json::Value::as_u64).unwrap_or_default();
            shown_code(code, left)
        }
        Err(refused) if refused.status == 403 => return forbidden(&refused.detail),
        Err(refused) => wrong(refused.of("totp_secret").unwrap_or(&refused.detail)),
    };
    answer(&console, &visitor, "totp-look", "The code of this TOTP key", &content)
}

fn shown_code(code: &str, left: u64) -> Markup {
    let (first, second) = code.split_at_checked(3).unwrap_or((code, ""));
    html! {
        p role="status" { "Your authenticator should show " strong.code { (first) " " (second) } " now"
            @if left < 10 { ", and another code in " (left) " s" } "." }
        p.row {
            button.second type="button" data-answer="yes" data-of="totp_secret" hidden { "It does" }
            button.second type="button" data-answer="no" data-of="totp_secret" hidden { "It does not: type it again" }
        }
        noscript { p { "Does it? Then close this tab and go on. If not, type the key again there." } }
    }
}

/// Whose a token is, and when it ends, as it says itself.
pub(super) async fn token(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Form>,
) -> Response {
    if let Some(refused) = lacks(&visitor, OperatorRole::Operator) {
        return refused;
    }
    let typed = pasted::read(Kind::AccessToken, form.text("access_token"));
    let content = match typed.and_then(|token| Claims::read(token.expose_secret())) {
        Err(why) => wrong(&why.to_string()),
        Ok(claims) => {
            let own = form.closed_up("client_id");
            let ends = jiff::Timestamp::from_second(claims.expires_at).ok();
            html! {
                p role="status" {
                    @if !own.is_empty() && own != claims.client_id.as_str() {
                        span.bad { (words::BAD) " This token is another account's: of client id " (claims.client_id) "." }
                    } @else { (words::GOOD) " Of client id " (claims.client_id) "." }
                    @match ends.map(|ends| (ends, words::left(ends))) {
                        Some((ends, Some(left))) => { " It ends at " (page::time(ends)) ", in " (left) "." }
                        Some((ends, None)) => { " " span.bad { (words::BAD) " It ended at " (page::time(ends)) ": make a new one." } }
                        None => { " It does not say when it ends." }
                    }
                }
            }
        }
    };
    answer(&console, &visitor, "token-look", "What this token says of itself", &content)
}

/// Whether two addresses can be an account's.
pub(super) async fn addresses(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Form>,
) -> Response {
    if let Some(refused) = lacks(&visitor, OperatorRole::Admin) {
        return refused;
    }
    let mut lines = Vec::new();
    for (name, label) in [("primary", "Primary"), ("secondary", "Secondary")] {
        lines.push((label, of_address(&console, &visitor, form.text(name)).await));
    }
    let same = form.given("primary").is_some() && form.text("primary") == form.text("secondary");
    let content = html! {
        div role="status" {
            @for (label, found) in &lines {
                p { strong { (label) } }
                ul.plain { @for (shape, text) in found { li { (shape) " " (text) } } }
            }
            @if same { p.bad { (words::BAD) " The two are the same; an account needs two." } }
        }
    };
    answer(&console, &visitor, "addresses-look", "These addresses", &content)
}

type Finding = (&'static str, String);

/// What is so of an address: a shape and a sentence each.
async fn of_address(console: &Console, visitor: &Visitor, text: &str) -> Vec<Finding> {
    if text.is_empty() {
        return vec![(words::NEXT, "Not typed yet.".to_owned())];
    }
    let address = match SourceAddr::parse(text) {
        Ok(address) => address,
        Err(why) => return vec![(words::BAD, format!("{text} is {why}."))],
    };
    let mut found = vec![match unlike_global(address.ip()) {
        None => (words::GOOD, "A global address.".to_owned()),
        Some(kind) => (words::BAD, format!("{kind}: Dhan never sees it. Only the built-in broker does.")),
    }];
    found.push(match tokio::task::spawn_blocking(move || answers_for(address.ip())).await.ok().flatten() {
        Some(true) => (words::GOOD, "This machine answers for it.".to_owned()),
        Some(false) => {
            let text = format!(
                "Nothing on this machine answers for it yet. As root: ip -6 route add local {address}/128 dev lo"
            );
            (words::BAD, text)
        }
        None => (words::NEXT, "Whether this machine answers for it could not be found out.".to_owned()),
    });
    let holds = |net: ipnet::Ipv6Net| net.contains(&address.ip());
    let pools = console.admin.accounts.addressing().pools();
    if let Some(pool) = pools.iter().find(|pool| holds(pool.prefixes.primary) || holds(pool.prefixes.secondary)) {
        found.push((
            words::NEXT,
            format!("It is in the pool {}, which does not give it to anybody else then.", pool.name),
        ));
    }
    let path = format!("/v1/addresses/{}", part(&address.to_string()));
    found.push(match call(&console.api, &visitor.operator, Method::GET, &path, &serde_json::Value::Null).await {
        Ok(holder) => {
            let text = |name: &str| holder.get(name).and_then(serde_json::Value::as_str);
            let account = text("account").unwrap_or_default();
            match text("retired_at") {
                None => (words::BAD, format!("The account {account} has it.")),
                Some(_) => (words::BAD, format!("The account {account} had it, and Dhan knows it as that customer's.")),
            }
        }
        Err(refused) if refused.status == 404 => (words::GOOD, "No account has it or had it.".to_owned()),
        Err(refused) => (words::NEXT, refused.detail),
    });
    found
}

/// What kind of address it is, if it is none of the global ones (RFC 4291, RFC 3849, RFC 9637, RFC 3056, RFC 4193).
fn unlike_global(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0x2001, 0x0db8, ..] => Some("An address for documentation"),
        [0x3fff, second, ..] if second < 0x1000 => Some("An address for documentation"),
        [0x2002, ..] => Some("A 6to4 address"),
        [first, ..] if first & 0xfe00 == 0xfc00 => Some("A local address (fc00::/7)"),
        [first, ..] if first & 0xe000 == 0x2000 => None,
        _ => Some("No global address"),
    }
}

fn wrong(why: &str) -> Markup {
    html! { p.error role="status" { (words::BAD) " " (why) } }
}

/// The page around an answer. A script takes the part with the id out of it.
fn answer(console: &Console, visitor: &Visitor, id: &str, title: &str, content: &Markup) -> Response {
    let content = html! { h1 { (title) } div id=(id) { (content) } };
    page::page(console, visitor, Part::Accounts, title, &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_the_world_can_answer_are_global() {
        for (text, global) in [
            ("2400:6180::1", true),
            ("2a01:4f8::1", true),
            ("2001:db8::1", false),
            ("3fff:0fff::1", false),
            ("3fff:1000::1", true),
            ("2002:c000:201::1", false),
            ("fd00::1", false),
            ("64:ff9b::1", false),
            ("::1", false),
        ] {
            assert_eq!(unlike_global(text.parse().unwrap()).is_none(), global, "{text}");
        }
    }
}
