//! Every route of the console, for nobody and for each role. The list is the router's own: a route that is made and not
//! written down here fails, and so does a page that offers somebody what they would be refused.

use std::collections::BTreeSet;

use serde_json::json;

use super::person::Person;
use super::{Running, start};

/// The file that makes the router.
const ROUTER: &str = include_str!("../../src/admin/console/mod.rs");
/// Who comes: without a session, then by the token of each file.
const ROLES: [&str; 3] = ["viewer.token", "desk.token", "admin.token"];
/// Nobody gets anything but the way in.
const OUT: u16 = 401;

/// A method and a route, a path of it with the fields that it is sent, and what nobody, a viewer, an operator and an admin
/// get. What is sent changes nothing that a later row needs.
type Row = (&'static str, &'static str, &'static str, &'static str, [u16; 4]);

const ACCOUNT: &str = "/console/accounts/{name}";
const READ: [u16; 4] = [OUT, 200, 200, 200];
/// A page or a form of operators, and of admins.
const OPERATORS_PAGE: [u16; 4] = [OUT, 403, 200, 200];
const OPERATORS: [u16; 4] = [OUT, 403, 303, 303];
const ADMINS_PAGE: [u16; 4] = [OUT, 403, 403, 200];
const ADMINS: [u16; 4] = [OUT, 403, 403, 303];

const TABLE: &[Row] = &[
    ("GET", "/", "/", "", [200, 303, 303, 303]),
    ("GET", "/console", "/console", "", READ),
    ("GET", "/console/sign-in", "/console/sign-in", "", [200; 4]),
    ("GET", "/console/sessions", "/console/sessions", "", READ),
    ("GET", "/console/events", "/console/events", "", READ),
    ("GET", "/console/orders", "/console/orders", "", READ),
    ("GET", "/console/orders/{id}", "/console/orders/none", "", [OUT, 404, 404, 404]),
    ("POST", "/console/orders/{id}/ask", "/console/orders/none/ask", "", [OUT, 403, 404, 404]),
    ("POST", "/console/orders/{id}/settle", "/console/orders/none/settle", "note=x", [OUT, 403, 404, 404]),
    ("GET", "/console/changes", "/console/changes", "", READ),
    ("GET", "/console/help", "/console/help", "", READ),
    // What the API's document says is no secret on a listener that nobody reaches from elsewhere.
    ("GET", "/docs", "/docs", "", [200; 4]),
    ("GET", "/console/static/{version}/{file}", "STYLE", "", [200; 4]),
    ("GET", "/console/halt-all", "/console/halt-all", "", OPERATORS_PAGE),
    ("POST", "/console/halt-all", "/console/halt-all", "halted=false", OPERATORS),
    ("GET", "/console/first-run", "/console/first-run", "", READ),
    ("POST", "/console/first-run/skip", "/console/first-run/skip", "step=Account&skip=false", OPERATORS),
    ("POST", "/console/first-run/halves", "/console/first-run/halves", "prefix=none", ADMINS),
    ("GET", "/console/pools", "/console/pools", "", READ),
    ("POST", "/console/pools", "/console/pools", "name=other", [OUT, 403, 403, 422]),
    ("GET", "/console/pools/{name}", "/console/pools/main", "", READ),
    ("POST", "/console/pools/{name}/delete", "/console/pools/none/delete", "", ADMINS),
    ("GET", "/console/addresses/{address}/purge", "/console/addresses/2001:db8:a1::1/purge", "", ADMINS_PAGE),
    (
        "POST",
        "/console/addresses/{address}/purge",
        "/console/addresses/2001:db8:a1::1/purge",
        "address=x",
        [OUT, 403, 403, 422],
    ),
    ("GET", "/console/machine", "/console/machine", "", READ),
    ("POST", "/console/machine/check", "/console/machine/check", "", OPERATORS),
    ("GET", "/console/plots", "/console/plots", "", READ),
    ("GET", "/console/evidence", "/console/evidence", "", READ),
    ("POST", "/console/evidence/check", "/console/evidence/check", "", OPERATORS),
    ("GET", "/console/evidence/download", "/console/evidence/download?account=alpha", "", OPERATORS_PAGE),
    ("GET", "/console/create", "/console/create", "", ADMINS_PAGE),
    ("POST", "/console/create", "/console/create", "name=alpha", [OUT, 403, 403, 422]),
    ("POST", "/console/look/totp", "/console/look/totp", "totp_secret=JBSWY3DPEHPK3PXP", ADMINS_PAGE),
    ("POST", "/console/look/token", "/console/look/token", "access_token=x", OPERATORS_PAGE),
    ("POST", "/console/look/addresses", "/console/look/addresses", "primary=x", ADMINS_PAGE),
    ("GET", "/console/validate-all", "/console/validate-all", "", READ),
    ("POST", "/console/validate-all", "/console/validate-all", "", OPERATORS),
    ("POST", "/console/validate-all/stop", "/console/validate-all/stop", "", OPERATORS),
    ("GET", "/console/validate-all.csv", "/console/validate-all.csv", "", READ),
    ("GET", ACCOUNT, "/console/accounts/alpha", "", READ),
    ("POST", "/console/accounts/{name}/assign", "/console/accounts/alpha/assign", "", ADMINS),
    ("POST", "/console/accounts/{name}/consent", "/console/accounts/alpha/consent", "", OPERATORS),
    ("POST", "/console/accounts/{name}/delete", "/console/accounts/alpha/delete", "delete-name=beta", ADMINS),
    ("GET", "/console/accounts/{name}/edit", "/console/accounts/alpha/edit", "", ADMINS_PAGE),
    ("POST", "/console/accounts/{name}/edit", "/console/accounts/alpha/edit", "do=save&nickname=Ann", ADMINS),
    ("POST", "/console/accounts/{name}/halt", "/console/accounts/alpha/halt", "halted=false", OPERATORS),
    ("GET", "/console/accounts/{name}/keys", "/console/accounts/alpha/keys", "", READ),
    ("POST", "/console/accounts/{name}/keys", "/console/accounts/alpha/keys", "nonce=one", ADMINS_PAGE),
    ("POST", "/console/accounts/{name}/keys/{id}/delete", "/console/accounts/alpha/keys/none/delete", "", ADMINS),
    ("POST", "/console/accounts/{name}/leg", "/console/accounts/alpha/leg", "pin=auto", OPERATORS),
    ("POST", "/console/accounts/{name}/log-in", "/console/accounts/alpha/log-in", "", OPERATORS),
    ("POST", "/console/accounts/{name}/platform", "/console/accounts/alpha/platform", "platform=DHAN_V2_IPV6", ADMINS),
    ("GET", "/console/accounts/{name}/progress", "/console/accounts/alpha/progress", "", READ),
    ("GET", "/console/accounts/{name}/registration", "/console/accounts/alpha/registration", "", READ),
    ("POST", "/console/accounts/{name}/registration", "/console/accounts/alpha/registration", "", ADMINS),
    ("POST", "/console/accounts/{name}/registration/ask", "/console/accounts/alpha/registration/ask", "", OPERATORS),
    ("POST", "/console/accounts/{name}/retire", "/console/accounts/alpha/retire", "retire-name=beta", ADMINS),
    ("GET", "/console/accounts/{name}/token", "/console/accounts/alpha/token", "", OPERATORS_PAGE),
    ("POST", "/console/accounts/{name}/token", "/console/accounts/alpha/token", "access_token=x", [OUT, 403, 422, 422]),
    ("POST", "/console/accounts/{name}/validate", "/console/accounts/alpha/validate", "", OPERATORS),
    // Last: these end the session, and after wrong tokens the right one has to wait.
    ("POST", "/console/sign-out-everywhere", "/console/sign-out-everywhere", "", [OUT, 303, 303, 303]),
    ("POST", "/console/sign-out", "/console/sign-out", "", [OUT, 303, 303, 303]),
    ("POST", "/console/sign-in", "/console/sign-in", "token=wrong", [OUT; 4]),
];

fn rows() -> impl Iterator<Item = Row> {
    TABLE.iter().copied()
}

/// The methods and routes of the router, as its file has them.
pub(crate) fn routes() -> BTreeSet<(&'static str, &'static str)> {
    let mut found = BTreeSet::new();
    for call in ROUTER.split(".route(\"").skip(1) {
        let (path, handlers) = call.split_once("\", ").expect("a path and what serves it");
        let handlers = handlers.lines().next().unwrap_or_default();
        let methods = [("GET", "get("), ("POST", "post(")].into_iter().filter(|(_, call)| handlers.contains(call));
        let methods: Vec<_> = methods.map(|(method, _)| (method, path)).collect();
        assert!(!methods.is_empty(), "{path} is served by {handlers:?}, which this test cannot read");
        found.extend(methods);
    }
    found
}

/// With an account that has a pair and one that was deleted, so that pages have something to offer.
fn furnished() -> Running {
    let running = start("");
    running.api.post("/v1/accounts/alpha/pair", json!({})).is(201);
    running
        .api
        .post("/v1/accounts", json!({ "name": "gone", "platform": "DHAN_V2_IPV6", "client_id": "1000000002" }))
        .is(201);
    running.api.post("/v1/accounts/gone/pair", json!({})).is(201);
    running.api.delete("/v1/accounts/gone").is(204);
    running
}

fn ask(person: &Person, running: &Running, row: &Row) -> u16 {
    let (method, _, path, fields, _) = *row;
    let origin = format!("http://{}", running.at.host());
    let headers = [("sec-fetch-site", "same-origin"), ("origin", origin.as_str())];
    let headers = if method == "GET" { &headers[..1] } else { &headers[..] };
    let body = if method == "GET" { String::new() } else { format!("csrf={}&{fields}", person.csrf()) };
    if path == "STYLE" {
        let front = person.raw("GET", "/console/sign-in", &headers[..1], "");
        let style =
            front.html.split("rel=\"stylesheet\" href=\"").nth(1).expect("a style sheet").split('"').next().unwrap();
        return person.status(method, style, headers, &body);
    }
    person.status(method, path, headers, &body)
}

#[test]
fn every_route_gives_each_role_what_the_table_says() {
    let written: BTreeSet<_> = rows().map(|(method, route, ..)| (method, route)).collect();
    assert_eq!(written, routes(), "the table and the router differ");
    assert_eq!(written.len(), rows().count(), "a row stands twice");
    let running = furnished();
    let mut wrong = Vec::new();
    let everybody = || {
        let nobody = ("nobody", running.person());
        [nobody].into_iter().chain(ROLES.map(|file| (file, running.signed_in(file)))).collect::<Vec<_>>()
    };
    // Sign-ins of a second are limited, so they stay signed in.
    let mut visitors = everybody();
    for row in rows() {
        let (method, route, _, _, expected) = row;
        if route == "/console/sign-out" {
            visitors = everybody();
        }
        for ((who, person), expected) in visitors.iter().zip(expected) {
            let got = ask(person, &running, &row);
            if got != expected {
                wrong.push(format!("{method} {route} as {who}: {got}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(running.api.get("/v1/accounts/alpha").is(200).body["halted"], false);
}

/// The row that a form or link of a page leads to.
fn row_of(method: &str, path: &str) -> Option<Row> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    rows().find(|(of, route, ..)| {
        let pattern: Vec<&str> = route.split('/').collect();
        let fits = |(one, part): (&&str, &&str)| one == part || one.starts_with('{') && !part.is_empty();
        *of == method && pattern.len() == parts.len() && pattern.iter().zip(&parts).all(fits)
    })
}

/// Where the forms and links of a page lead, within the console.
fn ways(html: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for tag in html.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        let value =
            |name: &str| Some(tag.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?.replace("&amp;", "&"));
        let method = if tag.contains("method=\"get\"") { "GET" } else { "POST" };
        // The form around the list only holds buttons that name their own.
        found.extend(value("action").filter(|to| method == "GET" || to != "/console").map(|to| (method, to)));
        found.extend(value("formaction").map(|to| ("POST", to)));
        found.extend(value("href").filter(|to| to.starts_with("/console")).map(|to| ("GET", to)));
    }
    found
}

#[test]
fn no_page_offers_anybody_what_they_would_be_refused() {
    let running = furnished();
    let (mut offered, mut wrong) = ([0, 0, 0], Vec::new());
    for (at, file) in ROLES.into_iter().enumerate() {
        let mut person = running.signed_in(file);
        for (method, route, path, _, expected) in rows() {
            if method != "GET" || expected[at + 1] != 200 || path == "STYLE" || route == "/console/events" {
                continue;
            }
            let page = person.get(path);
            assert_eq!(page.status, 200, "{path}");
            for (method, to) in ways(&page.html) {
                offered[at] += 1;
                match row_of(method, &to) {
                    None => wrong.push(format!("{path} has {method} {to}, which no route serves")),
                    Some((.., expected)) if expected[at + 1] == 403 => {
                        wrong.push(format!("{path} offers {method} {to} to {file}, who is refused it"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Who may do more is offered more.
    assert!(
        offered.is_sorted() && offered[0] > 100 && offered[0] < offered[1] && offered[1] < offered[2],
        "{offered:?}"
    );
}
