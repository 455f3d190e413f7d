//! Creating and changing accounts.

use serde_json::json;

use super::with_broker::{Browser, account, shows, world};
use crate::support::net;
use crate::support::wait::wait_until;
use crate::support::world::{PIN, TOTP, World};

/// The fields of account `n`, which logs in by itself from addresses that were brought along.
fn automatic(n: u16) -> [(&'static str, String); 6] {
    [
        ("platform", "DHAN_V2_AT_IPV6".to_owned()),
        ("client_id", World::client_id(n).to_string()),
        ("addresses", "own".to_owned()),
        ("primary", net::primary(n).to_string()),
        ("secondary", net::secondary(n).to_string()),
        ("pin", PIN.to_owned()),
    ]
}

fn with<'f>(fields: &'f [(&'static str, String)], more: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect()
}

/// The seed of this product: fill in, Validate and Save, and see that the account can trade.
#[test]
fn an_account_of_either_platform_is_created_and_validated() {
    let world = world();
    let mut browser = Browser::sign_in(&world, "admin");
    world.broker.add_account(World::broker_account(1));
    let fields = automatic(1);
    let made = with(&fields, &[("nickname", "Alpha One"), ("totp_secret", TOTP), ("do", "validate")]);
    let page = browser.post("/console/create", &made).is(303);
    assert_eq!(page.location, "/console/accounts/alpha-one/progress", "the name is made from the nickname");
    let page = shows(&mut browser, &page.location, "This account can trade.");
    page.has(&[
        "Saved.",
        "Logged in; the token lives until",
        "✔ Registration at Dhan",
        "✔ Clock",
        "Connect your program",
    ]);
    assert_eq!(account(&world, "alpha-one")["nickname"], "Alpha One");

    let token = world.at_the_broker(2);
    let mut fields = automatic(2).to_vec();
    fields[0].1 = "DHAN_V2_IPV6".to_owned();
    // A PIN that was typed before the other card was chosen is not this account's.
    let made = with(&fields, &[("name", "beta"), ("access_token", &token), ("do", "validate")]);
    let page = browser.post("/console/create", &made).is(303);
    shows(&mut browser, &page.location, "This account can trade.");
    let beta = account(&world, "beta");
    assert_eq!((&beta["platform"], &beta["secrets"]["pin"]["set"]), (&json!("DHAN_V2_IPV6"), &json!(false)));

    // Another of the same nickname gets another name.
    world.broker.add_account(World::broker_account(3));
    let fields = automatic(3);
    let made = with(&fields, &[("nickname", "Alpha One"), ("totp_secret", TOTP), ("do", "save")]);
    let page = browser.follow("/console/create", &made);
    page.has(&["alpha-one-2", "Saved."]);
}

/// What a person copies from Dhan's pages, mails and chats; the broker is who says that it is the right secret.
#[test]
fn secrets_are_taken_as_people_have_them() {
    let world = world();
    let mut browser = Browser::sign_in(&world, "admin");
    // Its last bits are no byte's.
    let odd = "JBSWY3DPEHPK3PXP7";
    let mut known = World::broker_account(1);
    known.totp_secret = odd.to_owned();
    world.broker.add_account(known);
    let mut fields = automatic(1).to_vec();
    fields[5].1 = format!("PIN: {}\u{a0}{}\u{200b}", &PIN[..3], &PIN[3..]);
    fields[1].1 = format!("\u{a0}{} {}", &fields[1].1[..5], &fields[1].1[5..]);
    let address = format!("\u{201c}otpauth://totp/Dhan:1?secret={odd}&digits=6&issuer=Dhan\u{201d}");
    let made = with(
        &fields,
        &[("name", "alpha"), ("totp_secret", &address), ("api_key", "app_id: a1b2 c3d4"), ("do", "validate")],
    );
    let page = browser.post("/console/create", &made).is(303);
    shows(&mut browser, &page.location, "Token: the broker accepts it");

    let token = world.at_the_broker(2);
    let broken = format!("\"{}\r\n  {}\",", &token[..70], &token[70..]);
    let mut fields = automatic(2).to_vec();
    fields[0].1 = "DHAN_V2_IPV6".to_owned();
    let cut = with(&fields, &[("name", "beta"), ("access_token", &token[..token.len() - 1]), ("do", "save")]);
    browser.post("/console/create", &cut).is(422).has(&["the signature, has 85 characters in place of 86"]);
    let made = with(&fields, &[("name", "beta"), ("access_token", &broken), ("do", "validate")]);
    let page = browser.post("/console/create", &made).is(303);
    // A token that is made now may end in market hours, and more is not asked of it here.
    shows(&mut browser, &page.location, "Token: the broker accepts it");
    let client_id = World::client_id(2).to_string();
    let look = [("access_token", broken.as_str()), ("client_id", client_id.as_str())];
    let look = browser.post("/console/look/token", &look).is(200);
    look.has(&[&format!("Of client id {client_id}"), "It ends at"]);
    assert!(browser.pages.iter().all(|page| !page.contains(odd) && !page.contains(&token[..70])));

    // By the API, and what is stored is what signs.
    let fresh = world.broker.mint_token(&World::client_id(2));
    let given = json!({ "access_token": format!("Bearer {}\n{}", &fresh[..90], &fresh[90..]) });
    let (status, answer) = world.gateway.admin().call("PUT", "/v1/accounts/beta/token", Some(&given));
    assert_eq!((status, answer["state"].as_str()), (200, Some("live")), "{answer}");
    let validated = world.post("/v1/accounts/beta/validate", &json!({}), 200);
    let checks = validated["checks"].as_array().unwrap();
    let lives = checks.iter().find(|check| check["name"] == "token").unwrap();
    assert_eq!(lives["ok"], true, "{validated}");
}

/// Nothing typed is ever lost, and no secret comes back in a page.
#[test]
fn what_was_typed_comes_back_with_what_is_wrong_beside_it() {
    let world = world();
    let mut browser = Browser::sign_in(&world, "admin");
    let (pin, key) = ("98765", "MRQXI2LTNZXXIYLTMVRXEZLU");
    let mut fields = automatic(1).to_vec();
    fields[5].1 = "12".to_owned();
    let made =
        with(&fields, &[("nickname", "R&D \"2\""), ("totp_secret", key), ("api_key", "key-0815"), ("do", "validate")]);
    let page = browser.post("/console/create", &made).is(422).has(&["a PIN is 4 to 6 digits", "Go to the field"]);
    assert_eq!(page.value("nickname").as_deref(), Some("R&D \"2\""));
    assert_eq!(page.value("client_id").unwrap(), World::client_id(1).to_string());
    assert_eq!(page.value("primary").unwrap(), net::primary(1).to_string());
    assert!(page.html.contains("id=\"pin-error\"") && page.html.contains("href=\"#pin\""), "{}", page.html);
    for secret in [key, "key-0815", "value=\"12\""] {
        assert!(!page.html.contains(secret), "{secret}");
    }
    assert_eq!(world.gateway.admin().get("/v1/accounts/r-d-2").0, 404, "nothing was made");

    // Whoever left the form as it was is told all of it, and not one thing each time.
    let made = [("platform", "DHAN_V2_AT_IPV6"), ("client_id", "ABC1"), ("totp_secret", "x"), ("do", "save")];
    let page = browser.post("/console/create", &made).is(422).has(&[
        "4 fields are not as they should be",
        "Name: give the account a nickname or a name",
        "Dhan client id: a Dhan client id is 1 to 20 digits",
        "PIN: is missing; DHAN_V2_AT_IPV6 logs in by PIN and TOTP",
        "TOTP key: ",
    ]);
    for field in ["name", "client_id", "pin", "totp_secret"] {
        assert!(page.html.contains(&format!("id=\"{field}-error\"")), "{field}: {}", page.html);
        assert!(page.html.contains(&format!("<a href=\"#{field}\">")), "{field}: {}", page.html);
    }
    assert!(!page.html.contains("id=\"nickname-error\""), "{}", page.html);

    // Addresses are looked at before anything is saved, and a nickname may have no letter that a name has.
    let own = [
        ("platform", "DHAN_V2_AT_IPV6"),
        ("nickname", "रवि खाता"),
        ("client_id", "1000000001"),
        ("pin", PIN),
        ("totp_secret", TOTP),
        ("addresses", "own"),
        ("primary", "192.168.1.1"),
        ("secondary", "hello"),
        ("do", "save"),
    ];
    let told = ["3 fields are not as they should be", "Name: the nickname has no letter", "Primary: ", "Secondary: "];
    let page = browser.post("/console/create", &own).is(422).has(&told);
    assert_eq!(page.value("primary").as_deref(), Some("192.168.1.1"));
    assert_eq!(world.gateway.admin().get("/v1/accounts").1["items"], json!([]), "nothing was made");

    // A name and a customer that are taken are told beside their fields.
    let fields = automatic(1);
    let made = with(&fields, &[("name", "one"), ("totp_secret", TOTP), ("do", "save")]);
    browser.post("/console/create", &made).is(303);
    let again = browser.post("/console/create", &made).is(409);
    assert!(again.html.contains("id=\"name-error\""), "{}", again.text());
    let made = with(&fields, &[("name", "two"), ("totp_secret", TOTP), ("do", "save")]);
    let again = browser.post("/console/create", &made).is(409);
    assert!(again.html.contains("id=\"client_id-error\""), "{}", again.text());
    // Another account's token.
    let token = world.at_the_broker(7);
    let by_hand =
        [("platform", "DHAN_V2_IPV6"), ("name", "two"), ("client_id", "1000000009"), ("access_token", &token)];
    let page = browser.post("/console/create", &by_hand).is(422).has(&["this token is for client id 1000000007"]);
    assert!(!page.html.contains(&token), "the token came back");
    let looked = browser.post("/console/look/token", &by_hand).is(200);
    looked.has(&["This token is another account's: of client id 1000000007", "It ends at"]);
    assert!(browser.pages.iter().all(|page| !page.contains(pin) && !page.contains(key) && !page.contains(&token)));
}

/// The addresses are seen, and copied to Dhan, before anything is saved.
#[test]
fn auto_assign_shows_the_pair_that_will_be_given() {
    let world = world();
    let mut browser = Browser::sign_in(&world, "admin");
    let none = browser.post("/console/create", &[("assign", "1"), ("nickname", "kept")]).is(422);
    none.has(&["there is no pool yet"]);
    let pool = json!({ "name": "main", "primary": "2001:db8:a1::/64", "secondary": "2001:db8:a2::/64" });
    world.post("/v1/pools", &pool, 201);
    let form = [("assign", "1"), ("nickname", "Kept Here"), ("addresses", "pool"), ("client_id", "1000000001")];
    let page = browser.post("/console/create", &form).is(200).has(&["Set aside for you until"]);
    assert_eq!(page.value("nickname").as_deref(), Some("Kept Here"));
    let (primary, id) = (page.value("reserved_primary").unwrap(), page.value("reservation").unwrap());
    assert!(primary.starts_with("2001:db8:a1::"), "{primary}");
    assert_eq!(world.gateway.admin().get("/v1/pools/main").1["reserved"], 1);

    let hidden: Vec<(String, String)> = ["reserved_pool", "reserved_secondary", "reserved_until"]
        .iter()
        .map(|name| ((*name).to_owned(), page.value(name).unwrap()))
        .collect();
    let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.extend([("nickname", "Kept Here"), ("addresses", "pool"), ("client_id", "1000000001"), ("do", "save")]);
    fields.extend([("reserved_primary", primary.as_str()), ("reservation", id.as_str()), ("platform", "DHAN_V2_IPV6")]);
    // Pressed twice: the pair of before is free again.
    let again = browser.post("/console/create", &[&[("assign", "1")][..], &fields].concat()).is(200);
    assert_eq!(world.gateway.admin().get("/v1/pools/main").1["reserved"], 1);
    let hidden = ["reserved_pool", "reserved_primary", "reserved_secondary", "reserved_until", "reservation"];
    let hidden: Vec<_> = hidden.iter().map(|name| (*name, again.value(name).unwrap())).collect();
    let mut fields: Vec<_> = hidden.iter().map(|(name, value)| (*name, value.as_str())).collect();
    fields.extend([("nickname", "Kept Here"), ("addresses", "pool"), ("client_id", "1000000001"), ("do", "save")]);
    fields.push(("platform", "DHAN_V2_IPV6"));
    browser.follow("/console/create", &fields);
    let made = account(&world, "kept-here");
    let primary = again.value("reserved_primary").unwrap();
    assert_eq!(made["pair"]["primary"], primary.as_str());
    assert_eq!(world.gateway.admin().get("/v1/pools/main").1["reserved"], 0);

    // Somebody's address is told with its owner, before saving.
    let look = browser.post("/console/look/addresses", &[("primary", &primary), ("secondary", "fe80::1")]).is(200);
    look.has(&[
        "The account kept-here has it.",
        "It is in the pool main",
        "a link-local address does not leave its link",
    ]);
}

/// The code of the typed key is compared with the person's own app before Dhan judges it.
#[test]
fn the_code_of_a_totp_key_is_shown_and_nothing_is_kept() {
    let world = world();
    let mut browser = Browser::sign_in(&world, "admin");
    world.broker.add_account(World::broker_account(1));
    let mut seen = None;
    wait_until("a code that is the broker's too", super::with_broker::LIMIT, || {
        let page = browser
            .post("/console/look/totp", &[("totp_secret", TOTP)])
            .is(200)
            .has(&["Your authenticator should show"]);
        let code = world.broker.totp_now(&World::client_id(1)).unwrap();
        seen = Some(page.text().contains(&format!("{} {}", &code[..3], &code[3..])));
        seen == Some(true)
    });
    browser.post("/console/look/totp", &[("totp_secret", "not base32 at all")]).is(200).has(&["✘"]);
    assert!(browser.pages.iter().all(|page| !page.contains(TOTP)));
}

/// Secrets are kept, given anew or removed; and who saves over somebody else's change is told first.
#[test]
fn an_account_is_edited_without_its_secrets_being_shown() {
    let world = world();
    let mut browser = Browser::sign_in(&world, "admin");
    let fields = json!({ "name": "alpha", "platform": "DHAN_V2_AT_IPV6", "client_id": "1000000001", "pin": PIN, "totp_secret": TOTP,
        "api_key": "key-4711", "api_secret": "5e7c1a9b-0000-4000-8000-0000000000d1", "nickname": "Old" });
    world.post("/v1/accounts", &fields, 201);
    let page = browser.get("/console/accounts/alpha/edit").is(200).has(&["leave empty to keep", "Remove the API key"]);
    assert!(page.html.contains("<option value=\"pass_on\" selected"), "{}", page.html);
    assert_eq!(page.value("nickname").as_deref(), Some("Old"));
    for secret in [PIN, TOTP, "key-4711"] {
        assert!(!page.html.contains(secret), "{secret}");
    }
    let version = page.value("version").unwrap();
    let save = |browser: &mut Browser<'_>, version: &str, nickname: &str| {
        let form = [
            ("version", version),
            ("platform", "DHAN_V2_AT_IPV6"),
            ("nickname", nickname),
            ("remove", "api_key"),
            ("remove", "api_secret"),
            ("client_id", "1000000001"),
            ("addresses", "own"),
            ("streams", "share"),
            ("do", "save"),
        ];
        browser.post("/console/accounts/alpha/edit", &form)
    };
    save(&mut browser, &version, "New").is(303);
    let alpha = account(&world, "alpha");
    assert_eq!((&alpha["nickname"], &alpha["secrets"]["api_key"]["set"]), (&json!("New"), &json!(false)));
    assert_eq!(alpha["streams"], "share");
    assert_eq!(
        (&alpha["secrets"]["pin"]["set"], &alpha["secrets"]["totp_secret"]["set"]),
        (&json!(true), &json!(true))
    );
    let conflict = save(&mut browser, &version, "Mine").is(412);
    let conflict = conflict.has(&["Somebody else saved this account", "New", "Mine"]);
    save(&mut browser, &conflict.value("version").unwrap(), "Mine").is(303);
    assert_eq!(account(&world, "alpha")["nickname"], "Mine");
}

/// Who mistypes the one number that all depends on does not burn two addresses for it.
#[test]
fn a_mistyped_client_id_is_mended_and_the_addresses_stay() {
    let world = world();
    let mut browser = Browser::sign_in(&world, "admin");
    let token = world.at_the_broker(2);
    let mut fields = automatic(2).to_vec();
    fields[0].1 = "DHAN_V2_IPV6".to_owned();
    fields[1].1 = "1000000099".to_owned();
    browser.post("/console/create", &with(&fields, &[("name", "beta"), ("do", "save")])).is(303);
    let page = browser.get("/console/accounts/beta/edit").is(200).has(&["until it has logged in once"]);
    assert_eq!(page.value("client_id").as_deref(), Some("1000000099"));
    let (version, right) = (page.value("version").unwrap(), World::client_id(2).to_string());
    let mended =
        [("version", &*version), ("platform", "DHAN_V2_IPV6"), ("client_id", &right), ("access_token", &token)];
    browser.post("/console/accounts/beta/edit", &with(&[], &mended)).is(303);
    let page = shows(&mut browser, "/console/accounts/beta/progress", "This account can trade.");
    page.has(&[&net::primary(2).to_string(), "Saved."]);
    let page =
        browser.get("/console/accounts/beta/edit").is(200).has(&["It cannot change while the account has addresses"]);
    assert_eq!(page.value("client_id"), Some(right), "sent along, and no field");
}
