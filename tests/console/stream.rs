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
    // One line more for what its keeper says at the beginning.
    let pieces = told.iter().filter(|line| *line == "data: alpha").count() as u64;
    assert!((1..=began.elapsed().as_secs() + 2).contains(&pieces), "{pieces} in {:?}: {told:?}", began.elapsed());
    let recent = running.api.get("/v1/events/recent?account=alpha&limit=1000").is(200);
    let happened = recent.body["items"].as_array().map_or(0, Vec::len);
    assert!(happened >= 50, "{happened} events: {}", recent.raw);
}
