//! Replies as the broker writes them (`tests/fixtures/dhan`), and as it should not.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::tokens::lifecycle::{Consumer, RetryAdvice, TokenSource};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/dhan/", $name, ".json"))
    };
}

fn answer(status: u16, body: &str) -> HttpReply {
    let body = Zeroizing::new(body.as_bytes().to_vec());
    HttpReply { status, content_type: Some("application/json".to_owned()), body }
}

fn exchange(status: u16, body: &str) -> CallOutcome {
    CallOutcome { answer: Ok(answer(status, body)), skew: None, leg: Some(Role::Primary), source: None }
}

fn id() -> ClientId {
    ClientId::parse("1000000001").unwrap()
}

/// Before the fixtures' tokens end.
fn now() -> Timestamp {
    Timestamp::from_second(1_795_401_000).unwrap()
}

/// What a login of the fixtures' account makes of a reply.
fn judged(status: u16, body: &str, context: Context) -> Answered<Minted> {
    let secrets = ["123456", "654321"];
    judge(exchange(status, body), context, &secrets, |answer, _| token::minted(answer, &id(), now())).answered
}

fn refused(status: u16, body: &str, context: Context) -> Refusal {
    let judged = judged(status, body, context);
    if let Answered::Refused(refusal) = judged { refusal } else { panic!("{judged:?} for {body}") }
}

fn jwt(claims: &Value) -> String {
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    format!("{}.{}.{}", part(r#"{"alg":"HS512"}"#), part(&claims.to_string()), part("signature"))
}

fn minted(client_id: &str, exp: i64, more: &Value) -> String {
    let mut body = json!({ "accessToken": jwt(&json!({ "exp": exp, "dhanClientId": client_id })) });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

#[test]
fn each_kind_of_login_brings_a_token_with_its_times() {
    for (body, context, issued, expires, consumer) in [
        (fixture!("auth/generate-access-token.200.ok"), Context::Login, 1_795_401_000, 1_795_487_400, Consumer::App),
        (fixture!("auth/renew-token.200.ok"), Context::Renew, 1_795_404_600, 1_795_491_000, Consumer::SelfMade),
        (fixture!("auth/consent-consume.200.ok"), Context::Consent, 1_795_408_200, 1_795_494_600, Consumer::App),
    ] {
        let Answered::Good(minted) = judged(200, body, context) else { panic!("{body}") };
        let facts = minted.facts(7, TokenSource::PinTotp);
        assert_eq!((facts.generation, facts.source, facts.consumer), (7, TokenSource::PinTotp, consumer));
        assert_eq!((facts.issued_at.as_second(), facts.expires_at.as_second()), (issued, expires));
        assert!(body.contains(minted.token.expose_secret()));
        assert!(!format!("{minted:?}").contains(minted.token.expose_secret()));
    }
}

/// What a refusal means decides whether the next try locks the account.
#[test]
fn refusals_are_what_they_are_for_the_next_try() {
    let retry = |seconds| RetryAdvice::RetryAfter(Duration::from_secs(seconds));
    let html = "<!DOCTYPE html><html></html>";
    use Context::{Consent, Login, Renew};
    for (status, body, context, verdict, counts) in [
        (200, fixture!("auth/generate-access-token.200.error-cooldown"), Login, retry(130), false),
        (200, fixture!("auth/generate-access-token.200.error-invalid-pin"), Login, RetryAdvice::AskPerson, true),
        (200, fixture!("auth/generate-access-token.200.error-invalid-totp"), Login, RetryAdvice::NextWindow, true),
        (401, fixture!("auth/generate-access-token.401.unauthorized"), Login, RetryAdvice::AskPerson, false),
        (200, fixture!("auth/internal-login-totp-rejected"), Login, RetryAdvice::NextWindow, true),
        (500, fixture!("auth/renew-token.500.wrong-token-type"), Renew, RetryAdvice::WrongKind, false),
        (400, fixture!("auth/renew-token.400.post-verb"), Renew, RetryAdvice::AskPerson, false),
        (401, fixture!("auth/renew-token.401.expired"), Renew, RetryAdvice::TokenDead, false),
        (400, fixture!("profile/profile.400.revoked-token"), Renew, RetryAdvice::TokenDead, false),
        (200, fixture!("auth/consent-generate.200.limit-exceeded"), Consent, retry(86_400), false),
        (401, fixture!("auth/consent-generate.401.bad-app-headers"), Consent, RetryAdvice::AskPerson, false),
        (429, "", Login, retry(130), false),
        (502, html, Login, RetryAdvice::Unknown, false),
        (200, html, Login, RetryAdvice::Unknown, false),
        (200, html, Renew, RetryAdvice::Unknown, false),
        (500, "{}", Consent, RetryAdvice::Unknown, false),
        (200, "", Login, RetryAdvice::Unknown, false),
        (200, "{}", Login, RetryAdvice::Unknown, false),
        (200, r#"{"accessToken":""}"#, Login, RetryAdvice::Unknown, false),
        (200, r#"{"accessToken":7}"#, Login, RetryAdvice::Unknown, false),
        (200, r#"{"accessToken":"eyJ"#, Login, RetryAdvice::Unknown, false),
        (302, "", Login, RetryAdvice::Unknown, false),
    ] {
        let refusal = refused(status, body, context);
        assert_eq!((refusal.verdict, refusal.login_refusal), (verdict, counts), "{status} {context:?} {body}");
        assert!(!refusal.trouble.summary.is_empty() && !refusal.trouble.action.ends_with('.'), "{refusal:?}");
    }
}

/// A broker that quotes what it was sent must not bring a PIN into the log.
#[test]
fn the_brokers_words_are_told_without_what_was_sent() {
    let said = refused(200, fixture!("auth/generate-access-token.200.error-invalid-pin"), Context::Login);
    assert!(said.trouble.summary.ends_with("the broker says \"Invalid Pin\""), "{said:?}");
    let quoted = refused(200, r#"{"status":"error","message":"123456 is not yours"}"#, Context::Login);
    assert!(!format!("{quoted:?}").contains("123456"), "{quoted:?}");
}

/// Another account's token would place this account's orders there.
#[test]
fn a_token_is_taken_only_if_it_is_this_accounts_and_alive() {
    let (exp, none) = (1_795_487_400, json!({}));
    for (body, code) in [
        (minted("1000000002", exp, &none), "token_of_another_account"),
        (minted("1000000001", 1_795_401_000, &none), "token_ended_already"),
        (minted("1000000001", i64::MAX, &none), "token_ended_already"),
        (json!({ "accessToken": "an-opaque-token" }).to_string(), "token_unreadable"),
    ] {
        let refusal = refused(200, &body, Context::Login);
        assert_eq!((refusal.trouble.code.as_ref(), refusal.verdict), (code, RetryAdvice::AskPerson), "{body}");
        let told = format!("{refusal:?}");
        assert!(!told.contains("eyJhbGci") && !told.contains("an-opaque-token"), "{told}");
    }
    // What the reply says beside the token never wins over it.
    for said in [json!("2026-11-24T02:30:00"), json!("x"), json!(null), json!(1), json!(i64::MIN), json!({})] {
        let body = minted("1000000001", exp, &json!({ "expiryTime": said }));
        let Answered::Good(minted) = judged(200, &body, Context::Login) else { panic!("{body}") };
        assert_eq!((minted.expires_at.as_second(), minted.consumer), (exp, Consumer::Unknown));
        assert_eq!(minted.issued_at, now(), "it does not say, so it is when it came");
    }
}

/// The link is opened by a person; the id comes from a reply.
#[test]
fn a_login_link_is_made_of_a_plain_id_only() {
    let link = |body: &str| {
        let auth = Authority::parse("auth.dhan.co", Some(443)).unwrap();
        judge(exchange(200, body), Context::Consent, &[], |answer, _| token::consent_link(answer, &auth)).answered
    };
    let Answered::Good(made) = link(fixture!("auth/consent-generate.200.ok")) else { panic!("no link") };
    let id = "11111111-2222-4333-8444-555555555555";
    assert_eq!(made.url, format!("https://auth.dhan.co/login/consentApp-login?consentAppId={id}"));
    assert_eq!(made.consent_app_id, id);
    for bad in [json!("../../x?consentAppId=1"), json!("a&b=12345678"), json!(""), json!(7), json!(null)] {
        let body = json!({ "consentAppId": bad, "status": "success" }).to_string();
        assert!(matches!(link(&body), Answered::Refused(_)), "{body}");
    }
    for bad in ["", "short", "with blank 1234", "a/../../b1234", "x\u{e9}xxxxxxxxx", &"x".repeat(129)] {
        let said = check_token_id(bad).unwrap_err().to_string();
        assert!(bad.is_empty() || !said.contains(bad), "{said}");
    }
}

/// A second request after one that did something would be refused, and hide the first.
#[test]
fn only_a_refused_verb_is_tried_by_the_other_one() {
    for (status, body, refuses) in [
        (405, "", true),
        (404, "not found", true),
        (400, fixture!("auth/renew-token.400.post-verb"), true),
        (400, r#"{"status":"error","message":"Invalid Token Id"}"#, false),
        (400, "", false),
        (401, fixture!("auth/consent-generate.401.bad-app-headers"), false),
        (500, fixture!("auth/renew-token.500.wrong-token-type"), false),
        (200, fixture!("auth/consent-consume.200.ok"), false),
        (200, "", false),
    ] {
        assert_eq!(token::refuses_verb(&answer(status, body)), refuses, "{status} {body}");
    }
}

/// A token that is taken for dead is thrown away; one taken for alive signs orders.
#[test]
fn a_profile_proves_a_tokens_life_or_death_or_neither() {
    let read = |status, body: &str| profile::read(Ok(answer(status, body)), &id(), "secret-token");
    let lives = read(200, fixture!("profile/profile.200.ok"));
    assert_eq!((lives.outcome, lives.data_plan, lives.trouble), (CheckOutcome::Lives, Some(true), None));
    assert_eq!(lives.valid_until.unwrap().to_string(), "2026-11-24T02:30:00Z");
    assert_eq!(read(200, fixture!("profile/profile.200.no-data-plan")).data_plan, Some(false));
    let other = fixture!("profile/profile.200.ok").replace("1000000001", "1000000002");
    for (status, body, outcome) in [
        (400, fixture!("profile/profile.400.revoked-token"), CheckOutcome::Dead),
        (401, fixture!("auth/renew-token.401.expired"), CheckOutcome::Dead),
        (200, other.as_str(), CheckOutcome::Dead),
        (500, fixture!("profile/profile.400.revoked-token"), CheckOutcome::Unclear),
        (429, "", CheckOutcome::Unclear),
        (200, "<html></html>", CheckOutcome::Unclear),
        (200, "", CheckOutcome::Unclear),
        (200, "[]", CheckOutcome::Unclear),
        (200, "{}", CheckOutcome::Unclear),
        (302, "", CheckOutcome::Unclear),
    ] {
        let profile = read(status, body);
        assert_eq!(profile.outcome, outcome, "{status} {body}");
        assert!(profile.trouble.is_some(), "{status} {body}");
    }
    let lost = profile::read(Err(NoAnswer::Unknown("cut".into())), &id(), "");
    assert_eq!(lost.outcome, CheckOutcome::NoAnswer);
}

fn registered(status: u16, body: &str) -> Answered<Registered> {
    address::read(exchange(status, body), "secret-token").answered
}

fn parsed(body: &str) -> Registered {
    registered(200, body).into_result().unwrap()
}

fn slot(address: &str, day: &str) -> Slot {
    Slot { holds: Holds::Address(address.parse().unwrap()), change_allowed_from: Some(day.parse().unwrap()) }
}

/// Each shape in which the answer was seen: a slot that is read wrong is a pair that
/// is registered wrong, for a week.
#[test]
fn the_registration_is_read_in_every_shape() {
    let (one, two) = ("2001:db8:7a11:1::a1", "2001:db8:7a11:2::a1");
    let empty = || Slot { holds: Holds::Empty, change_allowed_from: None };
    let ip = |text: &str| text.parse::<IpAddr>().ok();
    let full = parsed(fixture!("ip/get-ip.200.secondary-match"));
    assert_eq!(full.slot(Role::Primary), &slot(one, "2026-11-28"));
    assert_eq!(full.slot(Role::Secondary), &slot(two, "2026-11-30"));
    assert_eq!((full.detected, full.orders_allowed), (ip(two), Some(true)));
    assert_eq!(full.match_status.as_deref(), Some("SECONDARY_MATCH"));

    let documented = parsed(fixture!("ip/get-ip.200.documented-4-fields"));
    assert_eq!((&documented.primary, &documented.secondary), (&slot(one, "2026-11-28"), &slot(two, "2026-11-30")));
    assert_eq!((documented.detected, documented.match_status, documented.orders_allowed), (None, None, None));

    let none = parsed(fixture!("ip/get-ip.200.not-configured"));
    assert_eq!((&none.primary, &none.secondary, none.orders_allowed), (&empty(), &empty(), Some(false)));

    let mixed = parsed(fixture!("ip/get-ip.200.mismatch-ipv4-over-ipv6"));
    assert_eq!((&mixed.primary, &mixed.secondary), (&slot("203.0.113.42", "2026-11-28"), &empty()));
    assert_eq!(mixed.detected, ip("2001:db8:bad::1"));

    let single = parsed(fixture!("ip/get-ip.200.alt-wire-single"));
    assert_eq!((&single.primary, &single.secondary), (&slot("203.0.113.42", "2026-11-28"), &empty()));
    assert_eq!((single.match_status.as_deref(), single.detected), (Some("MATCH"), ip("203.0.113.42")));

    let listed = r#"{"data":[{"ip":"2001:DB8:0:0::1","ipFlag":"primary"},{"ip":"2001:db8::2","ipFlag":"SECONDARY"}]}"#;
    let listed = parsed(listed);
    assert!(listed.primary.holds.is("2001:db8::1".parse().unwrap()));
    assert!(listed.secondary.holds.is("2001:db8::2".parse().unwrap()));
}

/// As what the broker saw a leg. A word, a member or a container that nobody knows is
/// never taken for a match; and a member that changes its meaning stops nobody.
#[test]
fn what_the_broker_saw_is_known_or_not_known_and_never_guessed() {
    let own: Ipv6Addr = "2001:db8::a1".parse().unwrap();
    let from = |body: &str| parsed(body).seen_from(Role::Primary, own).map(|seen| seen.to_string());
    let with = |detected: &str, status: &str, primary: &str| {
        format!(r#"{{"primaryIP":"{primary}","detectedIP":"{detected}","ipMatchStatus":"{status}"}}"#)
    };
    let (mine, other) = ("2001:DB8:0:0::A1", "2001:db8::ff");
    assert_eq!(from(&with(mine, "MISMATCH", "NA")).as_deref(), Some("2001:db8::a1"));
    for (status, primary) in [("MISMATCH", mine), ("SECONDARY_MATCH", mine), ("PRIMARY_MATCH", other), ("OK", mine)] {
        assert_eq!(from(&with(other, status, primary)).as_deref(), Some(other), "{status} {primary}");
    }
    assert_eq!(from(&with("203.0.113.9", "MISMATCH", mine)).as_deref(), Some("203.0.113.9"));
    assert_eq!(from(&with(other, "PRIMARY_MATCH", mine)), None, "it contradicts itself");
    for nothing in
        ["", "NA", "unknown", "10.1.2.3", "100.64.1.1", "127.0.0.1", "::1", "fe80::1", "2001:db8::a1, 10.0.0.1"]
    {
        assert_eq!(from(&with(nothing, "MISMATCH", mine)), None, "{nothing}");
    }
    assert_eq!(from(&format!(r#"[{}]"#, with(other, "MISMATCH", mine))).as_deref(), Some(other), "in an array");
    assert_eq!(from(r#"{"primaryIP":"2001:db8::a1","ordersAllowed":"perhaps"}"#), None);
    assert_eq!(parsed(r#"{"primaryIP":"2001:db8::a1","ordersAllowed":"perhaps"}"#).orders_allowed, None);
    for error in [
        r#"[{"message":"Something went wrong","status":"ERROR"}]"#,
        r#"[{"message":"Something went wrong","status":"error","detectedIP":"2001:db8::ff"}]"#,
        r#"{"status":"ERROR","detectedIP":"2001:db8::ff"}"#,
        r#"{"data":[{"status":"ERROR","message":"x","detectedIP":"2001:db8::ff"}]}"#,
        r#"[{"detectedIP":"2001:db8::ff"},{"status":"ERROR"}]"#,
    ] {
        let Answered::Refused(refusal) = registered(200, error) else { panic!("{error}") };
        // Only what was measured where nothing is registered leads to a registration.
        let bare = error == r#"[{"message":"Something went wrong","status":"ERROR"}]"#;
        assert_eq!(is_unreported(&refusal), bare, "{error}");
    }
}

/// What is not known to be empty must not be filled.
#[test]
fn a_slot_that_is_not_told_of_is_not_empty() {
    for body in [
        r#"{"ip":"203.0.113.42","ipFlag":"PRIMARY","ipMatchStatus":"MATCH"}"#,
        r#"{"ip":"203.0.113.42","ipFlag":"PRIMARY","modifyDateSecondary":"2026-11-30"}"#,
        r#"{"primaryIP":"203.0.113.42","modifyDateSecondary":"2026-11-30"}"#,
    ] {
        assert_eq!(parsed(body).secondary.holds, Holds::Unreported, "{body}");
    }
    for nothing in [r#""NA""#, r#""na""#, r#""""#, "null", r#"" ""#] {
        let body = format!(r#"{{"primaryIP":"203.0.113.42","secondaryIP":{nothing}}}"#);
        assert_eq!(parsed(&body).secondary.holds, Holds::Empty, "{body}");
    }
    assert_eq!(parsed(r#"{"primaryIP":"203.0.113.42"}"#).secondary.holds, Holds::Empty);
    let strange = parsed(r#"{"primaryIP":"PENDING \u001b[31m","secondaryIP":7,"ordersAllowed":"false"}"#);
    assert_eq!(strange.primary.holds, Holds::Strange("PENDING [31m".into()));
    assert_eq!(strange.secondary.holds, Holds::Strange("7".into()));
    assert_eq!(strange.orders_allowed, Some(false));
}

/// One user got an error where nothing was registered; a dead token is an error too,
/// and must not look like two empty slots.
#[test]
fn an_error_is_an_empty_registration_only_when_it_says_so() {
    let nothing = Slot { holds: Holds::Empty, change_allowed_from: None };
    for (status, body) in [
        (200, r#"{"status":"ERROR","message":"No IP configured for this client"}"#),
        (404, r#"{"status":"ERROR","message":"Static IP is not set"}"#),
        (
            400,
            r#"{"errorType":"Data_Error","errorCode":"DH-907","errorMessage":"System is unable to fetch data due to incorrect parameters or no data present."}"#,
        ),
    ] {
        let told = registered(status, body).into_result().unwrap();
        assert_eq!((&told.primary, &told.secondary), (&nothing, &nothing), "{body}");
    }
    for (status, body) in [
        (400, fixture!("profile/profile.400.revoked-token")),
        (401, fixture!("auth/renew-token.401.expired")),
        (400, r#"{"errorType":"Input_Exception","errorCode":"DH-905","errorMessage":"Invalid IP"}"#),
        (400, r#"{"status":"ERROR","message":"This IP is not allowed"}"#),
        (500, r#"{"status":"ERROR","message":"No IP configured"}"#),
        (429, ""),
        (200, "<html></html>"),
        (200, "{}"),
        (200, "[]"),
        (200, ""),
        (200, r#"{"primaryIP":"#),
    ] {
        assert!(matches!(registered(status, body), Answered::Refused(_)), "{status} {body}");
    }
}

#[test]
fn a_saved_address_is_one_that_the_broker_says_is_saved() {
    let saved = |status, body: &str| {
        judge(exchange(status, body), Context::Trading, &[], |answer, _| address::saved(answer)).answered
    };
    assert_eq!(saved(200, fixture!("ip/set-ip.200.ok")), Answered::Good(()));
    assert_eq!(saved(200, fixture!("ip/modify-ip.200.ok")), Answered::Good(()));
    let locked = saved(200, fixture!("ip/set-ip.error.locked")).into_result().unwrap_err();
    assert!(locked.contains("IP can be modified only after 7 days"), "{locked}");
    for (status, body) in [(200, "{}"), (200, ""), (502, "<html>"), (202, r#"{"status":"PENDING"}"#)] {
        assert!(matches!(saved(status, body), Answered::Refused(_)), "{status} {body}");
    }
    let body: Value = serde_json::from_str(&address::body(
        &id(),
        Role::Secondary,
        SourceAddr::parse("2001:0DB8:7a11:2:0::a1").unwrap(),
    ))
    .unwrap();
    assert_eq!(body, json!({"dhanClientId": "1000000001", "ip": "2001:db8:7a11:2::a1", "ipFlag": "SECONDARY"}));
}
