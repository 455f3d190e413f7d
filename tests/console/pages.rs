//! The pages that all accounts share: the list, pools, this machine, first steps, plots, evidence.

use std::thread;

use serde_json::{Value, json};

use super::person::{Page, Person};
use super::{LIMIT, Running, start};
use crate::admin::api::token;
use crate::support::wait_until;

/// A page may have so many bytes.
const LARGEST: usize = 50_000;
/// Forms of a page that a person sends to change something; sign-out is in the frame.
fn forms(page: &Page) -> usize {
    page.html.matches("<form method=\"post\"").count() - page.html.matches("action=\"/console/sign-out\"").count()
}

fn account(name: &str, client_id: u32) -> Value {
    json!({ "name": name, "platform": "DHAN_V2_IPV6", "client_id": client_id.to_string() })
}

/// With pairs for two accounts, of which one has a token.
fn with_pairs() -> Running {
    let running = start("");
    let mut bravo = account("bravo", 1_000_000_002);
    bravo["access_token"] = token("1000000002", 80_000).into();
    running.api.post("/v1/accounts", bravo).is(201);
    for name in ["alpha", "bravo"] {
        running.api.post(&format!("/v1/accounts/{name}/pair"), json!({})).is(201);
    }
    running
}

#[test]
fn the_worst_trouble_stands_first_and_counts_are_filters() {
    let running = with_pairs();
    running.api.post("/v1/accounts", account("zulu", 1_000_000_009)).is(201);
    running.api.put("/v1/accounts/bravo/halt", json!({ "halted": true, "reason": "storm <b>" })).is(200);
    let mut person = running.signed_in("desk.token");
    let page = person.get("/console");
    let at =
        |name: &str| page.html.find(&format!("id=\"account-{name}\"")).unwrap_or_else(|| panic!("{name}: {page:?}"));
    assert!(at("zulu") < at("bravo"), "one without addresses needs a person before one that is halted");
    assert!(page.has("storm &lt;b&gt;") && page.has("No addresses yet"), "{page:?}");
    assert!(page.has("formaction=\"/console/accounts/zulu/halt\"") && page.has("6,"), "{page:?}");
    let halted = person.get("/console?problem=halted");
    assert!(halted.has("account-bravo") && !halted.has("account-zulu"), "{halted:?}");
    let found = person.get("/console?q=1000000009");
    assert!(found.has("account-zulu") && !found.has("account-bravo"), "{found:?}");
    assert!(person.get("/console?q=nobody").has("No account matches."));
    assert_eq!(person.get("/console?problem=bored").status, 400);
    assert_eq!(person.get("/console?cursor=bored").status, 400);
    let mut viewer = running.signed_in("viewer.token");
    let page = viewer.get("/console");
    assert!(page.has("account-zulu") && forms(&page) == 0 && !page.has("formaction"), "{page:?}");
}

/// Who watches 10,000 accounts has pages of fifty, each under 50 KB, and every account on one of them.
#[test]
fn ten_thousand_accounts_are_pages_of_fifty() {
    const ACCOUNTS: u32 = 10_000;
    let running = start("");
    thread::scope(|scope| {
        for part in 0..16 {
            let admin = running.gateway.admin();
            scope.spawn(move || {
                for n in (part..ACCOUNTS - 1).step_by(16) {
                    let body = account(&format!("trader-{n:05}"), 1_100_000_000 + n);
                    assert_eq!(admin.post("/v1/accounts", &body).0, 201);
                }
            });
        }
    });
    running.api.put("/v1/accounts/trader-05000/halt", json!({ "halted": true })).is(200);
    let mut person = running.signed_in("admin.token");
    let first = person.get("/console");
    assert!(first.has("10,000"), "{first:?}");
    assert_eq!(first.html.matches("id=\"account-").count(), 50);
    assert!(first.html.len() < LARGEST, "{} bytes", first.html.len());
    let next = first.html.split("href=\"/console?cursor=").nth(1).unwrap().split('"').next().unwrap();
    let second = person.get(&format!("/console?cursor={}", next.replace("&amp;", "&")));
    assert_eq!(second.html.matches("id=\"account-").count(), 50);
    assert!(!second.has("id=\"account-alpha\"") && second.has(">First</a>"), "{second:?}");
    let halted = person.get("/console?problem=halted");
    assert!(halted.has("account-trader-05000") && halted.html.matches("id=\"account-").count() == 1, "{halted:?}");
    let found = person.get("/console?q=trader-09");
    assert!(found.html.matches("id=\"account-").count() == 50 && found.html.len() < LARGEST, "{}", found.html.len());
    for path in ["/console/plots", "/console/pools", "/console/machine", "/console/evidence", "/console/first-run"] {
        let page = person.get(path);
        assert!(page.status == 200 && page.html.len() < LARGEST, "{path}: {} {}", page.status, page.html.len());
    }
}

#[test]
fn all_are_halted_on_a_page_that_asks_and_trade_again_on_the_same() {
    let running = with_pairs();
    let mut desk = running.signed_in("desk.token");
    assert!(desk.get("/console/halt-all").has("Halt all accounts?"));
    let page = desk.post("/console/halt-all", &[("halted", "true"), ("reason", "broker is down")]);
    assert!(page.path == "/console" && page.has("broker is down") && page.has("Let all trade again"), "{page:?}");
    assert_eq!(running.api.get("/v1/halt").is(200).body["accounts_halted"], 2);
    assert!(desk.get("/console/halt-all").has("2 of 2 are halted now"));
    let page = desk.post("/console/halt-all", &[("halted", "false")]);
    assert!(page.has("Halt All…"), "{page:?}");
    assert_eq!(running.api.get("/v1/halt").is(200).body["accounts_halted"], 0);
    // Who looks later reads which of the two it was, and why; of an account too.
    let told = desk.get("/console/changes");
    assert!(told.has("<div>halt all</div>") && told.has("<div>let all trade again</div>"), "{told:?}");
    assert!(told.has("broker is down"), "{told:?}");
    let of_one = desk.get("/console/accounts/alpha");
    assert!(of_one.has("halt all") && of_one.has("let all trade again") && of_one.has("broker is down"), "{of_one:?}");
    let mut viewer = running.signed_in("viewer.token");
    assert!(!viewer.get("/console").has("halt-all"));
    assert_eq!(viewer.get("/console/halt-all").status, 403);
    assert_eq!(viewer.post("/console/halt-all", &[("halted", "true")]).status, 403);
    assert_eq!(running.api.get("/v1/halt").is(200).body["halted"], false);
}

#[test]
fn pools_are_made_shown_and_deleted_and_an_address_is_forgotten_by_name() {
    let running = with_pairs();
    let mut person = running.signed_in("admin.token");
    let page = person.get("/console/pools");
    assert!(page.has("2001:db8:a1::/64") && page.has("over a million") && page.has("Make pool"), "{page:?}");
    assert!(!page.has("/console/pools/main/delete"), "a pool that gave addresses cannot be deleted: {page:?}");
    let pairs = person.get("/console/pools/main");
    assert!(pairs.has("alpha") && pairs.has("bravo"), "{pairs:?}");
    let overlap = [("name", "new"), ("primary", "2001:db8:a1::/80"), ("secondary", "2001:db8:b2::/80")];
    let refused = person.post("/console/pools", &overlap);
    assert!(refused.status == 409 || refused.status == 422, "{refused:?}");
    assert!(
        refused.has("role=\"alert\"") && refused.has("value=\"2001:db8:b2::/80\""),
        "what was typed is lost: {refused:?}"
    );
    let good = [("name", "new"), ("primary", "2001:db8:b1::/64"), ("secondary", "2001:db8:b2::/64")];
    let made = person.post("/console/pools", &good);
    assert!(made.path == "/console/pools" && made.has("The pool new is there"), "{made:?}");
    assert!(made.has("ip -6 route replace local 2001:db8:b1::/64 dev lo"), "no way on: {made:?}");
    let page = person.get("/console/pools");
    assert!(page.has("/console/pools/new/delete"), "{page:?}");
    let page = person.post("/console/pools/new/delete", &[]);
    assert!(page.has("The pool is deleted") && !page.has("2001:db8:b1::/64"), "{page:?}");
    running.api.delete("/v1/accounts/bravo").is(204);
    let page = person.get("/console/pools");
    let purge =
        page.html.split("href=\"/console/addresses/").nth(1).unwrap_or_else(|| panic!("no tombstone: {page:?}"));
    let path = format!("/console/addresses/{}", purge.split('"').next().unwrap());
    assert!(page.has("bravo") && page.has("client id 1000000002"), "{page:?}");
    let asked = person.get(&path);
    assert!(asked.has("Dhan may still know it"), "{asked:?}");
    let wrong = person.post(&path, &[("address", "2001:db8:a1::ffff")]);
    assert!(wrong.status == 422 && wrong.has("That is not the address"), "{wrong:?}");
    let address = asked.html.split("data-copy=\"").nth(1).unwrap().split('"').next().unwrap();
    let page = person.post(&path, &[("address", address)]);
    assert!(page.path == "/console/pools" && page.has("Forgotten."), "{page:?}");
    running.api.get(&format!("/v1/addresses/{address}")).is(404);
    assert!(running.api.get("/v1/audit").raw.contains("/v1/addresses/"), "a purge is not in the audit log");
}

#[test]
fn who_may_not_change_sees_no_form_and_is_refused() {
    let running = with_pairs();
    running.api.delete("/v1/accounts/bravo").is(204);
    let mut viewer = running.signed_in("viewer.token");
    let pages = ["/console", "/console/pools", "/console/pools/main", "/console/machine", "/console/plots"];
    for path in pages.into_iter().chain(["/console/evidence?account=alpha", "/console/first-run", "/console/help"]) {
        let page = viewer.get(path);
        assert_eq!((page.status, forms(&page)), (200, 0), "{path}: {page:?}");
        assert!(!page.has("Purge…") && !page.has("/console/create"), "{path}: {page:?}");
        assert!(!page.has("style=") && !page.has("<script>"), "{path}");
    }
    for (path, fields) in [
        ("/console/pools", vec![("name", "x"), ("primary", "2001:db8:b1::/64"), ("secondary", "2001:db8:b2::/64")]),
        ("/console/pools/main/delete", vec![]),
        ("/console/addresses/2001:db8:a1::1/purge", vec![("address", "2001:db8:a1::1")]),
        ("/console/machine/check", vec![]),
        ("/console/evidence/check", vec![]),
        ("/console/first-run/skip", vec![("step", "Account"), ("skip", "true")]),
        ("/console/first-run/halves", vec![("prefix", "2001:db8:c::/64")]),
        ("/console/orders/none/settle", vec![("note", "x")]),
    ] {
        let page = viewer.post(path, &fields);
        assert_eq!(page.status, 403, "{path}: {page:?}");
    }
    assert_eq!(viewer.get("/console/addresses/2001:db8:a1::1/purge").status, 403);
    assert_eq!(viewer.get("/console/evidence/download?account=alpha").status, 403);
    assert_eq!(running.api.get("/v1/pools").is(200).body["items"].as_array().unwrap().len(), 1);
}

/// From nothing on, each line ticks itself; who skips one is not asked again, and finds it under Help.
#[test]
fn first_steps_follow_the_gateway_s_real_state() {
    let running = start("");
    let mut person = running.signed_in("admin.token");
    let steps = |page: &Page| {
        let list = page
            .html
            .split("id=\"first-steps\"")
            .nth(1)
            .unwrap_or_default()
            .split("</section>")
            .next()
            .unwrap_or_default();
        let titles = [
            "Addresses",
            "This machine answers for them",
            "First account",
            "Logged in",
            "Registered at Dhan",
            "Validated",
            "Your program connected",
        ];
        titles.map(|title| list.contains(&format!("<p>✔ <strong>{title}</strong>")))
    };
    let page = person.get("/console");
    assert_eq!(steps(&page), [true, false, true, false, false, false, false], "{page:?}");
    assert!(page.has("Waiting for the first request") && page.has("/console/accounts/alpha/registration"), "{page:?}");
    running.api.delete("/v1/accounts/alpha").is(204);
    running.api.delete("/v1/pools/main").is(204);
    let page = person.get("/console");
    assert_eq!(steps(&page), [false; 7], "{page:?}");
    assert!(page.has("What did your provider give you?") && page.has("There is no account yet."), "{page:?}");
    let wrong = person.post("/console/first-run/halves", &[("prefix", "my network")]);
    assert!(wrong.has("is no prefix that can be halved"), "{wrong:?}");
    let made = person.post("/console/first-run/halves", &[("prefix", "2001:db8:1:2::/64")]);
    assert!(steps(&made)[0], "{made:?}");
    assert!(running.api.get("/v1/pools/main").is(200).raw.contains("2001:db8:1:2:8000::/65"));
    for step in ["Answers", "Account", "LoggedIn", "Registered", "Valid", "Connected"] {
        person.post("/console/first-run/skip", &[("step", step), ("skip", "true")]);
    }
    assert!(!person.get("/console").has("id=\"first-steps\""), "it is shown though all of it is done or skipped");
    let again = person.get("/console/first-run");
    assert!(again.has("(skipped)") && again.has("Show it again"), "{again:?}");
    let page = person.post("/console/first-run/skip", &[("step", "Account"), ("skip", "false")]);
    assert!(page.has("id=\"first-steps\""), "{page:?}");
    assert!(person.get("/console/help").has("/console/first-run"));
}

#[test]
fn this_machine_says_what_it_found_and_what_it_could_not_see() {
    let running = with_pairs();
    let mut desk = running.signed_in("desk.token");
    wait_until("the gateway looked by itself", LIMIT, || desk.get("/console/machine").has("press Check"));
    let before = desk.get("/console/machine");
    assert!(before.has("2001:db8:a1:"), "the addresses are on no interface here: {before:?}");
    let page = desk.post("/console/machine/check", &[]);
    assert!(page.has("Check again") && page.has(" ago, at ") && page.has("Not known: "), "{page:?}");
    assert!(page.has("data-copy=\"ip -6 "), "no command to copy: {page:?}");
    assert!(page.has("as they should be"), "{page:?}");
    assert!(page.html.len() < LARGEST, "{}", page.html.len());
}

#[test]
fn plots_say_what_will_be_there_and_then_show_it() {
    let running = with_pairs();
    let mut viewer = running.signed_in("viewer.token");
    let page = viewer.get("/console/plots");
    assert!(page.has("From the first request on") && page.has("will stand here"), "{page:?}");
    wait_until("a sample was taken", LIMIT, || viewer.get("/console/plots").has("out of use now"));
    let page = viewer.get("/console/plots?window=24h");
    assert!(page.status == 200 && page.has("Last 24 hours"), "{page:?}");
    let page = viewer.get("/console/plots");
    assert!(page.has("The same as a table") && page.has("out of use now"), "{page:?}");
}

/// Lines of an account whose gateway sent nothing yet, and the chain that is checked on request.
#[test]
fn evidence_without_orders_says_so_and_the_chain_is_checked_on_request() {
    let running = start("");
    let mut desk: Person = running.signed_in("desk.token");
    let page = desk.get("/console/evidence");
    assert!(page.has("was not checked since") && page.has("From day"), "{page:?}");
    assert!(desk.get("/console/evidence?account=alpha").has("No line."));
    assert!(desk.get("/console/evidence?account=al+pha").has("That is no account"));
    running.api.patch("/v1/accounts/alpha", json!({ "nickname": "Alpha's own" })).is(200);
    for path in ["/console/evidence", "/console/orders"] {
        let empty = if path.ends_with("orders") { "No order matches." } else { "Found of alpha" };
        let found = desk.get(&format!("{path}?account=alpha%27s+OWN"));
        assert!(found.has(empty) && found.has("<option value=\"alpha\">"), "{found:?}");
        assert!(desk.get(&format!("{path}?account=zeta")).has("No account is called zeta"), "{path}");
    }
    let backwards = desk.get("/console/evidence?account=alpha&from=2026-11-30&to=2026-11-29");
    assert!(backwards.has("That day is before the first."), "{backwards:?}");
    assert!(desk.get("/console/evidence?account=alpha&from=today").has("That is no day"));
    desk.post("/console/evidence/check", &[]);
    wait_until("the chain was checked", LIMIT, || desk.get("/console/evidence").has("Chain good"));
    assert_eq!(desk.get("/console/evidence/download?account=al+pha").status, 422);
    assert_eq!(desk.get("/console/orders/none").status, 404);
}

#[test]
fn the_navigation_leads_to_every_part_in_its_order() {
    let running = start("");
    let mut person = running.signed_in("viewer.token");
    let page = person.get("/console");
    let words = ["Accounts", "Orders", "Plots", "Pools", "This machine", "Evidence", "Help"];
    let places =
        words.map(|word| page.html.find(&format!(">{word}</a>")).unwrap_or_else(|| panic!("{word}: {page:?}")));
    assert!(places.is_sorted(), "{places:?}");
    for path in page
        .html
        .split("<nav aria-label=\"Console\">")
        .nth(1)
        .unwrap()
        .split("</nav>")
        .next()
        .unwrap()
        .split("href=\"")
        .skip(1)
    {
        let path = path.split('"').next().unwrap();
        let shown = person.get(path);
        assert!(shown.status == 200 && shown.has("aria-current=\"page\""), "{path}: {shown:?}");
    }
}

/// An open page fetches its own address anew. A reply without a page was read as XML, and the browser's own error message
/// there has styles that the policy forbids.
#[test]
fn what_only_takes_a_form_is_a_page_that_says_so() {
    let running = start("");
    let mut person = running.signed_in("admin.token");
    for path in ["/console/accounts/alpha/consent", "/console/validate-all/stop", "/console/look/totp"] {
        let page = person.get(path);
        assert!(page.status == 405 && page.has("Nothing to open here"), "{path}: {page:?}");
        assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{path}: {page:?}");
    }
}
