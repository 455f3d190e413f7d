//! `/v1/events` and `/v1/events/recent`: who was away misses nothing unheard, and who may not listen is cut off.

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::api::Api;
use super::{LIMIT, Running, manual, start};
use crate::support::{Gateway, Place, wait_until};

/// One block of a stream.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    id: Option<String>,
    event: Option<String>,
    data: Value,
}

/// A stream that is open.
#[derive(Clone)]
struct Listening {
    text: Arc<Mutex<String>>,
    ended: Arc<Mutex<Option<Instant>>>,
}

impl Listening {
    fn to(api: &Api, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = api.send("GET", &format!("/v1/events{query}"), headers, b"").unwrap();
        let this = Self { text: Arc::default(), ended: Arc::default() };
        let into = this.clone();
        thread::spawn(move || {
            let mut buffer = [0_u8; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                into.text.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]).replace("\r\n", "\n"));
            }
            *into.ended.lock().unwrap() = Some(Instant::now());
        });
        wait_until("the stream is open", LIMIT, || !this.blocks().is_empty());
        this
    }

    fn blocks(&self) -> Vec<Block> {
        let text = self.text.lock().unwrap();
        let block = |block: &str| {
            let line =
                |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(|it| it.trim().to_owned());
            let data = line("data:").and_then(|data| serde_json::from_str(&data).ok()).unwrap_or_default();
            Block { id: line("id:"), event: line("event:"), data }
        };
        let blocks = text.split("\n\n").map(block);
        blocks.filter(|block| block.id.is_some() || block.event.is_some()).collect()
    }

    /// The events, without the first line that only says where it begins.
    fn events(&self) -> Vec<Block> {
        self.blocks().into_iter().filter(|block| block.event.is_some()).collect()
    }

    #[track_caller]
    fn hears(&self, count: usize) -> Vec<Block> {
        wait_until("events", LIMIT, || self.events().len() >= count);
        self.events()
    }
}

fn validate(api: &Api, name: &str) {
    api.post(&format!("/v1/accounts/{name}/validate"), json!({})).is(200);
}

fn with_accounts() -> Running {
    let running = start();
    for (name, id) in [("alpha", "1000000001"), ("beta", "1000000002")] {
        running.api.post("/v1/accounts", manual(name, id)).is(201);
    }
    running
}

/// A console that was asleep over lunch must not believe that nothing happened.
#[test]
fn who_was_away_goes_on_where_it_was_and_hears_only_what_it_asked_for() {
    let running = with_accounts();
    let api = &running.api;
    let all = Listening::to(api, "?subject=validation", &[]);
    let beginning = all.blocks()[0].id.clone().unwrap();
    let beta = Listening::to(api, "?account=beta&subject=validation", &[]);
    for name in ["alpha", "beta", "alpha"] {
        validate(api, name);
    }
    let heard = all.hears(3);
    let accounts: Vec<_> = heard.iter().map(|block| block.data["account"].as_str().unwrap()).collect();
    assert_eq!(accounts, ["alpha", "beta", "alpha"]);
    assert_eq!(beta.hears(1), [heard[1].clone()]);

    // By the id of the first, by the place where it began, and by a moment.
    let after = |id: &str| Listening::to(api, "?subject=validation", &[("last-event-id", id)]).hears(2);
    assert_eq!(after(heard[0].id.as_ref().unwrap()), heard[1..]);
    assert_eq!(after(&beginning), heard);
    let since = heard[2].data["at"].as_str().unwrap();
    assert_eq!(Listening::to(api, &format!("?subject=validation&since={since}"), &[]).hears(1), heard[2..]);

    let recent = api.get("/v1/events/recent?subject=validation&limit=2").is(200);
    let shown: Vec<_> = recent.body["items"].as_array().unwrap().iter().map(|item| item["id"].as_str()).collect();
    assert_eq!(shown, [heard[2].id.as_deref(), heard[1].id.as_deref()]);
    assert_eq!(recent.body["items"][0]["data"], heard[2].data);
    assert_eq!(recent.body["items"][0]["event"], "validation");

    for (query, name) in
        [("subject=orders", "subject"), ("account=a%20b", "account"), ("since=noon", "since"), ("x=1", "x")]
    {
        api.get(&format!("/v1/events?{query}")).names(name);
    }
    api.get("/v1/events/recent?limit=1001").names("limit");
    api.get("/v1/events?account=alpha&account=beta").names("account");
    let wrong = api.raw("GET", "/v1/events", &[("last-event-id", "17")], b"").unwrap();
    wrong.names("Last-Event-ID");
}

/// The numbers begin again with each run: an id of the run before must not pass for one of this.
#[test]
fn a_restart_is_noticed_by_who_goes_on() {
    let mut running = with_accounts();
    let listening = Listening::to(&running.api, "?subject=validation", &[]);
    validate(&running.api, "alpha");
    let before = listening.hears(1)[0].id.clone().unwrap();
    assert!(running.gateway.terminate().success());
    wait_until("the stream has ended with the gateway", LIMIT, || listening.ended.lock().unwrap().is_some());

    let text = std::fs::read_to_string(running.dir.path().join("sixgate.toml")).unwrap();
    running.gateway = Gateway::start(&Place::alone(), &text, running.dir.path());
    validate(&running.api, "beta");
    let heard = Listening::to(&running.api, "?subject=validation", &[("last-event-id", &before)]).hears(2);
    assert_eq!(heard[0].event.as_deref(), Some("lost"));
    assert_eq!(heard[0].data, json!({ "lost": null, "reason": "restarted" }));
    assert_eq!((heard[1].event.as_deref(), &heard[1].data["account"]), (Some("validation"), &json!("beta")));
}

/// Whoever reads it has to know of which account it is, and what to type.
#[test]
fn an_event_of_a_token_names_the_account_in_its_advice() {
    let running = with_accounts();
    let needs_person = |item: &Value| item["data"]["account"] == "beta" && item["data"]["state"] == "needs_person";
    let find = || {
        let items = running.api.get("/v1/events/recent?subject=token").is(200).body["items"].take();
        items.as_array().unwrap().iter().find(|item| needs_person(item)).cloned()
    };
    wait_until("the token needs a person", LIMIT, || find().is_some());
    let event = find().unwrap();
    let action = event["data"]["last_error"]["action"].as_str().unwrap();
    assert!(action.contains("beta") && !event.to_string().contains("{name}"), "{event}");
}

/// A person who has left must not go on to see every order.
#[test]
fn streams_of_a_token_that_gives_no_role_any_more_end_within_a_second() {
    let mut running = start();
    let file = |name: &str| running.dir.path().join("state").join(name);
    let viewer = std::fs::read_to_string(file("viewer.token")).unwrap();
    let viewer = running.api.showing(Some(viewer.trim()));
    let (removed, stays) = (Listening::to(&viewer, "", &[]), Listening::to(&running.api, "", &[]));
    std::fs::write(file("viewer.token"), "another-token-of-forty-characters-or-so\n").unwrap();
    let done = "the configuration was reloaded";
    running.gateway.signal(Signal::SIGHUP);
    wait_until(done, LIMIT, || running.gateway.log().contains(done));
    let reloaded = Instant::now();
    wait_until("the stream has ended", LIMIT, || removed.ended.lock().unwrap().is_some());
    let took = removed.ended.lock().unwrap().unwrap().saturating_duration_since(reloaded);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let last = removed.events().pop().unwrap();
    assert_eq!((last.event.as_deref(), last.data), (Some("ended"), json!({ "reason": "token_removed" })));
    viewer.get("/v1/events").is(401);
    running.api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    assert!(!stays.hears(1).is_empty() && stays.ended.lock().unwrap().is_none());
}
