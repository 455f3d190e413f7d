//! Accounts for people: what of them is set, who changed them meanwhile, which are in trouble, whose key it is.

use serde_json::{Value, json};

use super::{automatic, main_pool, manual, pair, start, through_the_proxy};

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().filter_map(|item| item["name"].as_str()).collect()
}

/// A form says which secrets are set and since when, and can take one away: what cannot be removed stays for ever.
#[test]
fn secrets_are_told_by_name_and_can_be_removed_but_not_those_that_a_login_needs() {
    let running = start();
    let api = &running.api;
    let mut fields = automatic("alpha", "1000000001");
    fields["api_key"] = json!("marked-key");
    fields["api_secret"] = json!("marked-secret");
    fields["nickname"] = json!("Alpha");
    let made = api.post("/v1/accounts", fields).is(201);
    for (name, set) in [("pin", true), ("totp_secret", true), ("phone", false), ("api_key", true), ("api_secret", true)]
    {
        assert_eq!(made.body["secrets"][name]["set"], json!(set), "{name}");
        assert_eq!(made.body["secrets"][name]["since"].is_string(), set, "{name}");
    }
    assert!(!made.raw.contains("marked"), "{}", made.raw);
    let change = |body: Value| api.patch("/v1/accounts/alpha", body);
    let less = change(json!({ "remove": ["api_key", "api_secret", "nickname"] })).is(200);
    assert_eq!((&less.body["secrets"]["api_key"]["set"], &less.body["nickname"]), (&json!(false), &Value::Null));
    assert_eq!(less.body["secrets"]["pin"], made.body["secrets"]["pin"], "what is left alone keeps its time");
    change(json!({ "remove": ["pin"] })).names("remove");
    change(json!({ "remove": ["pin", "totp_secret"] })).names("remove");
    change(json!({ "remove": ["phone"], "phone": "9" })).names("remove");
    for wrong in [json!(["token"]), json!("pin"), json!([7]), json!(vec!["x"; 17])] {
        change(json!({ "remove": wrong })).names("remove");
    }
    let by_hand = json!({ "platform": "DHAN_V2_IPV6", "remove": ["pin", "totp_secret"] });
    assert_eq!(change(by_hand).is(200).body["secrets"]["pin"], json!({ "set": false, "since": null }));
}

/// Two people with one form each: the second must not undo what the first has saved without knowing it.
#[test]
fn a_change_of_settings_that_somebody_else_changed_is_refused_and_a_halt_is_no_such_change() {
    let running = start();
    let api = &running.api;
    let made = api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    let read = api.get("/v1/accounts/alpha").is(200);
    let tag = read.header("etag").unwrap().to_owned();
    assert_eq!((made.header("etag"), tag.as_str()), (Some(tag.as_str()), &*format!("\"{}\"", read.text("/version"))));
    let change = |tag: &str, nickname: &str| {
        let body = json!({ "nickname": nickname }).to_string();
        api.raw("PATCH", "/v1/accounts/alpha", &[("if-match", tag)], body.as_bytes()).unwrap()
    };
    api.put("/v1/accounts/alpha/halt", json!({ "halted": true, "reason": "meanwhile" })).is(200);
    let first = change(&tag, "first").is(200);
    assert_ne!(first.header("etag"), Some(tag.as_str()));
    let second = change(&tag, "second").is(412);
    assert_eq!(second.text("/code"), "changed_since");
    assert!(second.text("/detail").contains(first.text("/version")), "{}", second.raw);
    assert_eq!(api.get("/v1/accounts/alpha").is(200).text("/nickname"), "first");
    for stranger in ["\"\"", "x", &format!("W/{tag}")] {
        change(stranger, "third").is(412);
    }
    change(&format!("\"x\", {}", first.header("etag").unwrap()), "third").is(200);
    change("*", "fourth").is(200);
    api.patch("/v1/accounts/alpha", json!({ "nickname": "fifth" })).is(200);
    // One of the same name that is made anew is another.
    let last = api.get("/v1/accounts/alpha").is(200).header("etag").unwrap().to_owned();
    api.delete("/v1/accounts/alpha").is(204);
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    change(&last, "sixth").is(412);
}

/// Who watches ten thousand accounts looks at those in trouble, and finds one by whatever is known of it.
#[test]
fn accounts_are_found_by_text_state_and_problem_and_the_worst_come_first() {
    let running = start();
    let api = &running.api;
    api.post("/v1/pools", main_pool()).is(201);
    for (name, id) in [("alpha", "1000000001"), ("beta", "1000000002"), ("gamma.1", "1000000003")] {
        api.post("/v1/accounts", manual(name, id)).is(201);
    }
    api.patch("/v1/accounts/beta", json!({ "nickname": "Second One" })).is(200);
    api.post("/v1/accounts/alpha/pair", json!({})).is(201);
    api.put("/v1/accounts/gamma.1/halt", json!({ "halted": true })).is(200);
    let find = |query: &str| api.get(&format!("/v1/accounts?{query}")).is(200);
    for (query, found) in [
        ("q=LPH", &["alpha"][..]),
        ("q=second%20one", &["beta"]),
        ("q=0000003", &["gamma.1"]),
        ("q=2001:db8:a2:0:0:0:0:1", &["alpha"]),
        ("q=db8:a1", &["alpha"]),
        ("q=nobody", &[]),
        ("q=+", &["alpha", "beta", "gamma.1"]),
        ("problem=halted", &["gamma.1"]),
        ("problem=leg_tripped", &["alpha"]),
        ("problem=needs_person&q=a", &["alpha", "beta", "gamma.1"]),
        ("state=needs_person", &["alpha", "beta", "gamma.1"]),
        ("state=live", &[]),
        ("sort=name&limit=2", &["alpha", "beta"]),
        ("cursor=alpha", &["beta", "gamma.1"]),
    ] {
        assert_eq!(names(&find(query).body), found, "{query}");
    }
    let all = find("limit=1").body;
    let of = |name: &str| all["counts"][name].as_u64().unwrap();
    assert_eq!((of("all"), of("matching"), of("halted"), of("leg_tripped"), of("not_validated")), (3, 3, 1, 1, 3));
    let halted = find("problem=halted").body;
    assert_eq!((&halted["counts"]["all"], &halted["counts"]["matching"]), (&json!(3), &json!(1)));
    let alpha = api.get("/v1/accounts/alpha").is(200);
    assert_eq!(alpha.body["problems"], json!(["needs_person", "no_token", "leg_tripped", "not_validated"]));

    // With a token only gamma.1 and beta lack something that a person must do: they have no pair.
    let token = super::api::token("1000000001", super::DAY);
    api.put("/v1/accounts/alpha/token", json!({ "access_token": token })).is(200);
    let (mut walked, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = find(&format!("sort=trouble&limit=1{cursor}")).body;
        walked.extend(names(&page).into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(walked, ["beta", "gamma.1", "alpha"]);
    for (query, name) in [
        ("sort=age", "sort"),
        ("problem=sad", "problem"),
        ("state=gone", "state"),
        ("limit=0", "limit"),
        ("x=1", "x"),
        ("sort=trouble&cursor=alpha", "cursor"),
        ("cursor=%20", "cursor"),
    ] {
        api.get(&format!("/v1/accounts?{query}")).names(name);
    }
}

/// A validation is not forgotten once it was told, and says when it was made.
#[test]
fn what_a_validation_found_stays_with_the_account_until_the_gateway_stops() {
    let running = start();
    let api = &running.api;
    let made = api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    assert_eq!((&made.body["validated"], &made.body["registration"]), (&Value::Null, &Value::Null));
    let checks = api.post("/v1/accounts/alpha/validate", json!({})).is(200);
    let kept = api.get("/v1/accounts/alpha").is(200);
    assert_eq!(kept.body["validated"]["checks"], checks.body["checks"]);
    assert_eq!(kept.body["validated"]["ok"], json!(false));
    assert!(kept.text("/validated/at").parse::<jiff::Timestamp>().is_ok(), "{}", kept.raw);
    assert!(kept.body["problems"].as_array().unwrap().contains(&json!("validation_failed")), "{}", kept.raw);
    let changed = api.patch("/v1/accounts/alpha", json!({ "nickname": "x" })).is(200);
    assert_eq!(changed.body["validated"], kept.body["validated"], "a change of settings forgets nothing");
}

/// A secret that was typed wrong is found out before the broker counts it as a refused login.
#[test]
fn a_code_is_shown_for_a_typed_secret_ten_times_a_minute_and_nothing_is_kept() {
    let running = start();
    let api = &running.api;
    let show = |secret: &str| api.post("/v1/totp/preview", json!({ "totp_secret": secret }));
    let codes: Vec<String> = [
        "KRUGS4ZANFZSAYJAORXXI4BA",
        " krug s4za nfzs ayja orxx i4ba\n",
        "otpauth://totp/Dhan:1?secret=KRUGS4ZANFZSAYJAORXXI4BA&issuer=Dhan",
    ]
    .into_iter()
    .map(|secret| {
        let shown = show(secret).is(200);
        assert!((1..=30).contains(&shown.body["seconds_left"].as_u64().unwrap()), "{}", shown.raw);
        shown.text("/code").to_owned()
    })
    .collect();
    assert!(codes.iter().all(|code| code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit())), "{codes:?}");
    // A window may have ended between two of them, not between all three.
    assert!(codes[0] == codes[1] || codes[1] == codes[2], "{codes:?}");
    show("123456").names("totp_secret");
    api.post("/v1/totp/preview", json!({})).names("totp_secret");
    api.post("/v1/totp/preview", json!({ "totp_secret": "KRUGS4ZANFZSAYJAORXXI4BA", "x": 1 })).names("x");
    let over = (0..11).map(|_| show("KRUGS4ZANFZSAYJAORXXI4BA")).find(|reply| reply.status == 429).unwrap();
    let wait: u64 = over.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{}", over.raw);
    assert_eq!(api.get("/v1/accounts").is(200).body["items"], json!([]));
    // The same parser as an account's.
    let mut fields = automatic("alpha", "1000000001");
    fields["totp_secret"] = json!("otpauth://totp/Dhan:1?secret=KRUGS4ZANFZSAYJAORXXI4BA&issuer=Dhan");
    api.post("/v1/accounts", fields).is(201);
}

/// Which engine is this, and may its key go?
#[test]
fn a_key_has_a_label_and_tells_when_it_was_last_used() {
    let running = start();
    let api = &running.api;
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    let keys = "/v1/accounts/alpha/keys";
    let made = api.post(keys, json!({ "label": " engine on vm3 " })).is(201);
    let other = api.post(keys, json!({})).is(201);
    assert_eq!((made.text("/label"), &other.body["label"]), ("engine on vm3", &Value::Null));
    for label in [json!(""), json!("  "), json!("x".repeat(65)), json!(7), json!("a\u{7}b")] {
        api.post(keys, json!({ "label": label })).names("label");
    }
    api.post(keys, json!({ "label": "é".repeat(64) })).is(201);
    let key = |id: &str| {
        let listed = api.get(keys).is(200).body;
        listed["items"].as_array().unwrap().iter().find(|key| key["id"] == *id).unwrap().clone()
    };
    assert_eq!(
        (&key(made.text("/id"))["label"], &key(made.text("/id"))["last_used_at"]),
        (&json!("engine on vm3"), &Value::Null)
    );
    assert_eq!(through_the_proxy(running.dir.path(), "alpha", made.text("/key")), 403);
    let used: jiff::Timestamp = key(made.text("/id"))["last_used_at"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(used).as_secs() < 60, "{used}");
    assert_eq!(key(other.text("/id"))["last_used_at"], Value::Null, "the other one was not");
    assert_eq!(through_the_proxy(running.dir.path(), "alpha", "sgk_wrong"), 407);
    assert_eq!(key(other.text("/id"))["last_used_at"], Value::Null);
}

/// A pool says what it will give, a reservation makes that so, and two people never see the same pair.
#[test]
fn a_pair_that_is_set_aside_is_given_to_nobody_else_and_to_whoever_names_it() {
    let running = start();
    let api = &running.api;
    api.post("/v1/pools", super::pool("main", "2001:db8:a1::/125", "2001:db8:a2::/125")).is(201);
    for (name, id) in [("alpha", "1000000001"), ("beta", "1000000002"), ("gamma", "1000000003")] {
        api.post("/v1/accounts", manual(name, id)).is(201);
    }
    let pool = || api.get("/v1/pools/main").is(200).body;
    let (one, two) = (pair("2001:db8:a1::1", "2001:db8:a2::1"), pair("2001:db8:a1::2", "2001:db8:a2::2"));
    assert_eq!((&pool()["next"], &pool()["free"], &pool()["reserved"]), (&one, &json!("7"), &json!(0)));
    let reserve = || api.post("/v1/pools/main/reservations", json!({})).is(201);
    let (first, second) = (reserve(), reserve());
    let shown = |reply: &super::api::Reply| pair(reply.text("/primary"), reply.text("/secondary"));
    assert_eq!((shown(&first), shown(&second)), (one.clone(), two.clone()));
    let until: jiff::Timestamp = first.text("/until").parse().unwrap();
    assert!((590..=600).contains(&until.duration_since(jiff::Timestamp::now()).as_secs()), "{until}");
    assert_eq!((&pool()["free"], &pool()["reserved"]), (&json!("5"), &json!(2)));
    assert_eq!(pool()["next"], pair("2001:db8:a1::3", "2001:db8:a2::3"));
    assert_eq!(api.post("/v1/accounts/alpha/pair", json!({})).is(201).body, pair("2001:db8:a1::3", "2001:db8:a2::3"));
    let beta = |body: Value| api.post("/v1/accounts/beta/pair", body);
    beta(json!({ "reservation": "x" })).is(404);
    beta(json!({ "reservation": second.text("/id"), "pool": "main" })).names("reservation");
    // Half of one is nobody's to bring along.
    beta(pair("2001:db8:a1::2", "2001:db8:a2::7")).is(409);
    assert_eq!(beta(json!({ "reservation": second.text("/id") })).is(201).body, two);
    beta(json!({ "reservation": second.text("/id") })).is(409);
    api.post("/v1/accounts/gamma/pair", json!({ "reservation": second.text("/id") })).is(404);
    assert_eq!(api.post("/v1/accounts/gamma/pair", one.clone()).is(201).body, one, "by its addresses");
    let third = reserve();
    let path = |pool: &str| format!("/v1/pools/{pool}/reservations/{}", third.text("/id"));
    api.delete(&path("other")).is(404);
    api.delete(&path("main")).is(204);
    api.delete(&path("main")).is(404);
    assert_eq!((&pool()["free"], &pool()["reserved"]), (&json!("4"), &json!(0)));
    api.post("/v1/pools/none/reservations", json!({})).is(404);

    let pairs = api.get("/v1/pools/main/pairs?limit=2").is(200).body;
    let named: Vec<_> =
        pairs["items"].as_array().unwrap().iter().map(|pair| pair["account"].as_str().unwrap()).collect();
    assert_eq!((named, &pairs["next"]), (vec!["alpha", "beta"], &json!("beta")));
    let rest = api.get("/v1/pools/main/pairs?cursor=beta").is(200).body;
    assert_eq!(
        (&rest["items"][0]["account"], &rest["items"][0]["primary"]),
        (&json!("gamma"), &json!("2001:db8:a1::1"))
    );
    api.get("/v1/pools/none/pairs").is(404);
    api.get("/v1/pools/main/pairs?limit=x").names("limit");
}

/// A tombstone is for ever, but for a person who knows better and names it.
#[test]
fn an_address_is_purged_by_its_name_once_it_was_given_up_and_not_before() {
    let running = start();
    let api = &running.api;
    api.post("/v1/pools", main_pool()).is(201);
    for (name, id) in [("alpha", "1000000001"), ("beta", "1000000002")] {
        api.post("/v1/accounts", manual(name, id)).is(201);
    }
    let own = pair("2001:db8:a1::1", "2001:db8:a2::1");
    api.post("/v1/accounts/alpha/pair", own.clone()).is(201);
    let address = "/v1/addresses/2001:db8:a1::1";
    assert_eq!(
        (api.get(address).is(200).text("/account"), &api.get(address).body["retired_at"]),
        ("alpha", &Value::Null)
    );
    assert_eq!(api.delete(address).is(409).text("/code"), "in_use");
    api.delete("/v1/addresses/2001:db8:a1::9").is(404);
    api.delete("/v1/addresses/nonsense").is(404);
    api.delete("/v1/accounts/alpha/pair").is(204);
    let list = |query: &str| {
        let found = api.get(&format!("/v1/addresses?{query}")).is(200).body;
        found["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["address"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(list("retired=true&pool=main&account=alpha"), ["2001:db8:a1::1", "2001:db8:a2::1"]);
    assert_eq!(list("limit=1&retired=true"), ["2001:db8:a1::1"]);
    assert_eq!(list("cursor=2001:db8:a1::1"), ["2001:db8:a2::1"]);
    assert_eq!(list("retired=false"), [""; 0]);
    assert_eq!(api.get("/v1/pools/main").is(200).body["retired"], 2);
    api.get("/v1/addresses?retired=maybe").names("retired");
    api.get("/v1/addresses?pool=none").is(404);

    api.delete(address).is(204);
    api.delete(address).is(404);
    api.get(address).is(404);
    let half = api.post("/v1/accounts/beta/pair", own.clone()).is(409);
    assert!(half.text("/detail").contains("2001:db8:a2::1"), "the other one is still alpha's: {}", half.raw);
    api.delete("/v1/addresses/2001:db8:a2::1").is(204);
    assert_eq!(api.post("/v1/accounts/beta/pair", own.clone()).is(201).body, own);
}

/// The big red button: all of them, those to come too, and its end frees nobody whom a person halted by itself.
#[test]
fn all_accounts_are_halted_at_once_and_one_that_was_halted_by_itself_stays_so() {
    let running = start();
    let api = &running.api;
    for (name, id) in [("alpha", "1000000001"), ("beta", "1000000002"), ("gamma", "1000000003")] {
        api.post("/v1/accounts", manual(name, id)).is(201);
    }
    let halt =
        |path: &str, halted: bool, reason: &str| api.put(path, json!({ "halted": halted, "reason": reason })).is(200);
    halt("/v1/accounts/alpha/halt", true, "its own");
    assert_eq!(api.get("/v1/halt").is(200).body["halted"], json!(false));
    let all = halt("/v1/halt", true, "trouble").body;
    assert_eq!((&all["halted"], &all["accounts"], &all["accounts_halted"]), (&json!(true), &json!(3), &json!(3)));
    assert_eq!((&all["changed"], &all["failed"], &all["reason"]), (&json!(2), &json!(0), &json!("trouble")));
    let account = |name: &str| {
        let account = api.get(&format!("/v1/accounts/{name}")).is(200).body;
        (
            account["halted"].as_bool().unwrap(),
            account["halted_with_all"].as_bool().unwrap(),
            account["halt_reason"].clone(),
        )
    };
    assert_eq!(account("alpha"), (true, false, json!("its own")));
    assert_eq!(account("beta"), (true, true, json!("trouble")));
    api.post("/v1/accounts", manual("delta", "1000000004")).is(201);
    assert_eq!(account("delta"), (true, true, json!("trouble")), "one that is made meanwhile");
    // A halt of its own over the one of all.
    halt("/v1/accounts/gamma/halt", true, "also its own");
    assert_eq!(account("gamma"), (true, false, json!("also its own")));
    let again = halt("/v1/halt", true, "once more").body;
    assert_eq!((&again["changed"], &again["since"], &again["reason"]), (&json!(0), &all["since"], &json!("trouble")));

    let ended = halt("/v1/halt", false, "").body;
    assert_eq!((&ended["halted"], &ended["accounts_halted"], &ended["changed"]), (&json!(false), &json!(2), &json!(2)));
    assert_eq!(
        [account("beta").0, account("delta").0, account("alpha").0, account("gamma").0],
        [false, false, true, true]
    );
    api.post("/v1/accounts", manual("epsilon", "1000000005")).is(201);
    assert!(!account("epsilon").0);
    api.put("/v1/halt", json!({})).names("halted");
}
