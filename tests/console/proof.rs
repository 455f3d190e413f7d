//! An order of which nobody knows what became of it, as a person meets it: on every page until somebody has looked, on a
//! page of its own, and in the archive of evidence.

use std::time::Duration;

use sixgate::sandbox::{Action, Fault};

use super::person::Person;
use crate::admin::api::At;
use crate::settle::{ORDER, place};
use crate::support::wait_until;
use crate::support::world::{World, config, pins};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn an_unknown_order_stands_on_every_page_until_a_person_says_what_became_of_it() {
    let text = config(&format!("{}\n[orders]\nresponse_timeout = \"2s\"\nreconcile_for = \"1s\"", pins()));
    let socket = "address = \"unix:{dir}/admin.sock\"\nviewer_token_file = \"{dir}/state/viewer.token\"";
    let world = World::up_with(1, &text.replace("address = \"127.0.0.1:8081\"", socket));
    let dir = world.gateway.dir();
    let token = std::fs::read_to_string(dir.join("state/admin.token")).unwrap();
    let mut person = Person::at(&At::Unix(dir.join("admin.sock")));
    assert_eq!(person.sign_in(token.trim()).path, "/console");
    let good = place(&world, ORDER);
    assert_eq!(good.status, 200, "{good:?}");
    assert!(!person.get("/console").has("Nobody knows"));

    world.broker.fault(Fault::new(Action::Hang { executed: false }).on("POST", "/v2/orders").times(1));
    let lost = place(&world, &ORDER.replace("s-1", "s-2"));
    assert_eq!(lost.header("sixgate-outcome"), "unknown", "{lost:?}");
    let unknown = format!("/console/orders/{}", lost.header("sixgate-request-id"));
    wait_until("the strip is there", LIMIT, || {
        person.get("/console/help").has("Nobody knows what became of an order.")
    });
    for path in ["/console", "/console/orders", "/console/plots", "/console/pools", "/console/evidence"] {
        let page = person.get(path);
        assert!(page.has("Nobody knows") && page.has(&unknown), "{path}: {page:?}");
    }
    let page = person.get(&unknown);
    assert!(page.has("Mark as settled") && page.has("Look in the order book") && page.has("Ask Dhan now"), "{page:?}");
    // Its reply, which had Dhan's id, was lost: it is asked for by the id that it was sent with.
    let asked = person.post(&format!("{unknown}/ask"), &[]);
    assert!(asked.has("Dhan says") && asked.has("no order of that id"), "{asked:?}");
    // A viewer sees all of it, and neither asks nor says what became of it.
    let mut viewer = Person::at(&At::Unix(dir.join("admin.sock")));
    viewer.sign_in(std::fs::read_to_string(dir.join("state/viewer.token")).unwrap().trim());
    for order in [&unknown, &format!("/console/orders/{}", good.header("sixgate-request-id"))] {
        let seen = viewer.get(order);
        assert!(seen.has("In the journal") && !seen.has(&format!("action=\"{order}")), "{seen:?}");
        for end in ["ask", "settle"] {
            assert_eq!(viewer.post(&format!("{order}/{end}"), &[("note", "x")]).status, 403, "{order}/{end}");
        }
    }
    let empty = person.post(&format!("{unknown}/settle"), &[("note", " ")]);
    assert!(empty.status == 422 && empty.has("role=\"alert\"") && empty.has("Mark as settled"), "{empty:?}");
    let fields = [("note", "not in the order book <b>"), ("outcome", "not_sent")];
    let page = person.post(&format!("{unknown}/settle"), &fields);
    assert!(page.path == unknown && page.has("not in the order book &lt;b&gt;"), "{page:?}");
    assert!(!page.has("Nobody knows") && !page.has("<h2 id=\"settle\""), "{page:?}");
    assert!(!page.has("Look in the order book before"), "somebody has looked: {page:?}");
    assert!(page.has("Settled ") && page.has(" by admin: "), "who it was: {page:?}");

    let sent = format!("/console/orders/{}", good.header("sixgate-request-id"));
    let page = person.get(&sent);
    assert!(page.has("Ask Dhan now") && page.has("&quot;prev&quot;") && !page.has("Mark as settled"), "{page:?}");
    let asked = person.post(&format!("{sent}/ask"), &[]);
    assert!(asked.has("Dhan says") && asked.has("<dt>Status</dt>"), "{asked:?}");
    world.broker.fault(
        Fault::new(Action::Refuse { status: 200, body: serde_json::json!([]) }).on("GET", "/v2/orders/").times(1),
    );
    let gone = person.post(&format!("{sent}/ask"), &[]);
    assert!(gone.has("Dhan shows no order") && !gone.has("flash bad"), "{gone:?}");
    let first = person.get("/console/first-run");
    assert!(
        first.has("Your program connected") && first.has("POST /v2/orders at") && first.has("for a1."),
        "{first:?}"
    );
    assert!(person.get("/console/orders").has(&sent), "the list has no way to the proof");

    let page = person.get("/console/evidence?account=a1");
    assert!(page.has("Orders executed") && page.has("/console/evidence/download?account=a1"), "{page:?}");
    let archive = person.raw("GET", "/console/evidence/download?account=a1", &[("sec-fetch-site", "same-origin")], "");
    assert_eq!((archive.status, archive.header("content-type")), (200, Some("application/x-tar")));
    assert!(archive.has("verify_journal.py") && archive.has("SHA256SUMS") && archive.has("\"s-2\""));
    wait_until("a sample has the orders", LIMIT, || person.get("/console/plots").has("1 executed"));
}
