//! A test per row of the error table, from the fixtures.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::Context::{Consent, Data, Login, Renew, Trading};
use super::*;

/// A fixture of `tests/fixtures/dhan`.
macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/dhan/", $name))
    };
}

const HTML: &str = "<!DOCTYPE html>\n<html><body><h1>403 ERROR</h1>Request blocked.</body></html>";
const CODES: &str = fixture!("errors/trading-api-errors.json");
const DATA_CODES: &str = fixture!("errors/data-api-errors.json");
const COOLDOWN: &str = fixture!("auth/generate-access-token.200.error-cooldown.json");
const BAD_TOTP: &str = fixture!("auth/generate-access-token.200.error-invalid-totp.json");
const BAD_PIN: &str = fixture!("auth/generate-access-token.200.error-invalid-pin.json");
const UNAUTHORIZED_REQUEST: &str = fixture!("auth/generate-access-token.401.unauthorized.json");
const UNAUTHORIZED: &str = fixture!("auth/consent-generate.401.bad-app-headers.json");
const CONSENT_LIMIT: &str = fixture!("auth/consent-generate.200.limit-exceeded.json");
const TOO_MANY: &str = fixture!("auth/internal-login-too-many.json");
const NOT_VALID: &str = fixture!("auth/internal-login-totp-rejected.json");
const WRONG_TYPE: &str = fixture!("auth/renew-token.500.wrong-token-type.json");
const POST_VERB: &str = fixture!("auth/renew-token.400.post-verb.json");
const RENEW_EXPIRED: &str = fixture!("auth/renew-token.401.expired.json");
const REVOKED: &str = fixture!("profile/profile.400.revoked-token.json");
const INVALID_IP: &str = fixture!("orders/place-order.400.invalid-ip.json");
const DH_911: &str = fixture!("orders/place-order.403.dh-911.json");
const BAD_FIELD: &str = fixture!("orders/place-order.400.bad-field.json");
const ORDER_LIMIT: &str = fixture!("orders/place-order.429.rate-limited.json");
const DATA_LIMIT: &str = fixture!("data/any.429.rate-limited.json");
const DATA_BAD_TOKEN: &str = fixture!("data/any.401.bad-token.json");
const DATA_EXPIRED: &str = fixture!("data/any.401.expired-token.json");
const NOT_SUBSCRIBED: &str = fixture!("data/any.403.not-subscribed.json");
const PORTAL: &str = fixture!("errors/portal-style-error.json");
const CHARTS_BAD_TOKEN: &str = fixture!("data/charts.400.bad-token.json");
const CHARTS_NO_PLAN: &str = fixture!("data/charts.401.not-subscribed.json");
const CHARTS_LIMIT: &str = fixture!("data/charts.429.rate-limited.json");
const QUOTES_NO_PLAN: &str = fixture!("data/any.401.not-subscribed.json");
const BAD_SECURITY: &str = fixture!("data/optionchain.400.invalid-security.json");
const EXTERNAL_UNKNOWN: &str = fixture!("orders/get-order-by-correlation-id.404.not-found.json");
const IN_TRANSIT: &str = fixture!("orders/cancel-order.400.in-transit.json");
const CLOSED: &str = fixture!("orders/modify-order.400.market-closed.json");
const TRIGGER: &str = fixture!("orders/place-order.400.trigger-price.json");
const BAD_CORRELATION: &str = fixture!("orders/place-order.400.invalid-correlation-id.json");
const NO_QUANTITY: &str = fixture!("orders/place-order.400.quantity-required.json");
const NO_HOLDINGS: &str = fixture!("portfolio/holdings.500.empty.json");
const FRONT_404: &str = fixture!("errors/gateway-404.json");
const LOCKED: &str = fixture!("ip/set-ip.error.locked.json");

/// What is known to come, or (where nobody has measured it) with every status it
/// may come with: row, statuses, who asked, body.
const CASES: &[(&str, &[u16], Context, &str)] = &[
    ("source_refused", &[400], Trading, INVALID_IP),
    ("source_refused", &[400, 403], Trading, DH_911),
    (
        "source_refused",
        &[400],
        Trading,
        r#"{"status":"failed","data":{"905":"x","errorMessage":"Invalid IP address."}}"#,
    ),
    ("source_refused", &[403], Login, DH_911),
    ("token_superseded", &[400, 401], Trading, REVOKED),
    ("token_superseded", &[400], Renew, REVOKED),
    ("token_superseded", &[200, 400], Trading, r#"{"status":"failed","data":"Invalid Token"}"#),
    ("token_superseded", &[400], Trading, r#"{"message":"DH-906: Invalid Token."}"#),
    ("token_expired", &[400, 401], Data, DATA_EXPIRED),
    ("token_refused", &[400, 401], Data, DATA_BAD_TOKEN),
    ("token_refused", &[401], Trading, r#"{"data":{"809":"Access token is invalid"},"status":"failed"}"#),
    ("token_refused", &[401, 500], Renew, RENEW_EXPIRED),
    ("token_superseded", &[400], Data, CHARTS_BAD_TOKEN),
    ("access_missing", &[401, 403], Data, CHARTS_NO_PLAN),
    ("data_not_subscribed", &[401], Data, QUOTES_NO_PLAN),
    ("rate_limited", &[429], Data, CHARTS_LIMIT),
    ("security_id_invalid", &[400], Data, BAD_SECURITY),
    ("order_refused", &[404], Trading, EXTERNAL_UNKNOWN),
    ("order_refused", &[400], Trading, IN_TRANSIT),
    ("order_refused", &[400], Trading, CLOSED),
    ("order_refused", &[400], Trading, TRIGGER),
    ("input_refused", &[400], Trading, BAD_CORRELATION),
    ("input_refused", &[400], Trading, NO_QUANTITY),
    ("input_refused", &[400], Trading, r#"{"errorCode":"DH-905","errorMessage":"Invalid correlationId: Invalid IP"}"#),
    (
        "input_refused",
        &[400],
        Data,
        r#"{"errorCode":"DH-905","errorMessage":"Data for Intraday Charts can be fetched for 90 days at a time"}"#,
    ),
    ("order_refused", &[400], Trading, r#"{"errorCode":"DH-906","errorMessage":"Transaction has Failed"}"#),
    ("portfolio_empty", &[500], Trading, NO_HOLDINGS),
    ("unknown_refusal", &[404], Trading, FRONT_404),
    (
        "token_must_be_regenerated",
        &[200, 400, 401],
        Trading,
        r#"{"status":"error","message":"Please regenerate the API token on Dhan"}"#,
    ),
    ("client_id_invalid", &[400, 401], Data, r#"{"data":{"810":"Client ID is invalid"},"status":"failed"}"#),
    ("renewal_not_allowed", &[500], Renew, WRONG_TYPE),
    ("renewal_not_allowed", &[400], Renew, WRONG_TYPE),
    ("mint_cooldown", &[200, 400, 429], Login, COOLDOWN),
    ("totp_refused", &[200, 400, 401], Login, BAD_TOTP),
    ("totp_not_valid", &[200, 400], Consent, NOT_VALID),
    ("totp_not_valid", &[200], Login, r#"{"isValid":"false"}"#),
    ("pin_refused", &[200, 401], Login, BAD_PIN),
    ("login_step_busy", &[200, 429], Consent, TOO_MANY),
    (
        "login_step_busy",
        &[200, 400],
        Login,
        r#"{"status":"error","message":"TOTP Validation Failed: RS-0060 Too many requests"}"#,
    ),
    ("consent_limit", &[200, 400, 429], Consent, CONSENT_LIMIT),
    ("consent_limit", &[200, 400], Consent, r#"{"status":"error","message":"Consent limit Exceeded"}"#),
    ("consent_limit", &[200], Consent, r#"{"status":"error","message":"CONSENT_LIMIT_EXCEED Consent limit Exceeded"}"#),
    ("client_id_refused", &[200, 401], Login, UNAUTHORIZED_REQUEST),
    ("client_id_refused", &[401], Login, UNAUTHORIZED),
    ("api_key_refused", &[200, 401], Consent, UNAUTHORIZED),
    ("login_rate_limited", &[429], Login, ""),
    ("login_rate_limited", &[200, 429], Renew, ORDER_LIMIT),
    ("renewal_unsettled", &[500, 502], Renew, ""),
    ("renewal_unsettled", &[200, 502], Renew, HTML),
    ("renewal_unsettled", &[200], Renew, r#"{"dhanClientId":"1000000001","accessTok"#),
    ("renewal_unsettled", &[200], Renew, ""),
    ("login_unavailable", &[200, 403, 503], Login, HTML),
    ("login_unavailable", &[502], Consent, "upstream connect error"),
    ("login_unavailable", &[200], Login, ""),
    ("login_unavailable", &[200], Login, "[]"),
    ("login_request_refused", &[400], Login, BAD_FIELD),
    ("login_request_refused", &[400], Renew, POST_VERB),
    ("login_refused", &[200, 400], Login, r#"{"status":"error","message":"Account is blocked"}"#),
    ("login_refused", &[403, 404], Login, ""),
    ("renewal_refused", &[400], Renew, r#"{"status":"error","message":"No"}"#),
    ("consent_refused", &[200, 400], Consent, r#"{"status":"error","message":"No"}"#),
    ("rate_limited", &[200, 400, 429], Trading, ORDER_LIMIT),
    ("data_rate_limited", &[200, 429], Data, DATA_LIMIT),
    ("rate_limited_portal", &[429], Trading, PORTAL),
    ("rate_limited_unread", &[429], Trading, ""),
    ("rate_limited_unread", &[429], Data, "Too many"),
    ("data_not_subscribed", &[401, 403], Data, NOT_SUBSCRIBED),
    ("edis_refused", &[400, 500], Trading, r#"{"errorType":"EDIS_ERROR","errorCode":"DH-0035","errorMessage":"x"}"#),
    ("input_refused", &[400], Trading, BAD_FIELD),
    ("html_reply", &[200, 400, 403, 502], Trading, HTML),
    ("broker_unavailable", &[500, 503], Trading, ""),
    ("broker_unavailable", &[500], Trading, r#"{"errorType":"Order_Er"#),
    ("unknown_refusal", &[200, 400], Trading, LOCKED),
    ("unknown_refusal", &[401, 404], Trading, ""),
    ("unknown_refusal", &[400], Data, r#"{"data":{"899":"Something new"},"status":"failed"}"#),
    ("unknown_refusal", &[400], Trading, r#"{"errorCode":"DH-950","errorMessage":"Something new"}"#),
];

fn asked(status: u16, body: &str, context: Context) -> Option<RecognisedRefusal> {
    classify(&Reply { status, content_type: Some("application/json"), body: body.as_bytes() }, context)
}

fn row_of(status: u16, body: &str, context: Context) -> String {
    asked(status, body, context).map_or_else(|| "none".to_owned(), |found| found.row.code.clone())
}

fn row(code: &str) -> &'static ErrorRow {
    rows().iter().find(|row| row.code == code).unwrap_or_else(|| panic!("no row {code}"))
}

/// Every code of the annexure: the code, the row it belongs to, who asks.
fn annexure() -> Vec<(String, String, u16, String, Context)> {
    #[derive(Deserialize)]
    struct TradingError {
        http_status_hint: u16,
        body: serde_json::Value,
    }
    #[derive(Deserialize)]
    struct DataError {
        code: u16,
        text: String,
    }
    let want = |code: &str| match code {
        "DH-901" | "808" | "809" => "token_refused",
        "DH-902" => "access_missing",
        "DH-903" => "account_not_ready",
        "DH-904" => "rate_limited",
        "DH-905" => "input_refused",
        "DH-906" => "order_refused",
        "DH-907" => "no_data",
        "DH-908" | "800" => "broker_failed",
        "DH-909" => "broker_network",
        "DH-910" => "broker_other",
        "804" => "too_many_instruments",
        "805" => "data_rate_limited",
        "806" => "data_not_subscribed",
        "807" => "token_expired",
        "810" => "client_id_invalid",
        "811" => "expiry_date_invalid",
        "812" => "date_format_invalid",
        "813" => "security_id_invalid",
        "814" => "data_request_invalid",
        other => panic!("a code without a row: {other}"),
    };
    let trading: Vec<TradingError> = serde_json::from_str(CODES).unwrap();
    let trading = trading.into_iter().map(|error| {
        let code = error.body["errorCode"].as_str().unwrap().to_owned();
        (want(&code).to_owned(), code, error.http_status_hint, error.body.to_string(), Trading)
    });
    let data: Vec<DataError> = serde_json::from_str(DATA_CODES).unwrap();
    let data = data.into_iter().map(|error| {
        let code = error.code.to_string();
        let body = serde_json::json!({ "data": { (code.clone()): error.text }, "status": "failed" }).to_string();
        (want(&code).to_owned(), code, 400, body, Data)
    });
    trading.chain(data).collect()
}

/// A file that does not parse would leave every refusal without a meaning.
#[test]
fn the_table_parses_and_is_whole() {
    let table = ErrorTable::parse(include_str!("../errors.toml")).unwrap();
    let codes: BTreeSet<&str> = table.rows.iter().map(|row| row.code.as_str()).collect();
    assert_eq!(codes.len(), table.rows.len(), "a code stands twice");
    assert_eq!(table.rows.last().unwrap().when, [Matcher::default()], "the last row fits everything");
    for row in &table.rows {
        assert!(row.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", row.code);
        assert!(!row.when.is_empty(), "{} is never taken", row.code);
        for text in [&row.summary, &row.action] {
            assert!(text.ends_with('.') && !text.contains(". "), "{}: one sentence: {text}", row.code);
            assert!((15..=200).contains(&text.len()), "{}: {text}", row.code);
        }
        if let Rule::RetryAfter(wait) = row.rule {
            assert!((1..=86_400).contains(&wait.as_secs()), "{}", row.code);
        }
    }
}

#[test]
fn a_rule_with_a_wait_that_does_not_belong_is_refused() {
    let table = |rule: &str| {
        ErrorTable::parse(&format!(
            "checked = \"2026-11-23\"\n[[row]]\ncode = \"x\"\nwhen = [{{}}]\n{rule}\nsummary = \"\"\naction = \"\""
        ))
    };
    assert!(table("rule = \"remint\"").is_ok());
    for bad in ["rule = \"retry_after\"", "rule = \"remint\"\nwait_seconds = 1", "rule = \"retry\"", ""] {
        assert!(table(bad).is_err(), "{bad}");
    }
}

/// What a user is told stands and falls with the row.
#[test]
fn every_known_reply_lands_in_its_row() {
    for (want, statuses, context, body) in CASES {
        for status in *statuses {
            assert_eq!(row_of(*status, body, *context), *want, "{status} {context:?} {body}");
        }
    }
    for (want, code, status, body, context) in annexure() {
        let found = asked(status, &body, context).unwrap();
        assert_eq!((found.row.code.as_str(), found.broker_code.as_deref()), (want.as_str(), Some(code.as_str())));
    }
}

/// A row that nothing reaches is a row that was never tried.
#[test]
fn every_row_has_a_case() {
    let tried: BTreeSet<String> =
        CASES.iter().map(|case| case.0.to_owned()).chain(annexure().into_iter().map(|case| case.0)).collect();
    for row in rows() {
        assert!(tried.contains(&row.code), "{} has no case", row.code);
    }
}

/// The keeper's behaviour hangs on these; a slip in the file must not pass unseen.
#[test]
fn rows_have_the_rules_that_keep_an_account_safe() {
    let after = |seconds| Rule::RetryAfter(Duration::from_secs(seconds));
    for (code, rule) in [
        ("source_refused", Rule::OtherLeg),
        ("token_superseded", Rule::Remint),
        ("token_expired", Rule::Remint),
        ("token_refused", Rule::Remint),
        ("token_must_be_regenerated", Rule::Remint),
        ("mint_cooldown", after(130)),
        ("totp_refused", Rule::NextWindow),
        ("totp_not_valid", Rule::NextWindow),
        ("pin_refused", Rule::AskPerson),
        ("login_refused", Rule::AskPerson),
        ("renewal_not_allowed", Rule::AskPerson),
        ("consent_limit", after(86_400)),
        ("order_refused", Rule::PassOn),
        ("input_refused", Rule::PassOn),
        ("unknown_refusal", Rule::PassOn),
    ] {
        assert_eq!(row(code).rule, rule, "{code}");
    }
    let counted: Vec<&str> = rows().iter().filter(|row| row.login_refusal).map(|row| row.code.as_str()).collect();
    assert_eq!(counted, ["totp_refused", "totp_not_valid", "pin_refused", "login_refused"]);
    let dead = rows().iter().filter(|row| row.rule == Rule::Remint);
    assert!(dead.flat_map(|row| &row.when).all(|matcher| {
        matcher.context.as_deref() == Some(&[Trading, Data, Renew]) // a login holds no token that could be dead
    }));
}

/// An order goes out a second time on the strength of these two.
#[test]
fn a_refused_token_and_a_refused_source_are_told_from_business_errors() {
    let reply = |status, body: &'static str| Reply { status, content_type: None, body: body.as_bytes() };
    for (status, body) in [
        (400, REVOKED),
        (400, CHARTS_BAD_TOKEN),
        (401, RENEW_EXPIRED),
        (401, DATA_EXPIRED),
        (401, DATA_BAD_TOKEN),
        (401, r#" [{"errorCode":"DH-906","errorMessage":"INVALID  token.","orderId":null}] "#),
    ] {
        assert!(refuses_token(&reply(status, body)) && !refuses_source(&reply(status, body)), "{body}");
        assert!(doubts_token(&reply(status, body)), "{body}");
    }
    for (status, body) in [
        (400, INVALID_IP),
        (403, DH_911),
        (400, DH_911),
        (400, r#"{"errorMessage":"DH-905: Invalid IP","errorType":"x","correlationId":"c1","orderId":""}"#),
    ] {
        assert!(refuses_source(&reply(status, body)) && !refuses_token(&reply(status, body)), "{body}");
        assert!(!doubts_token(&reply(status, body)), "{body}");
    }
    for (status, body) in [
        (400, BAD_FIELD),
        (400, BAD_CORRELATION),
        (400, NO_QUANTITY),
        (400, IN_TRANSIT),
        (400, CLOSED),
        (400, TRIGGER),
        (404, EXTERNAL_UNKNOWN),
        (404, FRONT_404),
        (401, QUOTES_NO_PLAN),
        (401, CHARTS_NO_PLAN),
        (400, BAD_SECURITY),
        (400, r#"{"errorCode":"DH-906","errorMessage":"Invalid token number for this security"}"#),
        (400, r#"{"errorCode":"DH-905","errorMessage":"Invalid IPO category"}"#),
        (400, r#"{"errorCode":"DH-906","errorMessage":"Incorrect request for order and cannot be processed."}"#),
        (403, NOT_SUBSCRIBED),
        (429, ORDER_LIMIT),
        (401, ""),
        (403, HTML),
        (200, r#"{"orderId":"1","orderStatus":"REJECTED","omsErrorDescription":"Invalid IP"}"#),
    ] {
        let reply = reply(status, body);
        assert!(!refuses_source(&reply) && !refuses_token(&reply) && !doubts_token(&reply), "{status} {body}");
    }
}

/// The broker quotes what it was sent, and an id of "Invalid IP" must not trip both legs,
/// nor send an order again; and what names an order is about that order.
#[test]
fn what_is_quoted_or_stands_beside_an_order_is_no_refusal_of_token_or_source() {
    for (quoted, known) in [("Invalid IP", INVALID_IP), ("Invalid Token", REVOKED)] {
        let code = if quoted == "Invalid IP" { "DH-905" } else { "DH-906" };
        let error = |message: String| serde_json::json!({ "errorCode": code, "errorMessage": message });
        let with = |member: &str, value: serde_json::Value| {
            let mut body: serde_json::Value = serde_json::from_str(known).unwrap();
            body[member] = value;
            body
        };
        let bodies = [
            error(format!("Invalid correlationId: {quoted}")),
            error(format!("Invalid correlationId \"{quoted}\"")),
            error(format!("\"{quoted}\"")),
            error(format!("{quoted} is not allowed as correlationId")),
            error(format!("correlationId: {quoted}")),
            with("orderId", "112111182198".into()),
            with("order_id", serde_json::json!(112_111_182_198_u64)),
            with("data", serde_json::json!({ "orderId": "112111182198" })),
            with("data", serde_json::json!([{ "more": { "orderIds": ["1"] } }])),
            with("message", "Missing required fields".into()),
            serde_json::json!({ "errorCode": code, "errorMessage": "Bad value", "data": { "message": quoted } }),
            serde_json::json!({ "correlationId": quoted, "errorCode": code, "errorMessage": "Bad value" }),
            serde_json::json!({ "correlationId": quoted }),
            serde_json::json!(quoted),
        ];
        for body in bodies {
            let body = body.to_string();
            let reply = Reply { status: 400, content_type: None, body: body.as_bytes() };
            assert!(!refuses_source(&reply) && !refuses_token(&reply), "{body}");
        }
        // Half a reply, or more than one.
        for body in [&known[..known.trim_end().len() - 1], &format!("{known}{known}"), quoted] {
            let reply = Reply { status: 400, content_type: None, body: body.as_bytes() };
            assert!(!refuses_source(&reply) && !refuses_token(&reply), "{body}");
        }
    }
}

/// Not proof enough to send again, and reason enough to ask: a dead token must not go on for ever.
#[test]
fn an_unknown_text_under_a_tokens_code_is_a_reason_to_ask() {
    for (status, body) in [
        (401, r#"{"errorType":"Invalid_Authentication","errorCode":"DH-901","errorMessage":"Session over"}"#),
        (401, r#"{"data":{"809":"Some new words"},"status":"failed"}"#),
        (400, r#"{"status":"error","message":"Please regenerate the API token on Dhan"}"#),
    ] {
        let reply = Reply { status, content_type: None, body: body.as_bytes() };
        assert!(doubts_token(&reply) && !refuses_token(&reply) && !refuses_source(&reply), "{body}");
    }
}

/// A 5xx may come after the order was executed, whatever words it carries.
#[test]
fn a_fault_of_the_broker_proves_nothing() {
    for body in [REVOKED, INVALID_IP, DH_911, DATA_BAD_TOKEN] {
        let reply = Reply { status: 502, content_type: None, body: body.as_bytes() };
        assert!(!refuses_token(&reply) && !refuses_source(&reply), "{body}");
    }
}

/// Taking an answer for a refusal would make a live token look dead.
#[test]
fn no_good_reply_is_taken_for_a_refusal() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dhan");
    let mut tried = 0;
    for folder in std::fs::read_dir(root).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !name.contains(".200.") || name.contains("error") || name.contains("limit") {
                continue;
            }
            let body = std::fs::read_to_string(&path).unwrap();
            for context in [Trading, Data] {
                assert_eq!(row_of(200, &body, context), "none", "{name}");
            }
            if name.starts_with("generate") || name.starts_with("renew") || name.starts_with("consent") {
                for context in [Login, Renew, Consent] {
                    assert_eq!(row_of(200, &body, context), "none", "{name}");
                }
            }
            tried += 1;
        }
    }
    assert!(tried >= 20, "{tried}");
    for (status, body) in [
        (200, ""),
        (202, ""),
        (200, "SEM_EXM_EXCH_ID,SEM_SEGMENT\nNSE,E\n"),
        (200, r#"{"data":{"NSE_EQ":{"805":{"last_price":1.0}}},"status":"success"}"#),
        (200, r#"{"data":{"813":"A security's name"},"status":"success"}"#),
        (200, r#"{"errorCode":null,"errorMessage":"","orderId":"1"}"#),
        (200, r#"[{"orderId":"1","errorCode":"DH-906"}]"#),
        (200, r#"{"isValid":false}"#),
        (101, ""),
    ] {
        assert_eq!(row_of(status, body, Trading), "none", "{status} {body}");
    }
    assert_eq!(row_of(200, r#"{"status":"success","data":{"isValid":true}}"#, Consent), "none");
}

/// The two documentation surfaces and the wire disagree on spelling.
#[test]
fn codes_are_known_in_any_spelling() {
    for body in [
        r#"{"errorCode":"DH-907"}"#,
        r#"{"errorCode":"dh_907","more":{"a":[1]}}"#,
        r#"{"errorcode":"DH907"}"#,
        r#"{"error_code":" 907 "}"#,
        r#"{"errorCode":907}"#,
        r#"{"status":"failure","remarks":{"error_code":"DH-907","error_message":"x"},"data":""}"#,
        r#"[{"errorCode":"DH-907"}]"#,
        r#"{"errorCode":"DH-907"} trailing"#,
        "\u{feff} {\"errorCode\":\"DH-907\"}",
        r#"{"message":"DH-907: no data"}"#,
        "DH-907 no data",
    ] {
        let found = asked(400, body, Data).unwrap();
        assert_eq!((found.row.code.as_str(), found.broker_code.as_deref()), ("no_data", Some("DH-907")), "{body}");
    }
    let numbered = asked(401, r#"{"errorCode":808,"errorMessage":"x"}"#, Data).unwrap();
    assert_eq!(numbered.row.code, "token_refused");
}

/// Gateways in front of the broker put any content type on any body.
#[test]
fn the_content_type_is_a_hint_only() {
    let with = |content_type, body: &'static str| {
        classify(&Reply { status: 400, content_type, body: body.as_bytes() }, Trading).unwrap().row.code.as_str()
    };
    assert_eq!(with(Some("text/html"), INVALID_IP), "source_refused");
    assert_eq!(with(None, INVALID_IP), "source_refused");
    assert_eq!(with(Some("application/json"), HTML), "html_reply");
    assert_eq!(with(Some("text/HTML; charset=utf-8"), "Request blocked"), "html_reply");
    assert_eq!(with(Some("text/plain"), "Invalid IP"), "source_refused");
}

#[test]
fn what_is_no_answer_is_survived() {
    let megabyte = vec![0xf3_u8; 1 << 20];
    let nested = "[".repeat(60_000);
    let long = format!(r#"{{"errorCode":"DH-905","errorMessage":"Invalid IP","x":"{}"}}"#, "y".repeat(1 << 20));
    for body in [megabyte.as_slice(), nested.as_bytes(), b"\xff\xfe{}", long.as_bytes()] {
        for (status, context, want) in [
            (200, Trading, None),
            (400, Trading, Some("unknown_refusal")),
            (500, Data, Some("broker_unavailable")),
            (200, Login, Some("login_unavailable")),
            (200, Renew, Some("renewal_unsettled")),
        ] {
            let found = classify(&Reply { status, content_type: None, body }, context);
            assert_eq!(found.map(|found| found.row.code.as_str()), want, "{status} {context:?}");
        }
    }
}

/// What is kept is shown to people, logged and journaled.
#[test]
fn the_brokers_words_are_kept_without_secrets() {
    let words = |message: &str| {
        asked(400, &serde_json::json!({ "errorMessage": message }).to_string(), Login).unwrap().broker_words
    };
    assert_eq!(words("Invalid\r\nPin\u{202e}\u{0}!").unwrap(), "Invalid Pin !");
    assert_eq!(words("IP can be modified only after 7 days").unwrap(), "IP can be modified only after 7 days");
    assert_eq!(words(" \t"), None);
    for (message, secret) in [
        ("bad /app/generateAccessToken?dhanClientId=1000000001&pin=482913&totp=771204 here", "482913"),
        ("bad totp=771204", "771204"),
        ("pin: 482913 is wrong", "482913"),
        ("your PIN 482913 is wrong", "482913"),
        (r#"{"accessToken":"abc123"}"#, "abc123"),
        (r#"got {"tokenId" : "abc123"}"#, "abc123"),
        ("token eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzUxMiJ9.eyJpc3MiOiJkaGFuIiwi.ZmFr refused", "eyJ"),
        ("secret 11111111-2222-4333-8444-555555555555 refused", "4333"),
    ] {
        let kept = words(message).unwrap();
        assert!(!kept.contains(secret), "{kept}");
        assert!(kept.contains("[removed]"), "{kept}");
    }
    assert_eq!(words(&"वि ".repeat(500)).unwrap().chars().count(), reply::KEPT_WORDS);
    let odd = asked(400, &format!(r#"{{"errorCode":"{}"}}"#, "eyJ0".repeat(20)), Trading).unwrap();
    assert_eq!(odd.broker_code, None);
}

fn any_context() -> impl Strategy<Value = Context> {
    proptest::sample::select(vec![Trading, Data, Login, Renew, Consent])
}

/// Bodies near to real ones: whole fixtures with a part cut out or overwritten.
fn near_reply() -> impl Strategy<Value = Vec<u8>> {
    let whole = [INVALID_IP, DATA_BAD_TOKEN, TOO_MANY, NOT_VALID, COOLDOWN, HTML, PORTAL, CONSENT_LIMIT];
    (proptest::sample::select(whole.to_vec()), any::<(u16, u16)>(), proptest::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(whole, (from, to), put)| {
            let mut body = whole.as_bytes().to_vec();
            let from = usize::from(from) % body.len();
            let to = (from + usize::from(to) % 60).min(body.len());
            body.splice(from..to, put);
            body
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A reply is hostile input, and what is kept of it goes to logs and screens.
    #[test]
    fn no_reply_makes_it_panic_and_what_is_kept_is_bounded(
        status in 0_u16..1000,
        context in any_context(),
        html in any::<bool>(),
        body in prop_oneof![near_reply(), proptest::collection::vec(any::<u8>(), 0..2000)],
    ) {
        let reply = Reply { status, content_type: html.then_some("text/html"), body: &body };
        refuses_token(&reply);
        refuses_source(&reply);
        doubts_token(&reply);
        let found = classify(&reply, context);
        prop_assert!(status < 300 || found.is_some(), "a status of failure is always a refusal");
        if let Some(found) = found {
            prop_assert!(found.broker_code.is_none_or(|code| (1..32).contains(&code.len())));
            if let Some(words) = found.broker_words {
                prop_assert!((1..=reply::KEPT_WORDS).contains(&words.chars().count()));
                prop_assert!(!words.chars().any(char::is_control));
            }
        }
    }

    /// Whatever the broker wraps its words in, a token among them does not get out.
    #[test]
    fn a_token_never_shows(before in "\\PC{0,60}", after in "\\PC{0,60}", cut in 0_usize..400) {
        let token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzUxMiJ9.eyJpc3MiOiJkaGFuIiwicGFydG5lcklkIjoiIn0.ZmFrZS1zaWduYXR1cmU";
        let message: String = format!("{before}{token}{after}").chars().skip(cut.saturating_sub(300)).collect();
        let body = serde_json::json!({ "status": "error", "message": message }).to_string();
        if let Some(words) = asked(401, &body, Trading).and_then(|found| found.broker_words) {
            prop_assert!(!words.contains("eyJ0eXAiOiJKV1Qi"), "{words}");
            prop_assert!(!words.contains("eyJpc3MiOiJkaGFu"), "{words}");
        }
    }
}
