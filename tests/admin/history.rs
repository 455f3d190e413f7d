//! `/v1/history`: what plots are drawn of.

use serde_json::{Value, json};

use super::{LIMIT, main_pool, manual, start};
use crate::support::wait_until;

/// A plot that shows nothing, or another line than it says, is worse than none.
#[test]
fn a_history_has_a_number_or_null_for_each_point_of_each_series() {
    let running = start();
    let api = &running.api;
    api.post("/v1/pools", main_pool()).is(201);
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    api.post("/v1/accounts/alpha/pair", json!({})).is(201);
    let last = |body: &Value, name: &str| {
        let series = body["series"].as_array().unwrap();
        let line = series.iter().find(|series| series["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        line["values"].as_array().unwrap().last().cloned().unwrap_or_default()
    };
    wait_until("a sample of these legs", LIMIT, || last(&api.get("/v1/history").is(200).body, "legs_tripped") == 2.0);
    let body = api.get("/v1/history?window=1h").is(200).body;
    assert_eq!((&body["window"], &body["step_seconds"]), (&json!("1h"), &json!(5)));
    let points = body["at"].as_array().unwrap().len();
    assert!(points > 0 && body["covers"].as_array().unwrap().len() == points, "{body}");
    for series in body["series"].as_array().unwrap() {
        assert_eq!(series["values"].as_array().unwrap().len(), points, "{series}");
    }
    assert_eq!((last(&body, "requests"), last(&body, "added_p50")), (json!(0.0), Value::Null));
    assert_eq!(last(&body, "tokens_needs_person"), 1.0);
    assert_eq!(body["token_ends"], json!([]));
    api.put("/v1/accounts/alpha/token", json!({ "access_token": super::token("1000000001", 3600) })).is(200);
    let ends = api.get("/v1/history?window=24h").is(200).body["token_ends"].take();
    assert_eq!(ends[0]["account"], "alpha");
    assert!((3500..=3600).contains(&ends[0]["seconds_left"].as_i64().unwrap()), "{ends}");
    api.get("/v1/history?window=7d").names("window");
    api.get("/v1/history?x=1").names("x");
}
