//! The console's forms, each with every secret in it, as who mistakes one field for another types them.

use std::net::SocketAddr;

use super::{ADMIN, API_KEY, API_SECRET, PHONE, PIN, Story, TOTP, WRONG_PIN, WRONG_SECRET, WRONG_TOTP};
use crate::console::routes::routes;
use crate::console::visitor::encoded;
use crate::support::caller::{Caller, Reply, connect, request};
use crate::support::net::Ns;

/// A person's browser, all of whose replies are kept.
struct Tab<'s> {
    story: &'s mut Story,
    cookie: String,
    csrf: String,
}

impl<'s> Tab<'s> {
    /// Signed in with the admin token, typed.
    fn open(story: &'s mut Story) -> Self {
        let mut tab = Self { story, cookie: String::new(), csrf: String::new() };
        let token = std::fs::read_to_string(tab.story.world.dir.path().join("state/admin.token")).unwrap();
        let wrong = tab.send("POST", "/console/sign-in", &[("token", API_SECRET)]);
        assert_eq!(wrong.status, 401, "{wrong:?}");
        let reply = tab.send("POST", "/console/sign-in", &[("token", token.trim())]);
        assert_eq!(reply.status, 303, "{reply:?}");
        tab.cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
        let page = tab.send("GET", "/console", &[]);
        let html = String::from_utf8_lossy(&page.body).into_owned();
        let csrf = html.split("name=\"csrf\" value=\"").nth(1).expect("a form").split('"').next().unwrap();
        tab.csrf = csrf.to_owned();
        tab
    }

    fn send(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        let (origin, cookie, csrf) = (format!("http://{ADMIN}"), self.cookie.clone(), self.csrf.clone());
        let fields = [&[("csrf", csrf.as_str())], fields].concat();
        let body = if method == "POST" { encoded(&fields) } else { String::new() };
        let reply = self.story.world.net.in_ns(Ns::Gateway, || async move {
            let mut browser = Caller::http1(connect(ADMIN.parse::<SocketAddr>().unwrap()).await).await;
            let mut headers = vec![("sec-fetch-site", "same-origin")];
            if method == "POST" {
                headers.extend([("origin", origin.as_str()), ("content-type", "application/x-www-form-urlencoded")]);
            }
            if !cookie.is_empty() {
                headers.push(("cookie", &cookie));
            }
            let mut ask = request(method, path, ADMIN, &headers, None);
            *ask.body_mut() = body.into();
            browser.send(ask).await.unwrap()
        });
        self.story.keep(format!("console {method} {path}"), &reply);
        reply
    }
}

/// The path of a route, for the account of this story.
fn path_of(route: &str) -> String {
    let path = route.replace("/keys/{id}", "/keys/none").replace("/orders/{id}", "/orders/none");
    path.replace("/pools/{name}", "/pools/none").replace("{name}", "a2").replace("{address}", "2001:db8:a1::1")
}

/// Every form that the router knows, with every secret in its field and in that of another, well formed and not; then every
/// page that an account has, and what an operator reads of it.
pub(super) fn every_form(story: &mut Story) {
    let token = story.tokens.last().unwrap().clone();
    let mut tab = Tab::open(story);
    let right = [
        ("pin", PIN),
        ("totp_secret", TOTP),
        ("phone", PHONE),
        ("api_key", API_KEY),
        ("api_secret", API_SECRET),
        ("access_token", &*token),
        ("token_id", API_SECRET),
    ];
    let mixed = [
        ("pin", TOTP),
        ("totp_secret", API_SECRET),
        ("phone", PIN),
        ("api_key", &*token),
        ("api_secret", WRONG_TOTP),
        ("access_token", PIN),
        ("token_id", WRONG_SECRET),
    ];
    let broken = [
        ("pin", format!("{WRONG_PIN} <b>")),
        ("totp_secret", format!("{TOTP}\u{1}")),
        ("access_token", format!("\"{token}")),
    ];
    let broken = broken.each_ref().map(|(name, value)| (*name, value.as_str()));
    let own = [("platform", "DHAN_V2_AT_IPV6"), ("client_id", "1000000002"), ("addresses", "own"), ("do", "save")];
    let new = [("platform", "DHAN_V2_AT_IPV6"), ("name", "typed"), ("client_id", "1000000007"), ("do", "save")];
    let mut sent = 0;
    for (method, route) in routes() {
        if method != "POST" || route.contains("sign-") {
            continue;
        }
        let own = if route == "/console/create" { &new[..] } else { &own[..] };
        for secrets in [&broken[..], &mixed[..], &right[..]] {
            let reply = tab.send("POST", &path_of(route), &[own, secrets].concat());
            assert!(reply.status < 500, "{route}: {reply:?}");
            sent += 1;
        }
    }
    assert!(sent > 60, "{sent} forms were sent");
    for (method, route) in routes() {
        // A stream has no end, and a file is not made of what was typed.
        if method == "GET" && route != "/console/events" && !route.contains("/static/") {
            tab.send("GET", &path_of(route), &[]);
        }
    }
    tab.send("POST", "/console/sign-out", &[]);
    // A session that has ended: what was typed is shown, but for secrets.
    for secrets in [&mixed[..], &right[..]] {
        let reply = tab.send("POST", "/console/accounts/a2/edit", &[&own[..], secrets].concat());
        assert_eq!(reply.status, 401, "{reply:?}");
    }
}
