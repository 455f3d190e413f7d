//! The console of the real binary, as a browser meets it: who gets in, from where, and what a form may do.
//!
//! Browsers themselves are in `console/browser`.

mod accounts;
mod browser;
mod create;
mod jobs;
mod lines;
mod pages;
pub(crate) mod person;
mod proof;
pub(crate) mod routes;
mod stream;
mod trouble;
pub(crate) mod visitor;
mod with_broker;

use std::path::Path;
use std::time::Duration;

use crate::admin::api::{Api, At, own_address};
use crate::support::{Gateway, Place, wait_until};
use nix::sys::signal::Signal;
use person::Person;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

/// A gateway with an account that nobody has logged in.
pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) api: Api,
    pub(crate) at: At,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn start(more: &str) -> Running {
    start_in("", more)
}

/// With more keys of `[admin]`, and more sections.
pub(crate) fn start_in(admin: &str, more: &str) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("{}:8081", own_address());
    let config = format!(
        "[state]\npath = \"{{dir}}/state\"\n\
         [[listener]]\naddress = \"unix:{{dir}}/proxy.sock\"\nclient_key = \"required\"\n\
         [[pool]]\nname = \"main\"\nprimary = \"2001:db8:a1::/64\"\nsecondary = \"2001:db8:a2::/64\"\n\
         [admin]\naddress = \"{address}\"\nviewer_token_file = \"state/viewer.token\"\n{admin}\
         [[admin.operator]]\nname = \"desk\"\nrole = \"operator\"\ntoken_file = \"state/desk.token\"\n\
         [log]\nlevel = \"trace\"\n{more}"
    );
    let gateway = Gateway::start(&Place::alone(), &config, dir.path());
    let at = At::Tcp(address.parse().unwrap());
    let api = Api::new(at.clone(), &dir.path().join("state/admin.token"));
    let account =
        json!({ "name": "alpha", "nickname": "Ann's", "platform": "DHAN_V2_IPV6", "client_id": "1000000001" });
    api.post("/v1/accounts", account).is(201);
    Running { gateway, api, at, dir }
}

impl Running {
    /// The token of a file in the state folder.
    pub(crate) fn token(&self, name: &str) -> String {
        token(self.dir.path(), name)
    }

    /// A browser that has been nowhere.
    pub(crate) fn person(&self) -> Person {
        Person::at(&self.at)
    }

    /// A browser that is signed in with the token of a file.
    pub(crate) fn signed_in(&self, name: &str) -> Person {
        let mut person = self.person();
        let page = person.sign_in(&self.token(name));
        assert_eq!(page.path, "/console", "{page:?}");
        person
    }

    /// The newest lines of the audit log.
    fn audit(&self) -> Vec<Value> {
        self.api.get("/v1/audit").is(200).body["items"].as_array().unwrap().clone()
    }
}

fn token(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join("state").join(name)).unwrap().trim().to_owned()
}

#[test]
fn a_token_signs_in_and_its_session_shows_the_accounts() {
    let running = start("");
    let mut person = running.person();
    let front = person.get("/");
    assert_eq!(front.status, 200);
    assert!(front.has("Admin token") && !front.has("Ann"), "{front:?}");
    let wrong = person.sign_in("sga_nobodys");
    assert!(wrong.status == 401 && wrong.has("none of this gateway"), "{wrong:?}");
    let page = person.sign_in(&running.token("admin.token"));
    assert!(
        page.status == 200 && page.has("Ann&#39;s") | page.has("Ann's") && page.has("<span>admin</span>"),
        "{page:?}"
    );
    assert_eq!(person.get("/console/accounts/alpha").status, 200);
    assert_eq!(person.get("/console/accounts/nobody").status, 404);
    person.post("/console/sign-out", &[]);
    assert_eq!(person.get("/console/accounts/alpha").status, 401);
}

#[test]
fn a_link_signs_in_once() {
    let running = start("");
    let link = running.api.post("/v1/console/links", json!({})).is(201);
    let code = link.text("/code").to_owned();
    assert!(link.text("/url").ends_with(&format!("/#code={code}")), "{}", link.raw);
    let mut person = running.person();
    assert_eq!(person.sign_in(&code).path, "/console");
    let again = running.person().sign_in(&code);
    assert!(again.status == 401 && again.has("used already"), "{again:?}");
    let viewer = running.api.showing(Some(&running.token("viewer.token")));
    let code = viewer.post("/v1/console/links", json!({})).is(201).text("/code").to_owned();
    let mut person = running.person();
    assert!(!person.sign_in(&code).has("Create account"), "a link gives the role of the token that asked");
    assert!(!running.gateway.has_logged(&code), "a code stands in the log");
}

/// What another page, another port, a rebound name or an old browser sends changes nothing and sees nothing.
#[test]
fn only_our_own_pages_reach_a_session() {
    let running = start("");
    let person = running.signed_in("admin.token");
    let own = format!("http://{}", running.at.host());
    let halt = "/console/accounts/alpha/halt";
    let body = format!("csrf={}&halted=true", person.csrf());
    type Headers<'h> = &'h [(&'h str, &'h str)];
    let refused: [(&str, &str, Headers<'_>); 8] = [
        ("GET", "/console", &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")]),
        ("GET", "/console", &[]),
        ("GET", "/console/events", &[("sec-fetch-site", "same-site")]),
        ("POST", halt, &[("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:3000")]),
        ("POST", halt, &[("sec-fetch-site", "cross-site"), ("origin", "null")]),
        ("POST", halt, &[("origin", "https://evil.example")]),
        ("POST", halt, &[("sec-fetch-site", "same-origin"), ("host", "evil.example:8081")]),
        ("POST", halt, &[]),
    ];
    for (method, path, headers) in refused {
        let page = person.raw(method, path, headers, &body);
        assert_eq!(page.status, 403, "{method} {path} {headers:?}: {page:?}");
        assert!(!page.has("Ann"), "{page:?}");
    }
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let door = person.raw("GET", "/console/accounts/alpha", &link, "");
    assert!(door.status == 200 && door.has("Open the console") && !door.has("Ann"), "{door:?}");
    let from_here = [("sec-fetch-site", "same-origin"), ("origin", own.as_str())];
    for (body, status) in [
        ("halted=true".to_owned(), 403),
        ("csrf=&halted=true".to_owned(), 403),
        (format!("csrf={}x&halted=true", person.csrf()), 403),
        (format!("csrf={}&halted=true", running.signed_in("admin.token").csrf()), 403),
    ] {
        assert_eq!(person.raw("POST", halt, &from_here, &body).status, status, "{body}");
    }
    let json = [from_here[0], from_here[1], ("content-type", "application/json")];
    assert_eq!(person.raw("POST", halt, &json, "{\"halted\":true}").status, 415);
    assert_eq!(running.api.get("/v1/accounts/alpha").is(200).body["halted"], false, "a refused form was taken");
    assert_eq!(person.raw("POST", halt, &from_here, &body).status, 303);
    assert_eq!(running.api.get("/v1/accounts/alpha").is(200).body["halted"], true);
}

#[test]
fn cookies_mean_nothing_to_the_api_and_tokens_nothing_to_the_console() {
    let running = start("");
    let person = running.signed_in("admin.token");
    let cookie = person.cookie().to_owned();
    let from_here = [("sec-fetch-site", "same-origin"), ("cookie", cookie.as_str())];
    running.api.showing(None).raw("GET", "/v1/accounts", &from_here, b"").unwrap().is(401);
    let bearer = format!("Bearer {}", running.token("admin.token"));
    let page = running.person().raw("GET", "/console", &[("authorization", &bearer), ("sec-fetch-site", "none")], "");
    assert_eq!(page.status, 401, "{page:?}");
}

#[test]
fn every_page_forbids_other_pages_scripts_and_caches() {
    let running = start("");
    let person = running.signed_in("admin.token");
    for path in ["/", "/console", "/console/accounts/alpha", "/console/nowhere", "/console/sessions"] {
        let page = person.raw("GET", path, &[("sec-fetch-site", "none")], "");
        let csp = page.header("content-security-policy").unwrap();
        assert!(csp.starts_with("default-src 'none'") && !csp.contains("unsafe"), "{csp}");
        assert!(csp.contains("require-trusted-types-for 'script'") && csp.contains("frame-ancestors 'none'"), "{csp}");
        assert_eq!(page.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(page.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(page.header("referrer-policy"), Some("same-origin"), "{path}");
        assert!(!page.has("style=") && !page.has("onclick"), "{path}");
    }
    let page = person.raw("GET", "/", &[("sec-fetch-site", "none")], "");
    assert_eq!((page.status, page.header("location")), (303, Some("/console")));
    let (name, rest) = person.set_cookie().split_once('=').unwrap();
    assert!(name.starts_with("sixgate-") && name.len() == 16, "{name}");
    assert!(rest.contains("HttpOnly") && rest.contains("SameSite=Strict") && rest.contains("Path=/"), "{rest}");
}

#[test]
fn a_role_sees_no_form_that_it_may_not_send_and_the_form_is_refused() {
    let running = start("");
    let mut viewer = running.signed_in("viewer.token");
    let page = viewer.get("/console/accounts/alpha");
    assert!(!page.has("action=\"/console/accounts/alpha/halt\""), "{page:?}");
    let page = viewer.post("/console/accounts/alpha/halt", &[("halted", "true")]);
    assert!(page.has("needs the role operator"), "{page:?}");
    assert_eq!(running.api.get("/v1/accounts/alpha").is(200).body["halted"], false);
    let mut desk = running.signed_in("desk.token");
    let page = desk.post("/console/accounts/alpha/halt", &[("halted", "true"), ("reason", "storm <b>")]);
    assert!(page.has("Halted.") && page.has("storm &lt;b&gt;"), "{page:?}");
    let lines = running.audit();
    let of = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        [of(&lines[0], "actor"), of(&lines[0], "via"), of(&lines[0], "path")],
        ["desk", "console", "/v1/accounts/alpha/halt"]
    );
    let change = lines[0]["changes"].as_array().unwrap().iter().find(|change| change["field"] == "halted").unwrap();
    assert_eq!((&change["before"], &change["after"]), (&json!("false"), &json!("true")));
    assert_eq!((of(&lines[1], "actor"), lines[1]["status"].clone()), ("viewer".to_owned(), json!(403)));
    let created = lines.last().unwrap();
    assert_eq!([of(created, "path"), of(created, "account")], ["/v1/accounts", "alpha"]);
    assert_eq!(lines[0]["prev"], lines[1]["hash"]);
}

/// A token that leaves the configuration takes its sessions with it, and a role that is changed is changed at once.
#[test]
fn a_session_can_do_what_its_token_can_at_this_moment() {
    let mut running = start("");
    let mut desk = running.signed_in("desk.token");
    assert_eq!(desk.get("/console/accounts/alpha").status, 200);
    let file = running.dir.path().join("sixgate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("role = \"operator\"", "role = \"viewer\"")).unwrap();
    running.gateway.signal(Signal::SIGHUP);
    wait_until("desk is a viewer", LIMIT, || desk.get("/console/accounts/alpha").has("desk (viewer)"));
    let begin = text.find("[[admin.operator]]").unwrap();
    let end = text.find("[log]").unwrap();
    std::fs::write(&file, format!("{}{}", &text[..begin], &text[end..])).unwrap();
    running.gateway.signal(Signal::SIGHUP);
    wait_until("desk is gone", LIMIT, || desk.get("/console/accounts/alpha").status == 401);
    running.api.showing(Some(&running.token("desk.token"))).get("/v1/accounts").is(401);
}

#[test]
fn what_was_typed_into_a_form_whose_session_ended_is_shown_but_for_secrets() {
    let running = start("");
    let mut person = running.signed_in("admin.token");
    let mut elsewhere = running.signed_in("admin.token");
    elsewhere.post("/console/sign-out-everywhere", &[]);
    let page = person.post(
        "/console/accounts/alpha/halt",
        &[("reason", "the storm"), ("pin", "493817"), ("phone", "9876501234"), ("else", "hush")],
    );
    assert!(page.status == 401 && page.has("the storm"), "{page:?}");
    assert!(["493817", "9876501234", "hush"].iter().all(|secret| !page.has(secret)), "{page:?}");
}

#[test]
fn behind_a_proxy_that_ends_tls_cookies_are_secure_and_links_have_the_public_name() {
    let running = start_in("public_url = \"https://gw.example\"\n", "");
    let link = running.api.post("/v1/console/links", json!({})).is(201);
    assert!(link.text("/url").starts_with("https://gw.example/#code="), "{}", link.raw);
    let mut person = running.person();
    person.named("gw.example", "https://gw.example");
    assert_eq!(person.sign_in(link.text("/code")).path, "/console");
    assert!(person.set_cookie().starts_with("__Host-sixgate-"), "{}", person.set_cookie());
    assert!(person.set_cookie().contains("; Secure"), "{}", person.set_cookie());
}
