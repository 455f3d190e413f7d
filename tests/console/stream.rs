//! The stream of events that an open page reads.

use std::io::{BufRead, BufReader, Write};
use std::time::Instant;

use crate::admin::api::connect;
use crate::console::start;
use serde_json::json;

/// Twenty people who look must not cost an order anything: what happens within a second is one piece and one wake.
#[test]
fn what_happens_in_quick_succession_is_sent_once_a_second_and_nothing_of_it_is_lost() {
    let running = start("");
    let person = running.signed_in("admin.token");
    let beta = json!({ "name": "beta", "platform": "DHAN_V2_IPV6", "client_id": "1000000002" });
    running.api.post("/v1/accounts", beta).is(201);
    let mut stream = connect(&running.at).unwrap();
    let (host, cookie) = (running.at.host(), person.cookie());
    let head = format!(
        "GET /console/events HTTP/1.1\r\nhost: {host}\r\ncookie: {cookie}\r\nsec-fetch-site: same-origin\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "HTTP/1.1 200 OK");

    let began = Instant::now();
    // Without a pair and a token there is nobody to ask.
    let validate = |name: &str| running.api.post(&format!("/v1/accounts/{name}/validate"), json!({})).is(200);
    for _ in 0..50 {
        validate("alpha");
    }
    validate("beta");
    let told: Vec<String> = lines.by_ref().take_while(|line| line != "data: beta").collect();
    // One line more for the other account.
    let pieces = told.iter().filter(|line| *line == "event: validation").count() as u64;
    assert!((1..=began.elapsed().as_secs() + 2).contains(&pieces), "{pieces} in {:?}: {told:?}", began.elapsed());
    let recent = running.api.get("/v1/events/recent?account=alpha&limit=1000").is(200);
    let happened = recent.body["items"].as_array().map_or(0, Vec::len);
    assert!(happened >= 50, "{happened} events: {}", recent.raw);
}

/// The gateway's answer to a form was used up by the page's own look for news, and never seen.
#[test]
fn what_is_shown_once_is_shown_to_the_person_and_not_to_a_page_that_looks_for_news() {
    let running = start("");
    let mut person = running.signed_in("admin.token");
    let origin = format!("http://{}", running.at.host());
    let headers = [("sec-fetch-site", "same-origin"), ("origin", origin.as_str())];
    let form = format!("csrf={}&halted=true&reason=lunch", person.csrf());
    assert_eq!(person.status("POST", "/console/accounts/alpha/halt", &headers, &form), 303);
    let news = [("sec-fetch-site", "same-origin"), ("sixgate-refresh", "1")];
    let looked = person.raw("GET", "/console/accounts/alpha", &news, "");
    assert!(looked.status == 200 && !looked.has("class=\"flash good\""), "{looked:?}");
    let seen = person.get("/console/accounts/alpha");
    assert!(seen.has("class=\"flash good\""), "{seen:?}");
    assert!(!person.get("/console/accounts/alpha").has("class=\"flash good\""), "twice");
}
