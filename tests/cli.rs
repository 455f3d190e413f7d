//! The operator commands: the real binary against a real gateway, and against a server that answers as it is told
//! for what a gateway answers rarely.
//!
//! Every output of every command is searched for the secrets that went in.

mod accounts;
mod canned;
mod faults;
mod orders;
mod pasted;
mod running;
mod sandboxed;
mod terminal;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::admin::api::{Api, At, own_address, token};
use crate::support::{Gateway, Place};
use canned::{Canned, Reply};
use serde_json::{Value, json};
use terminal::Terminal;

const PIN: &str = "493817";
const TOTP: &str = "KRUGS4ZANFZSAYJAORXXI4BA";
const DAY: i64 = 86_400;

/// How a command ended and what it said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// Panics unless it ended so.
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Panics unless it ended so, with one line on standard error that says all of these and nothing on the output.
    #[track_caller]
    fn fails(self, code: i32, texts: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        for text in texts {
            assert!(self.err.contains(text), "no {text:?} in {self:?}");
        }
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    /// The words of the line that begins with this one.
    #[track_caller]
    fn line(&self, first: &str) -> Vec<&str> {
        let lines = self.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.into_iter().find(|words| words.first() == Some(&first)).unwrap_or_else(|| panic!("no {first}: {self:?}"))
    }
}

/// A shell of an operator, in a folder.
struct Shell {
    folder: PathBuf,
    admin: Option<String>,
    secrets: Vec<String>,
}

impl Shell {
    fn new(folder: &Path, admin: Option<String>) -> Self {
        Self { folder: folder.to_owned(), admin, secrets: vec![PIN.to_owned(), TOTP.to_owned()] }
    }

    /// At a canned server, with an admin token where it is looked for.
    fn at(server: &Canned, folder: &Path) -> Self {
        std::fs::create_dir_all(folder.join("state")).unwrap();
        std::fs::write(folder.join("state/admin.token"), "sga_canned\n").unwrap();
        Self::new(folder, Some(server.url()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SIXGATE_")) {
            command.env_remove(name);
        }
        // Nobody's proxy may see the admin token.
        command.env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9").env("NO_PROXY", "");
        // Nor is a sandbox of another test found.
        command.env("XDG_RUNTIME_DIR", &self.folder).env("TMPDIR", &self.folder);
        if let Some(admin) = &self.admin {
            command.env("SIXGATE_ADMIN", admin);
        }
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Said {
        self.with_input(arguments, "")
    }

    #[track_caller]
    fn with_input(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start sixgate");
        // One that needs no input does not read it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said =
            Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) };
        for secret in &self.secrets {
            assert!(!said.out.contains(secret) && !said.err.contains(secret), "{arguments:?} shows a secret: {said:?}");
        }
        assert!(!said.err.contains("panicked"), "{said:?}");
        said
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).unwrap();
    }
}

/// A gateway and an operator in its folder.
struct Running {
    /// Ends when dropped.
    _gateway: Gateway,
    api: Api,
    shell: Shell,
    dir: tempfile::TempDir,
}

fn start() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("{}:8081", own_address());
    let config = format!(
        "[state]\npath = \"state\"\n[[listener]]\naddress = \"unix:{{dir}}/proxy.sock\"\nclient_key = \"required\"\n\
         [admin]\naddress = \"{address}\"\nviewer_token_file = \"state/viewer.token\"\n"
    );
    let gateway = Gateway::start(&Place::alone(), &config, dir.path());
    let api = Api::new(At::Tcp(address.parse().unwrap()), &dir.path().join("state/admin.token"));
    let shell = Shell::new(dir.path(), Some(format!("http://{address}")));
    shell.file("pin.txt", &format!("{PIN}\n"));
    shell.file("totp.txt", &format!("  {TOTP}\n"));
    Running { _gateway: gateway, api, shell, dir }
}

/// The body as the API sent it.
/// An account without what its keeper moves at any time.
fn still(text: &str) -> Value {
    let mut account: Value = serde_json::from_str(text).unwrap();
    account.as_object_mut().unwrap().remove("token");
    account
}

fn raw(api: &Api, path: &str) -> String {
    let raw = api.get(path).is(200).raw;
    raw.split_once("\r\n\r\n").unwrap().1.trim_end().to_owned()
}

const AUTOMATIC: [&str; 6] = ["create", "alpha", "--platform", "DHAN_V2_AT_IPV6", "--client-id", "1000000001"];

fn create(more: &[&'static str]) -> Vec<&'static str> {
    [&["account"], AUTOMATIC.as_slice(), more].concat()
}

/// An account that needs no secret to be made.
fn manual(more: &[&'static str]) -> Vec<&'static str> {
    [&["account", "create", "alpha", "--platform", "DHAN_V2_IPV6", "--client-id", "1000000001"], more].concat()
}

/// What an operator does on the first day and the last.
#[test]
fn an_account_is_made_shown_changed_and_deleted() {
    let Running { api, shell, .. } = &start();
    shell.run(&["pool", "create", "main", "--primary", "2001:db8:a1::/64", "--secondary", "2001:db8:a2::/64"]).ends(0);

    let made = shell.run(&create(&[
        "--nickname",
        "The first",
        "--pin-file",
        "pin.txt",
        "--totp-secret-file",
        "totp.txt",
        "--assign-pair",
    ]));
    let made = made.ends(0);
    assert_eq!(made.line("name"), ["name", "alpha"]);
    assert_eq!(made.line("nickname"), ["nickname", "The", "first"]);
    assert_eq!(made.line("primary")[..2], ["primary", "2001:db8:a1::1"]);
    assert!(made.err.contains("sixgate register alpha"), "{made:?}");
    let account = api.get("/v1/accounts/alpha").is(200);
    assert_eq!((account.text("/client_id"), account.text("/platform")), ("1000000001", "DHAN_V2_AT_IPV6"));
    assert_eq!(account.text("/pair/secondary"), "2001:db8:a2::1");

    let shown = shell.run(&["account", "show", "alpha"]).ends(0);
    assert_eq!(shown.line("primary")[..2], made.line("primary")[..2]);
    // Its login goes on meanwhile, in vain: what moves is left out.
    let json = shell.run(&["account", "show", "alpha", "--json"]).ends(0);
    assert_eq!(still(&json.out), still(&raw(api, "/v1/accounts/alpha")));
    let listed = shell.run(&["account", "list"]).ends(0);
    assert!(listed.out.starts_with("NAME "), "{listed:?}");
    assert_eq!(
        listed.line("alpha")[..5],
        ["alpha", "1000000001", "DHAN_V2_AT_IPV6", "2001:db8:a1::1", "2001:db8:a2::1"]
    );
    assert!(listed.out.lines().all(|line| line.trim_end() == line), "{listed:?}");
    let listed = shell.run(&["account", "list", "--json"]).ends(0);
    let items: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(items["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(still(&items["items"][0].to_string()), still(&raw(api, "/v1/accounts/alpha")));

    shell.file("other-pin.txt", "1357");
    let changed =
        shell.run(&["account", "change", "alpha", "--nickname", "Beta", "--pin-file", "other-pin.txt"]).ends(0);
    assert_eq!(changed.line("nickname"), ["nickname", "Beta"]);
    let json = shell.run(&["account", "change", "alpha", "--nickname", "Gamma", "--json"]).ends(0);
    assert_eq!(still(&json.out), still(&raw(api, "/v1/accounts/alpha")));
    shell.run(&["account", "change", "alpha"]).fails(2, &["nothing to change"]);

    shell.run(&["account", "delete", "alpha"]).fails(2, &["--yes", "no other account"]);
    api.get("/v1/accounts/alpha").is(200);
    assert_eq!(shell.run(&["account", "delete", "alpha", "--yes"]).ends(0).out, "the account alpha is deleted\n");
    api.get("/v1/accounts/alpha").is(404);
    shell.run(&["account", "delete", "alpha", "--yes"]).fails(1, &["alpha", "(404 not_found)"]);
    shell.run(&["account", "show", "alpha"]).fails(1, &["(404 not_found)"]);
}

/// A secret can come from a pipe, so that it never is in a file.
#[test]
fn a_secret_is_read_from_standard_input_and_checked_by_the_gateway() {
    let Running { api, shell, .. } = &start();
    let arguments = create(&["--pin-file", "-", "--totp-secret-file", "totp.txt", "--json"]);
    let made = shell.with_input(&arguments, &format!("{PIN}\n")).ends(0);
    assert_eq!(made.out.trim_end(), raw(api, "/v1/accounts/alpha"));
    shell.run(&create(&["--pin-file", "-", "--totp-secret-file", "-"])).fails(2, &["read once"]);
    shell.with_input(&create(&["--pin-file", "-"]), "\n").fails(1, &["--pin-file", "nothing in it"]);
    shell
        .with_input(&create(&["--pin-file", "-"]), "12345678")
        .fails(1, &["pin: a PIN is 4 to 6 digits", "422 unusable"]);
    shell.run(&manual(&[])).fails(1, &["alpha", "409 taken"]);
}

/// Two accounts on one address would trade as one another; the commands must not hide what the API refuses.
#[test]
fn pools_and_pairs_are_made_and_taken_away() {
    let Running { api, shell, .. } = &start();
    let pool = ["pool", "create", "main", "--primary", "2001:db8:a1::/64", "--secondary", "2001:db8:a2::/64"];
    let made = shell.run(&[pool.as_slice(), &["--json"]].concat()).ends(0);
    assert_eq!(made.out.trim_end(), raw(api, "/v1/pools/main"));
    shell.run(&pool).fails(1, &["409 taken"]);
    let listed = shell.run(&["pool", "list"]).ends(0);
    assert_eq!(listed.line("main")[..4], ["main", "2001:db8:a1::/64", "2001:db8:a2::/64", "0"]);
    assert_eq!(shell.run(&["pool", "list", "--json"]).ends(0).out.trim_end(), {
        format!("{{\"items\":[{}]}}", raw(api, "/v1/pools/main"))
    });

    shell.run(&manual(&[])).ends(0);
    let assigned = shell.run(&["pair", "assign", "alpha", "--pool", "main"]).ends(0);
    assert_eq!((assigned.line("primary")[1], assigned.line("secondary")[1]), ("2001:db8:a1::1", "2001:db8:a2::1"));
    let again = shell.run(&["pair", "assign", "alpha", "--json"]).ends(0);
    assert_eq!(again.out, "{\"primary\":\"2001:db8:a1::1\",\"secondary\":\"2001:db8:a2::1\"}\n");
    shell.run(&["pool", "delete", "main"]).fails(1, &["409 not_empty"]);

    shell.run(&["pair", "retire", "alpha"]).fails(2, &["tombstone", "--yes"]);
    assert_eq!(api.get("/v1/accounts/alpha").is(200).text("/pair/primary"), "2001:db8:a1::1");
    assert!(shell.run(&["pair", "retire", "alpha", "--yes"]).ends(0).out.contains("tombstone"));
    assert_eq!(api.get("/v1/accounts/alpha").is(200).body["pair"], Value::Null);
    let own = ["pair", "assign", "alpha", "--primary", "2001:db8:b1::7", "--secondary", "2001:db8:b2::7"];
    assert_eq!(shell.run(&own).ends(0).line("secondary"), ["secondary", "2001:db8:b2::7"]);
    shell.run(&["pair", "assign", "alpha", "--primary", "2001:db8:b1::7"]).ends(2);
    shell.run(&["pair", "assign", "alpha", "--pool", "main", "--primary", "::1", "--secondary", "::1"]).ends(2);

    assert_eq!(shell.run(&["pool", "delete", "main"]).ends(0).out, "the pool main is deleted\n");
    assert_eq!(shell.run(&["pool", "delete", "main"]).code, 1);
    let beta = ["account", "create", "beta", "--platform", "DHAN_V2_IPV6", "--client-id", "2", "--assign-pair"];
    shell.run(&beta).fails(1, &["beta was made", "409 no_pool", "sixgate pair assign beta"]);
    api.get("/v1/accounts/beta").is(200);
}

/// A key opens an account's order path; it is shown when it is made and by no other command.
#[test]
fn a_client_key_is_shown_once() {
    let Running { api, shell, .. } = &start();
    shell.run(&manual(&[])).ends(0);
    let made = shell.run(&["key", "create", "alpha"]).ends(0);
    let (id, key) = (made.line("id")[1], made.line("key")[1]);
    assert!(key.starts_with("sgk_"), "{made:?}");
    let other = shell.run(&["key", "create", "alpha", "--json"]).ends(0).json();
    let listed = shell.run(&["key", "list", "alpha"]).ends(0);
    assert!(listed.line(id).contains(&"IST") && listed.line(id).contains(&"UTC)"), "{listed:?}");
    let json = shell.run(&["key", "list", "alpha", "--json"]).ends(0);
    assert_eq!(json.json()["items"], api.get("/v1/accounts/alpha/keys").is(200).body["items"]);
    for said in [&listed, &json] {
        assert!(!said.out.contains(key) && !said.out.contains(other["key"].as_str().unwrap()), "{said:?}");
    }
    assert!(shell.run(&["key", "delete", "alpha", id]).ends(0).out.contains(id));
    shell.run(&["key", "delete", "alpha", id]).fails(1, &["404 not_found"]);
    let left = api.get("/v1/accounts/alpha/keys").is(200);
    assert_eq!(
        (left.text("/items/0/id"), left.body["items"].as_array().unwrap().len()),
        (other["id"].as_str().unwrap(), 1)
    );
    // A path that leads elsewhere is no id.
    shell.run(&["key", "delete", "alpha", "../../beta"]).fails(2, &["a key's id"]);
}

/// The daily work of an account with a manual token.
#[test]
fn a_token_is_given_and_its_state_shown_on_both_clocks() {
    let Running { api, shell: start, dir, .. } = &start();
    let given = token("1000000001", DAY);
    let mut shell = Shell::new(dir.path(), start.admin.clone());
    shell.secrets.push(given.clone());
    shell.run(&manual(&[])).ends(0);
    let absent = shell.run(&["token", "show", "alpha"]).ends(0);
    assert!(absent.out.contains("token_absent") && absent.out.contains("what to do"), "{absent:?}");

    shell.file("token.txt", &format!("{given}\n"));
    let set = shell.run(&["token", "set", "alpha", "--file", "token.txt"]).ends(0);
    assert_eq!(set.line("token"), ["token", "live", "(manual)"]);
    let until: jiff::Timestamp = api.get("/v1/accounts/alpha/token").text("/expires_at").parse().unwrap();
    let utc = until.strftime("%Y-%m-%d %H:%M UTC").to_string();
    let ist = until.in_tz("Asia/Kolkata").unwrap().strftime("%Y-%m-%d %H:%M IST").to_string();
    assert!(set.out.contains(&format!("{ist} ({utc}), 23 h 59 min left")), "{set:?}");
    assert_eq!(shell.run(&["token", "show", "alpha"]).ends(0).line("token"), ["token", "live", "(manual)"]);
    let json = shell.run(&["token", "show", "alpha", "--json"]).ends(0);
    assert_eq!(json.out.trim_end(), raw(api, "/v1/accounts/alpha/token"));

    let json = shell.with_input(&["token", "set", "alpha", "--file", "-", "--json"], &given).ends(0);
    assert_eq!(json.out.trim_end(), raw(api, "/v1/accounts/alpha/token"));
    shell.with_input(&["token", "set", "alpha", "--file", "-"], "no token").fails(1, &["422 unusable"]);
    shell.run(&["token", "set", "alpha"]).fails(2, &["--file", "--ask"]);
    shell.run(&["token", "set", "nobody", "--file", "token.txt"]).fails(1, &["404 not_found"]);
}

/// Every user of the host can read arguments, and a log may keep what is printed.
#[test]
fn a_secret_among_the_arguments_is_refused_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Shell::new(folder.path(), None);
    let jwt = token("1000000001", DAY);
    shell.secrets.push(jwt.clone());
    for (arguments, option) in [
        (create(&["--pin", PIN]), "--pin-file"),
        (create(&["--pin=493817"]), "--pin-file"),
        (create(&["--totp-secret", TOTP]), "--totp-secret-file"),
        (create(&["--api-key", PIN]), "--api-key-file"),
        (create(&["--api-secret", PIN]), "--api-secret-file"),
        (create(&["--phone", PIN]), "--phone-file"),
        (create(&["--access-token", TOTP]), "--access-token-file"),
        (vec!["account", "change", "alpha", "--pin", PIN], "--pin-file"),
        (vec!["token", "set", "alpha", "--token", TOTP], "--file"),
        (vec!["token", "set", "alpha", "--access-token", TOTP], "--file"),
    ] {
        shell.run(&arguments).fails(2, &["not given as an argument", option, "--ask"]);
    }
    for arguments in [create(&[TOTP]), vec!["token", "set", "alpha", &jwt], vec!["token", "refresh", "alpha", &jwt]] {
        shell.run(&arguments).fails(2, &["argument too many"]);
    }
    // In the place of a file's name, and of the account's.
    shell.file("admin.token", "sga_any");
    let with_token = |arguments: &[&'static str]| [arguments, &["--token-file", "admin.token"]].concat();
    shell.run(&with_token(&create(&["--pin-file", PIN]))).fails(1, &["--pin-file", "no such file"]);
    let long = jwt.repeat(3);
    shell.run(&["token", "set", "alpha", "--file", &long, "--token-file", "admin.token"]).fails(1, &["no such file"]);
    shell.run(&["token", "set", &jwt, "--file", "x", "--token-file", "admin.token"]).fails(2, &["account's name"]);
    for shell_name in ["bash", "zsh", "fish"] {
        let script = shell.run(&["completions", shell_name]).ends(0).out;
        assert!(script.contains("pin-file") && script.contains("retire"), "{shell_name}");
        assert!(
            !script.contains("--pin ") && !script.contains("-l pin ") && !script.contains("--pin="),
            "{shell_name}"
        );
    }
}

/// Whoever reads over a shoulder, or the scroll-back, must not see it; and a terminal that stays mute after Ctrl-C
/// is one that people close.
#[test]
fn a_prompt_does_not_echo_and_gives_the_terminal_back() {
    let Running { api, shell, .. } = &start();
    let mut terminal = Terminal::start(shell.command(&create(&["--ask", "--json"])));
    terminal.shows("PIN: ");
    assert!(!terminal.echoes());
    // A correction, as people make them.
    terminal.types("0\u{7f}999\u{15}493817\n");
    terminal.shows("TOTP secret: ");
    terminal.types(&format!("{TOTP}\r"));
    let (status, output) = terminal.end();
    assert!(status.success(), "{}", terminal.shown());
    assert_eq!(output.trim_end(), raw(api, "/v1/accounts/alpha"));
    assert!(!terminal.shown().contains(PIN) && !terminal.shown().contains(TOTP), "{}", terminal.shown());
    assert!(terminal.echoes());

    let long = format!("{}{}", token("1000000001", DAY), "x".repeat(5000));
    for (typed, code, said) in [
        ("12\u{3}".to_owned(), 130, "interrupted"),
        ("\n".to_owned(), 1, "nothing was typed"),
        ("12\n".to_owned(), 1, "4 to 6 digits"),
        // Not cut at the 4,095 characters of a terminal's line.
        (format!("{long}\n"), 1, "longer than 4096"),
    ] {
        let mut terminal = Terminal::start(shell.command(&["account", "change", "alpha", "--ask=pin"]));
        terminal.shows("PIN: ");
        terminal.types(&typed);
        let (status, _) = terminal.end();
        assert_eq!(status.code(), Some(code), "{}", terminal.shown());
        terminal.shows(said);
        assert!(terminal.echoes());
    }
    shell.run(&create(&["--ask"])).fails(2, &["needs a terminal"]);
}

/// Each error says what to do next; a person at night has nothing else.
#[test]
fn each_error_is_one_line_with_a_way_out() {
    let Running { shell, dir, .. } = &start();
    shell.file("wrong.token", "sga_wrongwrongwrongwrong");
    shell.run(&["account", "list", "--token-file", "wrong.token"]).fails(1, &["wrong.token", "401", "--token-file"]);
    shell.run(&["account", "list", "--token-file", "none.token"]).fails(1, &["none.token", "No such file", "--config"]);
    shell.file("empty.token", "\n");
    shell.run(&["account", "list", "--token-file", "empty.token"]).fails(1, &["empty.token", "there is nothing in it"]);
    let viewer = [&manual(&[])[..], &["--token-file", "state/viewer.token"]].concat();
    shell.run(&viewer).fails(1, &["role admin", "viewer", "state/viewer.token", "403 forbidden"]);
    let bad = ["account", "create", "a", "--platform", "DHAN_V2_IPV6", "--client-id", "abc"];
    shell.run(&bad).fails(1, &["client_id: ", "422 invalid"]);
    shell.run(&["account", "show", "a/b"]).fails(2, &["account's name"]);

    let nobody = own_address();
    let at = format!("http://{nobody}:8081");
    shell.run(&["account", "list", "--admin", &at]).fails(1, &["is the gateway running?", &at, "--admin", "refused"]);
    let socket = format!("unix:{}/none.sock", dir.path().display());
    shell.run(&["account", "list", "--admin", &socket]).fails(1, &["is the gateway running?", &socket]);
    shell.run(&["account", "list", "--admin", "http://192.0.2.1:8081"]).fails(2, &["another host", "ssh -L"]);
    shell.run(&["account", "list", "--admin", "http://x:hunter2@127.0.0.1"]).fails(2, &["a scheme, a host and a port"]);
    // Nobody speaks TLS there, and a client for it is made all the same.
    shell.run(&["account", "list", "--admin", &at.replace("http:", "https:")]).fails(1, &["is the gateway running?"]);

    shell.file("bad.toml", "[admin]\nadress = \"127.0.0.1:1\"\n");
    let said = Shell::new(dir.path(), None).run(&["account", "list", "--config", "bad.toml"]).ends(2);
    assert!(said.err.contains("admin.adress") && said.err.contains("did you mean address"), "{said:?}");
    for usage in
        [&["account"][..], &["account", "list", "--jsn"], &["pool", "create", "x", "--primary", "y"], &["halt"]]
    {
        shell.run(usage).ends(2);
    }
}

/// A server that is no admin API, or breaks off, must not look like success.
#[test]
fn a_strange_server_is_told_from_an_admin_api() {
    let dir = tempfile::tempdir().unwrap();
    let server = Canned::start(|line| match line {
        "GET /v1/accounts/html" => Some(Reply(200, "text/html", "<html>".to_owned())),
        "GET /v1/accounts/moved" => Some(Reply(302, "text/html", String::new())),
        "GET /v1/accounts/broken" => None,
        "GET /v1/accounts/bare" => Some(Reply(500, "application/json", "{}".to_owned())),
        "GET /v1/accounts/refused" => Some(Reply(
            409,
            "application/problem+json",
            json!({ "title": "Conflict", "detail": "one\ntwo\u{1b}[2J", "code": "busy" }).to_string(),
        )),
        _ => Some(Reply(404, "text/plain", "nothing".to_owned())),
    });
    let shell = Shell::at(&server, dir.path());
    let show = |name: &str| shell.run(&["account", "show", name]);
    show("html").fails(1, &["no admin API", &server.url()]);
    show("moved").fails(1, &["no admin API", "302"]);
    show("broken").fails(1, &["broke", "may have been done"]);
    show("bare").fails(1, &["no admin API", "500"]);
    show("refused").fails(1, &["one two [2J", "409 busy"]);
    show("other").fails(1, &["no admin API", "404"]);
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.head.contains("authorization: bearer sga_canned")), "{asked:?}");
    assert!(asked.iter().all(|asked| asked.head.contains(&format!("host: {}", server.at))), "{asked:?}");
    assert!(asked.iter().all(|asked| !asked.line.contains("elsewhere")), "a redirect was followed: {asked:?}");
}

/// Operators name a gateway by its configuration, its address or its socket.
#[test]
fn the_gateway_is_found_by_configuration_by_variable_and_on_a_socket() {
    let Running { shell, dir, .. } = &start();
    shell.run(&manual(&[])).ends(0);
    let elsewhere = tempfile::tempdir().unwrap();
    let config = dir.path().join("sixgate.toml").display().to_string();
    let lost = Shell::new(elsewhere.path(), None);
    let found = lost.run(&["account", "show", "alpha", "--config", &config]).ends(0);
    assert_eq!(found.line("name"), ["name", "alpha"]);
    let token_file = dir.path().join("state/admin.token").display().to_string();
    let by_variables = |variables: &[(&str, &str)]| {
        let mut command = lost.command(&["account", "show", "alpha", "--json"]);
        command.envs(variables.iter().copied()).output().unwrap()
    };
    let admin = shell.admin.as_deref().unwrap();
    let output = by_variables(&[("SIXGATE_ADMIN", admin), ("SIXGATE_ADMIN_TOKEN_FILE", &token_file)]);
    assert!(output.status.success(), "{output:?}");
    let output = by_variables(&[("SIXGATE_CONFIG", &config)]);
    assert!(output.status.success(), "{output:?}");
    // What is said on the command line comes first.
    let nobody = format!("http://{}:8081", own_address());
    lost.run(&["account", "list", "--config", &config, "--admin", &nobody]).fails(1, &[&nobody]);
    // The gateway does not take our variable for a misspelt key of its own.
    let mut check = lost.command(&["check", "--config", &config]);
    let output = check.env("SIXGATE_ADMIN", admin).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");

    let folder = tempfile::tempdir().unwrap();
    let config = "[[listener]]\naddress = \"unix:{dir}/proxy.sock\"\nclient_key = \"required\"\n\
                  [admin]\naddress = \"unix:{dir}/admin.sock\"\n";
    let _gateway = Gateway::start(&Place::alone(), config, folder.path());
    let shell = Shell::new(folder.path(), Some("unix:admin.sock".to_owned()));
    shell.run(&manual(&[])).ends(0);
    assert_eq!(shell.run(&["account", "list"]).ends(0).line("alpha")[1], "1000000001");
    let config = folder.path().join("sixgate.toml").display().to_string();
    assert_eq!(lost.run(&["account", "list", "--config", &config]).ends(0).line("alpha")[1], "1000000001");
}

/// 10,000 accounts come in pages, and one that is left out is one that nobody looks after.
#[test]
fn every_page_of_a_list_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let account = |name: &str| json!({ "name": name, "odd": 1.50 });
    let page = move |names: [&str; 2], next: Value| {
        let items: Vec<Value> = names.iter().map(|name| account(name)).collect();
        Some(Reply::json(&json!({ "items": items, "next": next })))
    };
    let server = Canned::start(move |line| match line {
        "GET /v1/accounts?limit=1000" => page(["a", "b"], json!("b")),
        "GET /v1/accounts?limit=1000&cursor=b" => page(["c", "d"], json!("d")),
        "GET /v1/accounts?limit=1000&cursor=d" => page(["e", "f"], Value::Null),
        "GET /v1/pools?limit=1000" => page(["a", "b"], json!("b")),
        // A server that turns in a circle.
        _ => page(["a", "b"], json!("b")),
    });
    let shell = Shell::at(&server, dir.path());
    let listed = shell.run(&["account", "list", "--json"]).ends(0).json();
    let names: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(listed.as_object().unwrap().len(), 1);
    assert_eq!(shell.run(&["account", "list"]).ends(0).out.lines().count(), 7);
    shell.run(&["pool", "list"]).fails(1, &["no admin API"]);
}

fn account_body() -> Value {
    json!({ "name": "alpha", "nickname": null, "platform": "DHAN_V2_IPV6", "client_id": "1", "pair": null, "legs": [],
        "token": { "state": "live", "expires_at": "2026-11-24T18:35:03Z", "source": "totp", "last_error": null },
        "halted": true, "created_at": "2026-11-23T18:35:03Z" })
}

/// A leg pinned the wrong way, or a halt that was lifted instead of set, costs money.
#[test]
fn halt_leg_refresh_and_consent_ask_for_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let failed = json!({ "state": "needs_person", "expires_at": null, "source": null,
        "last_error": { "code": "pin_refused", "summary": "the PIN was refused", "action": "correct it" } });
    let answer = failed.clone();
    let server = Canned::start(move |line| {
        Some(Reply::json(&match line {
            "POST /v1/accounts/alpha/token/refresh" => account_body()["token"].clone(),
            "POST /v1/accounts/beta/token/refresh" => answer.clone(),
            "POST /v1/accounts/alpha/token/consent" => {
                json!({ "login_url": "https://auth.example/login?id=1&x=2", "consents_left": 24 })
            }
            "PUT /v1/accounts/alpha/halt" | "PUT /v1/accounts/alpha/leg" => account_body(),
            other => panic!("{other}"),
        }))
    });
    let shell = Shell::at(&server, dir.path());
    let body = |arguments: &[&str]| {
        shell.run(arguments).ends(0);
        server.asked()[0].body.clone()
    };
    assert_eq!(body(&["halt", "alpha", "--reason", "too wild"]), json!({ "halted": true, "reason": "too wild" }));
    // In an emergency nobody has to think of a reason.
    assert_eq!(body(&["halt", "alpha"]), json!({ "halted": true }));
    assert_eq!(body(&["halt", "alpha", "--off"]), json!({ "halted": false }));
    shell.run(&["halt", "alpha", "--off", "--reason", "x"]).ends(2);
    for pin in ["primary", "secondary", "auto"] {
        assert_eq!(body(&["account", "leg", "alpha", pin]), json!({ "pin": pin }));
    }
    shell.run(&["account", "leg", "alpha", "third"]).ends(2);
    assert_eq!(body(&["token", "refresh", "alpha"]), json!({}));
    assert_eq!(body(&["token", "refresh", "alpha", "--vouched"]), json!({ "vouched": true }));
    let said = shell.run(&["token", "refresh", "beta"]).ends(1);
    assert!(said.out.contains("the PIN was refused (pin_refused)") && said.out.contains("correct it"), "{said:?}");
    assert_eq!(shell.run(&["token", "refresh", "beta", "--json"]).ends(1).json(), failed);
    let said = shell.run(&["token", "consent", "alpha"]).ends(0);
    assert_eq!(said.out, "https://auth.example/login?id=1&x=2\n");
    assert!(said.err.contains("24"), "{said:?}");
    assert_eq!(shell.run(&["token", "consent", "alpha", "--json"]).ends(0).json()["consents_left"], 24);
    let said = shell.run(&["halt", "alpha", "--off"]).ends(0);
    assert_eq!(said.line("halted"), ["halted", "yes"]);
    assert!(said.out.contains("2026-11-25 00:05 IST (2026-11-24 18:35 UTC)"), "{said:?}");
    assert_eq!(shell.run(&["halt", "alpha", "--off", "--json"]).ends(0).json(), account_body());
}

fn checks(account: Option<&str>, ok: bool) -> Value {
    let mut body = json!({ "ok": ok, "checks": [
        { "name": "token", "ok": true, "result": "ok", "detail": "live" },
        { "name": "totp_clock", "ok": ok, "result": if ok { "ok" } else { "unknown" }, "detail": "not told" },
        { "name": "leg_primary", "ok": ok, "detail": "seen as 2001:db8:a1::1" } ] });
    if let Some(account) = account {
        body["account"] = json!(account);
    }
    body
}

/// The answer to "can I trade today?", for people and for a script before the market opens.
#[test]
fn validate_tells_each_check_and_its_exit_code_is_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let server = Canned::start(|line| match line {
        "POST /v1/accounts/alpha/validate" => Some(Reply::json(&checks(None, true))),
        "POST /v1/accounts/beta/validate" => Some(Reply::json(&checks(None, false))),
        // As they are done, and not by name.
        "POST /v1/validate" => {
            let lines = [checks(Some("beta"), false), checks(Some("alpha"), true)];
            Some(Reply(200, "application/x-ndjson", format!("{}\n{}\n", lines[0], lines[1])))
        }
        "GET /v1/accounts?limit=1000" => Some(Reply::json(&json!({ "items": [{}, {}], "next": null }))),
        other => panic!("{other}"),
    });
    let shell = Shell::at(&server, dir.path());
    let said = shell.run(&["validate", "alpha"]).ends(0);
    assert_eq!(said.line("leg_primary"), ["leg_primary", "ok", "seen", "as", "2001:db8:a1::1"]);
    let said = shell.run(&["validate", "beta"]).ends(1);
    assert_eq!(said.line("leg_primary")[1], "FAILED");
    assert_eq!(said.line("totp_clock")[1..3], ["not", "known"]);
    assert_eq!(shell.run(&["validate", "beta", "--json"]).ends(1).json(), checks(None, false));
    server.asked();

    let said = shell.run(&["validate", "--all"]).ends(1);
    assert_eq!(said.line("alpha"), ["alpha", "ok", "-"]);
    assert_eq!(said.line("beta")[..3], ["beta", "FAILED", "totp_clock:"]);
    assert_eq!(said.err, "ready: 1 of 2 accounts\n", "progress is for terminals");
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].head.contains("accept: application/x-ndjson"), "{asked:?}");
    let all = json!({ "items": [checks(Some("alpha"), true), checks(Some("beta"), false)] });
    assert_eq!(shell.run(&["validate", "--all", "--json"]).ends(1).json(), all);

    let mut terminal = Terminal::start(shell.command(&["validate", "--all"]));
    let (status, output) = terminal.end();
    assert_eq!((status.code(), output), (Some(1), said.out));
    terminal.shows("of 2 accounts");
    shell.run(&["validate"]).ends(2);
    shell.run(&["validate", "alpha", "--all"]).ends(2);
}

/// A gateway that knows no lines answers with a list; one that breaks off must not count as done.
#[test]
fn validate_all_takes_a_list_and_no_half_answer() {
    let dir = tempfile::tempdir().unwrap();
    let good = json!({ "items": [checks(Some("alpha"), true)] });
    let body = good.clone();
    let server = Canned::start(move |_| Some(Reply::json(&body)));
    let shell = Shell::at(&server, dir.path());
    assert_eq!(shell.run(&["validate", "--all", "--json"]).ends(0).json(), good);
    assert!(shell.run(&["validate", "--all"]).ends(0).err.contains("1 of 1"));

    let half = checks(Some("alpha"), true).to_string();
    let half = half[..half.len() - 5].to_owned();
    let server = Canned::start(move |_| Some(Reply(200, "application/x-ndjson", half.clone())));
    Shell::at(&server, dir.path()).run(&["validate", "--all"]).fails(1, &["no admin API"]);
}

/// An address registered by mistake is there for a week.
#[test]
fn register_shows_replaces_only_what_is_named_and_tells_what_was_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let slot = |n: u32, registered: Value| json!({ "assigned": format!("2001:db8:a{n}::1"), "registered": registered, "matches": false, "change_allowed_from": "2026-12-01" });
    let body = json!({ "primary": slot(1, json!("203.0.113.9")), "secondary": slot(2, Value::Null),
        "detected": "2001:db8:a1::1", "match_status": "MISMATCH", "orders_allowed": false });
    let mut put = body.clone();
    put["changes"] = json!([{ "role": "primary", "action": "refused", "detail": "holds 203.0.113.9" },
        { "role": "secondary", "action": "set", "detail": "was empty" }]);
    let (got, done) = (body.clone(), put.clone());
    let server = Canned::start(move |line| match line {
        "GET /v1/accounts/alpha/registration" => Some(Reply::json(&got)),
        "PUT /v1/accounts/alpha/registration" => Some(Reply::json(&done)),
        other => panic!("{other}"),
    });
    let shell = Shell::at(&server, dir.path());
    let said = shell.run(&["register", "alpha", "--show"]).ends(0);
    assert_eq!(said.line("primary"), ["primary", "2001:db8:a1::1", "203.0.113.9", "no", "2026-12-01"]);
    assert!(said.out.contains("MISMATCH"), "{said:?}");
    assert_eq!(shell.run(&["register", "alpha", "--show", "--json"]).ends(0).json(), body);
    assert!(server.asked().iter().all(|asked| asked.line.starts_with("GET ")));

    let said = shell.run(&["register", "alpha", "--yes"]).ends(1);
    assert!(said.out.contains("refused") && said.out.contains("holds 203.0.113.9"), "{said:?}");
    // The question waits for a login that is under way.
    let lines = |asked: &[canned::Asked]| asked.iter().map(|asked| asked.line.clone()).collect::<Vec<_>>();
    let asked = server.asked();
    let path = "/v1/accounts/alpha/registration";
    assert_eq!(lines(&asked), [format!("GET {path}"), format!("PUT {path}")]);
    assert_eq!(asked[1].body, json!({ "replace": [] }));
    let both = ["register", "alpha", "--replace", "203.0.113.9", "--replace", "2001:db8::9", "--yes", "--json"];
    assert_eq!(shell.run(&both).ends(1).json(), put);
    assert_eq!(server.asked()[1].body, json!({ "replace": ["203.0.113.9", "2001:db8::9"] }));
    shell.run(&["register", "alpha", "--show", "--replace", "2001:db8::9"]).ends(2);
    shell.run(&["register", "alpha", "--yes", "--replace", "x"]).ends(2);
    assert!(server.asked().is_empty());
}

/// Callers' machines get it in one command, from whoever may not read the gateway's folder too.
#[test]
fn the_ca_is_exported_from_the_gateway_and_from_its_folder() {
    let Running { shell, dir, _gateway, .. } = start();
    let pem = std::fs::read_to_string(dir.path().join("state/ca.pem")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let nobody = Shell::new(elsewhere.path(), shell.admin.clone());
    assert_eq!(nobody.run(&["ca", "export"]).ends(0).out, pem);
    assert_eq!(nobody.run(&["ca", "export", "--out", "my-ca.pem"]).ends(0).out, "");
    assert_eq!(std::fs::read_to_string(elsewhere.path().join("my-ca.pem")).unwrap(), pem);
    nobody.run(&["ca", "export", "--out", "no/folder.pem"]).fails(1, &["no/folder.pem"]);

    drop(_gateway);
    let config = dir.path().join("sixgate.toml").display().to_string();
    assert_eq!(Shell::new(elsewhere.path(), None).run(&["ca", "export", "--config", &config]).ends(0).out, pem);
    nobody.run(&["ca", "export"]).fails(1, &["is the gateway running?"]);
    let server = Canned::start(|_| Some(Reply(200, "text/html", "<html>".to_owned())));
    Shell::at(&server, elsewhere.path()).run(&["ca", "export"]).fails(1, &["no admin API"]);
}

/// A list into `head` must not end in a panic.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let items: Vec<Value> = (0..5000).map(|n| json!({ "name": format!("account-{n}") })).collect();
    let server = Canned::start(move |_| Some(Reply::json(&json!({ "items": items, "next": null }))));
    let shell = Shell::at(&server, dir.path());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = shell.command(&["account", "list"]).stdout(writer).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// Every command is in the overview; every one has an example; none is only in the source.
#[test]
fn each_command_has_a_help_with_an_example() {
    let dir = tempfile::tempdir().unwrap();
    let shell = Shell::new(dir.path(), None);
    let overview = shell.run(&["help"]).ends(0).out;
    for group in ["Run:", "Accounts and their addresses:", "At the broker:", "Everything else:"] {
        assert!(overview.contains(group), "{overview}");
    }
    let commands: [(&str, &[&str]); 13] = [
        ("status", &[]),
        ("reload", &[]),
        ("account", &["list", "show", "limits", "create", "change", "delete", "leg"]),
        ("pool", &["list", "create", "delete"]),
        ("pair", &["assign", "reserve", "release", "retire"]),
        ("token", &["show", "set", "refresh", "consent"]),
        ("totp", &["preview"]),
        ("order", &["unsettled", "show", "settle"]),
        ("key", &["list", "create", "delete"]),
        ("ca", &["export"]),
        ("validate", &[]),
        ("register", &[]),
        ("halt", &[]),
    ];
    for (command, below) in commands {
        assert!(overview.contains(&format!("\n  {command} ")), "{command}: {overview}");
        let whole = shell.run(&[command, "--help"]).ends(0).out;
        assert!(whole.contains("Example") && whole.contains(&format!("  sixgate {command} ")), "{command}: {whole}");
        for below in below {
            assert!(whole.contains(&format!("\n  {below} ")), "{command} {below}: {whole}");
            let help = shell.run(&[command, below, "--help"]).ends(0).out;
            assert!(help.contains(&format!("sixgate {command} {below}")) && help.contains("Example"), "{help}");
            assert!(help.contains("--admin") && help.contains("SIXGATE_ADMIN"), "{help}");
        }
    }
    // The shell reads it without complaint.
    let script = shell.run(&["completions", "bash"]).ends(0).out;
    shell.file("completions.bash", &script);
    let output = Command::new("bash").arg("-n").arg(dir.path().join("completions.bash")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    shell.run(&["completions", "csh"]).ends(2);
}

/// Where a terminal has no network, `man` is what an operator has.
#[test]
fn each_command_has_a_manual_page_and_no_page_offers_a_secret_as_an_argument() {
    let dir = tempfile::tempdir().unwrap();
    let shell = Shell::new(dir.path(), None);
    shell.run(&["man", "share/man1"]).ends(0);
    let page = |name: &str| std::fs::read_to_string(dir.path().join("share/man1").join(name)).unwrap();
    let overview = page("sixgate.1");
    for name in ["serve", "account", "halt", "journal", "man"] {
        assert!(overview.contains(&format!("sixgate\\-{name}(1)")), "{name}: {overview}");
        assert!(page(&format!("sixgate-{name}.1")).contains(&format!("sixgate {name}")), "{name}");
    }
    let change = page("sixgate-account-change.1");
    assert!(change.contains("\\-\\-pin\\-file"), "{change}");
    assert!(!change.contains("\\-\\-pin\\fR"), "{change}");
    std::fs::write(dir.path().join("file"), "").unwrap();
    shell.run(&["man", "file"]).fails(1, &["cannot write file"]);
}
