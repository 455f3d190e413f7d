//! What the real binary keeps: over kills, restarts, a second process, a wrong key, a full disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::admin::api::{self, Api, At, Reply, token};
use crate::support::{Gateway, Place, Process, Ready, wait_for, wait_until};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const LIMIT: Duration = Duration::from_secs(30);
const DAY: i64 = 86_400;

const CONFIG: &str = "[state]\npath = \"{dir}/state\"\n\
    [[listener]]\naddress = \"unix:{dir}/proxy.sock\"\nclient_key = \"required\"\n\
    [admin]\naddress = \"unix:{dir}/admin.sock\"\n\
    [[pool]]\nname = \"main\"\nprimary = \"2001:db8:a1::/64\"\nsecondary = \"2001:db8:a2::/64\"\n";

fn start(dir: &Path) -> (Gateway, Api) {
    let gateway = Gateway::start(&Place::alone(), CONFIG, dir);
    let api = api_of(dir);
    (gateway, api)
}

fn api_of(dir: &Path) -> Api {
    Api::new(At::Unix(dir.join("admin.sock")), &dir.join("state/admin.token"))
}

/// Start it where it is not to come up; answers how it ended and what it said.
fn start_in_vain(dir: &Path, config: &str, adjust: impl FnOnce(&mut Command)) -> (Option<i32>, String) {
    let mut gateway = Gateway::start_with(&Place::alone(), config, dir, Ready::Nothing, adjust);
    let status = gateway.wait_for_end(LIMIT);
    (status.code(), gateway.log())
}

fn manual(name: &str, client_id: &str) -> Value {
    json!({ "name": name, "platform": "DHAN_V2_IPV6", "client_id": client_id })
}

/// Every file below a folder: its mode and a hash of what it holds.
fn files(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (path, meta) = (entry.path(), entry.metadata().unwrap());
            let content = if meta.is_file() { Sha256::digest(std::fs::read(&path).unwrap()).to_vec() } else { vec![] };
            if meta.is_dir() {
                folders.push(path.clone());
            }
            all.insert(path, (meta.permissions().mode(), content));
        }
    }
    all
}

/// 403 is past the key, for nobody's host; 407 is not.
fn key_opens(dir: &Path, account: &str, key: &str) -> bool {
    let mut stream = api::connect(&At::Unix(dir.join("proxy.sock"))).unwrap();
    let basic = BASE64.encode(format!("{account}:{key}").as_bytes());
    write!(
        stream,
        "GET http://example.com/ HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\
         proxy-authorization: Basic {basic}\r\n\r\n"
    )
    .unwrap();
    match api::read_reply(stream).unwrap().status {
        403 => true,
        407 => false,
        other => panic!("{other} is neither"),
    }
}

/// What an account is, as far as the API tells; `None` when there is none.
#[derive(Clone, Debug, Default, PartialEq)]
struct View {
    account: Option<Value>,
    keys: BTreeSet<String>,
}

/// What an account shows of this process alone, and the number of its last change.
const OF_THIS_PROCESS: [&str; 7] =
    ["elsewhere", "last_request", "legs", "problems", "registration", "validated", "version"];

impl View {
    fn of(api: &Api, name: &str) -> Self {
        let reply = api.get(&format!("/v1/accounts/{name}"));
        if reply.status == 404 {
            return Self::default();
        }
        let keys = api.get(&format!("/v1/accounts/{name}/keys")).is(200);
        let keys = keys.body["items"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned());
        let mut account = reply.is(200).body;
        // Legs are this process's own; "since" is when it made them.
        account.as_object_mut().unwrap().retain(|member, _| !OF_THIS_PROCESS.contains(&member.as_str()));
        Self { account: Some(account), keys: keys.collect() }
    }
}

/// One worker's account and what it was told of it.
#[derive(Clone, Debug, Default)]
struct Known {
    view: View,
    /// Keys by id, with their texts.
    keys: BTreeMap<String, String>,
    /// The call that got no answer, if one did not.
    open: Option<String>,
    calls: usize,
}

/// Makes one change after the other until one gets no answer.
fn work(api: &Api, name: &str, client_id: &str, mut known: Known, acknowledged: &AtomicUsize) -> Known {
    let path = format!("/v1/accounts/{name}");
    loop {
        known.calls += 1;
        let n = known.calls;
        let has = known.view.account.clone().filter(|_| !n.is_multiple_of(13));
        let (method, path, body) = match (has, n % 6) {
            (None, _) if known.view.account.is_none() => ("POST", "/v1/accounts".to_owned(), manual(name, client_id)),
            (None, _) => ("DELETE", path.clone(), Value::Null),
            (Some(account), 0) if !account["pair"].is_null() => ("DELETE", format!("{path}/pair"), Value::Null),
            (Some(account), 0 | 1) if account["pair"].is_null() => ("POST", format!("{path}/pair"), json!({})),
            (Some(_), 0..=2) => ("PATCH", path.clone(), json!({ "nickname": format!("n{n}") })),
            (Some(_), 3) => {
                let left = DAY + i64::try_from(n).unwrap();
                ("PUT", format!("{path}/token"), json!({ "access_token": token(client_id, left) }))
            }
            (Some(_), 4) if known.keys.len() > 2 => {
                ("DELETE", format!("{path}/keys/{}", known.keys.keys().next().unwrap()), Value::Null)
            }
            (Some(_), _) => ("POST", format!("{path}/keys"), json!({})),
        };
        let call = format!("{method} {path}");
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let Ok(reply) = api.raw(method, &path, &[], text.as_bytes()) else {
            return Known { open: Some(call), ..known };
        };
        assert!((200..300).contains(&reply.status), "{call}: {}", reply.raw);
        note(&mut known, method, &path, &reply);
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the reply says of the account from now on.
fn note(known: &mut Known, method: &str, path: &str, reply: &Reply) {
    let last = path.split('/').nth(4).unwrap_or_default();
    match (method, last) {
        ("POST" | "PATCH", "") => {
            let mut account = reply.body.clone();
            account.as_object_mut().unwrap().retain(|member, _| !OF_THIS_PROCESS.contains(&member.as_str()));
            known.view.account = Some(account);
        }
        ("DELETE", "") => (known.view, known.keys) = (View::default(), BTreeMap::new()),
        ("POST", "pair") => known.view.account.as_mut().unwrap()["pair"] = reply.body.clone(),
        ("DELETE", "pair") => known.view.account.as_mut().unwrap()["pair"] = Value::Null,
        ("PUT", "token") => known.view.account.as_mut().unwrap()["token"] = reply.body.clone(),
        ("POST", "keys") => {
            known.view.keys.insert(reply.text("/id").to_owned());
            known.keys.insert(reply.text("/id").to_owned(), reply.text("/key").to_owned());
        }
        ("DELETE", "keys") => {
            let id = path.rsplit('/').next().unwrap();
            known.view.keys.remove(id);
            known.keys.remove(id);
        }
        other => panic!("{other:?} is not one of ours"),
    }
}

/// The account may be as it was known, or one call further: the one that got no answer.
fn is_explained(known: &Known, found: &View) -> bool {
    if known.view == *found {
        return true;
    }
    let Some(open) = &known.open else { return false };
    let (was, is) = (&known.view, found);
    let same = |skip: &str| {
        let without = |view: &View| {
            let mut account = view.account.clone().unwrap_or_default();
            account.as_object_mut().map(|account| account.remove(skip));
            account
        };
        was.account.is_some() && is.account.is_some() && without(was) == without(is)
    };
    match open.split_once(' ').unwrap() {
        ("POST", "/v1/accounts") => was.account.is_none() && is.account.is_some() && is.keys.is_empty(),
        ("DELETE", path) if path.ends_with("/pair") => same("pair") && is.account.as_ref().unwrap()["pair"].is_null(),
        ("DELETE", path) if path.contains("/keys/") => {
            was.account == is.account && was.keys.difference(&is.keys).count() == 1 && is.keys.is_subset(&was.keys)
        }
        ("DELETE", _) => is.account.is_none(),
        ("POST", path) if path.ends_with("/pair") => same("pair") && !is.account.as_ref().unwrap()["pair"].is_null(),
        ("POST", _) => {
            was.account == is.account && is.keys.difference(&was.keys).count() == 1 && was.keys.is_subset(&is.keys)
        }
        ("PATCH", _) => same("nickname") && was.keys == is.keys,
        ("PUT", _) => same("token") && was.keys == is.keys,
        _ => false,
    }
}

/// The machine may stop at any moment. What a caller was told is done is done: an account, its pair, its keys, its token;
/// and nothing is there by half.
#[test]
fn whatever_was_acknowledged_outlives_kill_9_at_any_moment() {
    const WORKERS: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let mut known: Vec<Known> = vec![Known::default(); WORKERS];
    // Kills come after more and more changes, at whatever the others are doing then.
    for (round, after) in [3, 40, 17, 90, 1, 61].into_iter().enumerate() {
        let (mut gateway, api) = start(dir.path());
        let name = |n: usize| (format!("a{n}"), format!("{}", 1_000_000 + n));
        for (n, known) in known.iter_mut().enumerate() {
            let found = found_again(&api, &name(n).0, known, round);
            known.keys.retain(|id, _| found.keys.contains(id));
            for key in known.keys.values() {
                assert!(key_opens(dir.path(), &name(n).0, key));
            }
            (known.view, known.open) = (found, None);
        }
        let views: Vec<_> = known.iter().filter_map(|known| known.view.account.as_ref()).collect();
        let pairs: Vec<&str> = views.iter().filter_map(|account| account["pair"]["primary"].as_str()).collect();
        assert_eq!(pairs.len(), pairs.iter().collect::<BTreeSet<_>>().len());
        assert_eq!(api.get("/v1/pools/main").is(200).body["assigned"], pairs.len());
        assert_eq!(api.get("/v1/accounts").is(200).body["items"].as_array().unwrap().len(), views.len());

        let acknowledged = AtomicUsize::new(0);
        known = thread::scope(|scope| {
            let workers: Vec<_> = known
                .drain(..)
                .enumerate()
                .map(|(n, known)| {
                    let (api, acknowledged) = (api.clone(), &acknowledged);
                    scope.spawn(move || work(&api, &name(n).0, &name(n).1, known, acknowledged))
                })
                .collect();
            wait_until("enough is acknowledged", LIMIT, || acknowledged.load(Ordering::Relaxed) >= after);
            gateway.kill9();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
    }
    let (_gateway, api) = start(dir.path());
    for (n, known) in known.iter().enumerate() {
        found_again(&api, &format!("a{n}"), known, 6);
    }
}

/// What is there after a start, which must be what was known. A keeper that has not looked at its stored token yet shows
/// none for a moment.
fn found_again(api: &Api, name: &str, known: &Known, round: usize) -> View {
    let mut found = View::of(api, name);
    wait_until(&format!("round {round}, {name}: {known:#?}\nfound: {found:#?}"), LIMIT, || {
        found = View::of(api, name);
        is_explained(known, &found)
    });
    found
}

/// The first minute of an installation is when people press Ctrl-C; what is left then must not need an expert.
#[test]
fn a_first_start_that_was_killed_is_simply_done_again() {
    for point in
        ["state", "state/master.key", "state/sled", "state/exports", "state/ca.pem", "state/admin.token.unfinished"]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut killed = Gateway::start_with(&Place::alone(), CONFIG, dir.path(), Ready::Nothing, |_| {});
        wait_until(point, LIMIT, || dir.path().join(point).exists() || dir.path().join("state/admin.token").exists());
        killed.kill9();
        let (_gateway, api) = start(dir.path());
        api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    }
    // Where the name is there and its content is not: a disk that lost the last second.
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("state")).unwrap();
    std::fs::write(dir.path().join("state/admin.token.unfinished"), "sga_ha").unwrap();
    start(dir.path());
}

/// Two processes on one folder would each give the other's addresses away.
#[test]
fn a_second_process_on_the_folder_says_so_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_gateway, api) = start(dir.path());
    // The running gateway writes its exports when it likes.
    let files = |dir: &Path| {
        let mut all = files(dir);
        all.retain(|path, _| !path.components().any(|part| part.as_os_str() == "exports"));
        all
    };
    let before = files(&dir.path().join("state"));
    let other = tempfile::tempdir().unwrap();
    let config =
        CONFIG.replace("{dir}/state", dir.path().join("state").to_str().unwrap()) + "[log]\nlevel = \"info\"\n";
    for _ in 0..2 {
        let (status, said) = start_in_vain(other.path(), &config, |_| {});
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("in use by another sixgate"), "{said}");
    }
    assert_eq!(files(&dir.path().join("state")), before);
    assert!(!other.path().join("proxy.sock").exists(), "nothing was bound");
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
}

/// A key of the wrong backup, or one that others can read, is found out before anything is written with it.
#[test]
fn a_key_that_is_not_the_right_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("state/master.key");
    let (mut gateway, api) = start(dir.path());
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    gateway.terminate();
    let right = std::fs::read_to_string(&key).unwrap();
    let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    let refused = |what: &str, expected: &str, variable: Option<&str>| {
        let before = files(&dir.path().join("state"));
        let (status, said) = start_in_vain(dir.path(), CONFIG, |command| {
            if let Some(variable) = variable {
                command.env("SIXGATE_MASTER_KEY", variable);
            }
        });
        assert_eq!(status, Some(1), "{what}: {said}");
        assert!(said.contains(expected), "{what}: {said}");
        assert!(!said.contains(right.trim()) && variable.is_none_or(|key| !said.contains(key)), "{what}: {said}");
        assert_eq!(files(&dir.path().join("state")), before, "{what}");
    };

    for open in [0o640, 0o604, 0o620] {
        mode(open);
        refused("open to others", "chmod 600", None);
    }
    mode(0o600);
    std::fs::write(&key, format!("{}\n", "ab".repeat(32))).unwrap();
    refused("another key", "is not the one that", None);
    for bad in ["", "hunter2\n", &"x".repeat(64)] {
        std::fs::write(&key, bad).unwrap();
        refused("no key", "does not hold 64 hexadecimal digits", None);
    }
    std::fs::write(&key, &right).unwrap();
    refused("another one in the environment", "is not the one that", Some(&"cd".repeat(32)));
    refused("none in the environment", "64 hexadecimal digits", Some("hunter2hunter2"));

    let (_gateway, api) = start(dir.path());
    api.get("/v1/accounts/alpha").is(200);
}

/// A state folder is copied, backed up, looked into: its files are for their owner, and the key need not be beside them.
#[test]
fn what_is_made_at_the_first_start_is_for_its_owner_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let (mut gateway, api) = start(dir.path());
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    let mode = |name: &str| std::fs::metadata(state.join(name)).unwrap().permissions().mode() & 0o7777;
    for name in ["master.key", "admin.token", "ca.key"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    assert_eq!(mode("."), 0o700);
    let kept = |name: &str| std::fs::read(state.join(name)).unwrap();
    let names = ["master.key", "admin.token", "ca.key", "ca.pem"];
    let before = names.map(kept);
    let pem = String::from_utf8(kept("ca.pem")).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----") && !pem.contains("PRIVATE"), "{pem}");
    let sealed = String::from_utf8_lossy(&before[2]).into_owned();
    assert!(!sealed.contains("PRIVATE") && !sealed.contains("api.dhan.co"), "ca.key is sealed");
    gateway.terminate();

    let (mut gateway, api) = start(dir.path());
    assert_eq!(names.map(kept), before);
    api.get("/v1/accounts/alpha").is(200);
    gateway.kill9();

    // The same key by the environment; the file may then be elsewhere.
    let key = String::from_utf8(kept("master.key")).unwrap();
    std::fs::remove_file(state.join("master.key")).unwrap();
    let with_key = |command: &mut Command| {
        command.env("SIXGATE_MASTER_KEY", key.trim());
    };
    let mut gateway = Gateway::start_with(&Place::alone(), CONFIG, dir.path(), Ready::Readyz, with_key);
    api_of(dir.path()).get("/v1/accounts/alpha").is(200);
    assert!(!state.join("master.key").exists(), "no key is written that was not asked for");
    gateway.terminate();
    assert!(!gateway.log().contains(key.trim()) && !gateway.output().contains(key.trim()));
}

/// The file says what should be there; quietly keeping something else would send accounts out of the wrong prefix.
#[test]
fn a_pool_of_the_file_is_made_once_and_is_never_another() {
    let dir = tempfile::tempdir().unwrap();
    let (mut gateway, api) = start(dir.path());
    let made = api.get("/v1/pools/main").is(200).body;
    assert_eq!((&made["primary"], &made["secondary"]), (&json!("2001:db8:a1::/64"), &json!("2001:db8:a2::/64")));
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    let pair = api.post("/v1/accounts/alpha/pair", json!({})).is(201).body;
    gateway.terminate();

    let (mut gateway, api) = start(dir.path());
    assert_eq!(api.get("/v1/pools/main").is(200).body["assigned"], 1);
    assert_eq!(api.get("/v1/accounts/alpha").is(200).body["pair"], pair);
    gateway.terminate();

    for (file, word) in
        [(CONFIG.replace("a2::/64", "a3::/64"), "main"), (CONFIG.replace("\"main\"", "\"other\""), "overlaps")]
    {
        let before = files(&dir.path().join("state"));
        let (status, said) = start_in_vain(dir.path(), &file, |_| {});
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("pool") && said.contains(word), "{said}");
        assert_eq!(files(&dir.path().join("state")), before);
    }
    let (_gateway, api) = start(dir.path());
    assert_eq!(api.get("/v1/pools").is(200).body["items"].as_array().unwrap().len(), 1);
}

/// A mount namespace with a small disk at `state`, held open by a process of its own.
struct SmallDisk {
    holder: Process,
    dir: PathBuf,
}

impl SmallDisk {
    fn new(dir: &Path, size: &str) -> Self {
        let state = dir.join("state");
        std::fs::create_dir(&state).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut command = Command::new("unshare");
        // Whoever is not root becomes it in a user namespace.
        command.arg(if nix::unistd::geteuid().is_root() { "-m" } else { "-Urm" }).args(["sh", "-c"]);
        let mount = "mount -t tmpfs -o mode=700,size=\"$1\" none \"$0\" && echo mounted && exec tail -f /dev/null";
        let holder = Process::start(
            {
                command.arg(mount).arg(&state).arg(size);
                command
            },
            dir,
            "holder",
        );
        let mut disk = Self { holder, dir: dir.to_path_buf() };
        wait_until("the small disk is mounted (this takes `unshare -m`)", LIMIT, || {
            assert!(disk.holder.ended().is_none(), "no mount namespace: {}", disk.holder.log());
            disk.holder.output().contains("mounted")
        });
        disk
    }

    /// The folder as those inside see it.
    fn state(&self) -> PathBuf {
        let inside = self.dir.strip_prefix("/").unwrap();
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside).join("state")
    }

    fn start(&self) -> (Process, Api) {
        Gateway::write_config(&self.dir, CONFIG);
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.holder.id().to_string()).arg("--mount");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command
            .arg("--")
            .arg(env!("CARGO_BIN_EXE_sixgate"))
            .arg("serve")
            .arg("--config")
            .arg(self.dir.join("sixgate.toml"));
        let mut process = Process::start(command, &self.dir, "gateway");
        let at = At::Unix(self.dir.join("admin.sock"));
        wait_until("the gateway on the small disk is up", LIMIT, || {
            assert!(process.ended().is_none(), "{}", process.log());
            let asked = api::connect(&at).and_then(|mut stream| {
                stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
                api::read_reply(stream)
            });
            asked.is_ok_and(|reply| reply.status == 200)
        });
        let api = Api::new(at, &self.state().join("admin.token"));
        (process, api)
    }
}

/// A token with a claim of 1,500 bytes.
fn large_token(client_id: &str) -> String {
    let whole = token(client_id, DAY);
    let parts: Vec<&str> = whole.split('.').collect();
    let mut claims: Value = serde_json::from_slice(&BASE64URL_NOPAD.decode(parts[1].as_bytes()).unwrap()).unwrap();
    claims["filler"] = json!("s".repeat(1500));
    format!("{}.{}.{}", parts[0], BASE64URL_NOPAD.encode(claims.to_string().as_bytes()), parts[2])
}

/// A log that fills the disk must cost no account: what cannot be kept is refused, and what was kept stays.
#[test]
fn a_full_disk_refuses_changes_and_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(dir.path(), "6m");
    let (mut gateway, api) = disk.start();
    let add = |n: usize| {
        let mut body = manual(&format!("a{n}"), &format!("{}", 1000 + n));
        body["access_token"] = json!(large_token(&format!("{}", 1000 + n)));
        api.post("/v1/accounts", body)
    };
    let mut kept: Vec<usize> = (0..5).inspect(|n| drop(add(*n).is(201))).collect();
    let filler = disk.state().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let block = vec![b'x'; 4096];
    while file.write_all(&block).is_ok() {}

    // What the engine has set aside already may still take some.
    let mut refused = Vec::new();
    for n in 5..400 {
        let reply = add(n);
        if reply.status == 201 {
            kept.push(n);
            continue;
        }
        assert_eq!((reply.status, reply.text("/code")), (507, "disk_full"), "{}", reply.raw);
        refused.push(n);
        if refused.len() == 3 {
            break;
        }
    }
    assert_eq!(refused.len(), 3, "the disk was full");
    let list = |api: &Api| -> BTreeSet<String> {
        let all = api.get("/v1/accounts?limit=1000").is(200);
        all.body["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let names = |numbers: &[usize]| numbers.iter().map(|n| format!("a{n}")).collect::<BTreeSet<_>>();
    assert_eq!(list(&api), names(&kept), "refused is not there, and reads go on");
    api.post("/v1/accounts/a0/pair", json!({})).is(507);
    assert_eq!(api.get("/v1/accounts/a0").is(200).body["pair"], Value::Null);
    assert_eq!(api.get("/v1/pools/main").is(200).body["assigned"], 0);

    drop(file);
    std::fs::remove_file(&filler).unwrap();
    // The engine is tried again once a second.
    let pair = wait_for("changes are taken again", LIMIT, || {
        let reply = api.post("/v1/accounts/a0/pair", json!({}));
        (reply.status == 201).then_some(reply.body)
    });
    assert_eq!(list(&api), names(&kept));
    gateway.kill9();
    let (_gateway, api) = disk.start();
    assert_eq!(list(&api), names(&kept));
    assert_eq!(api.get("/v1/accounts/a0").is(200).body["pair"], pair);
    // Each is taken up by its account's keeper, a moment after the API answers.
    wait_until("what was kept is live", LIMIT, || {
        kept.iter().all(|n| api.get(&format!("/v1/accounts/a{n}/token")).is(200).text("/state") == "live")
    });
    // And a refused one is a fresh try.
    let n = refused[0];
    api.post("/v1/accounts", manual(&format!("a{n}"), &format!("{}", 1000 + n))).is(201);
}

/// Whoever writes the file wants all its mistakes at once, and no half-started gateway.
#[test]
fn check_tells_every_problem_and_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str, more: &[&str]| {
        let file = dir.path().join("sixgate.toml");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command.arg("check").arg("--config").arg(&file).args(more).current_dir(dir.path());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let bad = "[state]\npaht = \"state\"\n\
        [[listener]]\naddress = \"[::]:8080\"\nclient_key = \"none\"\n\
        [admin]\naddress = 7\n\
        [egress]\nconnect_timeout = \"0s\"\n\
        [[pool]]\nname = \"main\"\nprimary = \"2001:db8::/48\"\nsecondary = \"2001:db8::/64\"\n";
    let keys = ["state.paht", "client_key", "admin.address", "egress.connect_timeout", "secondary"];
    let (status, stdout, stderr) = check(bad, &[]);
    assert_eq!((status, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(keys.iter().all(|key| stderr.contains(key)), "{stderr}");

    let (status, stdout, _) = check(bad, &["--json"]);
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((status, &answer["ok"]), (Some(2), &json!(false)));
    let told: Vec<&str> = answer["problems"].as_array().unwrap().iter().filter_map(|p| p["key"].as_str()).collect();
    assert!(keys.iter().all(|key| told.iter().any(|told| told.contains(key))), "{told:?}");
    assert!(answer["problems"].as_array().unwrap().iter().all(|p| !p["text"].as_str().unwrap_or_default().is_empty()));

    let good = CONFIG.replace("{dir}", dir.path().to_str().unwrap());
    let (status, stdout, _) = check(&good, &["--json"]);
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((status, &answer["ok"], &answer["problems"]), (Some(0), &json!(true), &json!([])));
    assert_eq!(check("this is no TOML", &[]).0, Some(2));
    let serve = Process::sixgate(&Place::alone(), dir.path(), "serve", ["serve", "--config", "sixgate.toml"])
        .wait_for_end(LIMIT);
    assert_ne!(serve.code(), Some(0));
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name == "state"), "checking makes nothing: {left:?}");
}

/// A new key would open nothing, and hide that the right one is missing.
#[test]
fn a_missing_master_key_beside_existing_state_is_told_and_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[state]\npath = \"{dir}/state\"\n[[listener]]\naddress = \"unix:{dir}/proxy.sock\"\naccount = \"alpha\"\n\
                [admin]\naddress = \"unix:{dir}/admin.sock\"\n";
    let mut gateway = Gateway::start(&Place::alone(), text, dir.path());
    assert_eq!(gateway.terminate().code(), Some(0));
    let key = dir.path().join("state/master.key");
    std::fs::rename(&key, dir.path().join("away")).unwrap();
    let config = dir.path().join("sixgate.toml");
    std::fs::write(&config, text.replace("{dir}", dir.path().to_str().unwrap())).unwrap();
    let serve = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command.args(["serve", "--config"]).arg(&config).output().unwrap()
    };
    let output = serve();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("restore it from its backup"), "{said}");
    assert!(!key.exists());
}

/// systemd 254 and later hands a service's user its credential by an access control
/// list, which shows as a group that may read.
#[test]
fn a_systemd_credential_may_be_readable_by_a_group_and_by_nobody_else() {
    for (mode, starts) in [(0o440, true), (0o444, false)] {
        let dir = tempfile::tempdir().unwrap();
        let credentials = dir.path().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        let file = credentials.join("sixgate.master-key");
        std::fs::write(&file, "ab".repeat(32)).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let text = format!(
            "[state]\npath = \"{0}/state\"\n[[listener]]\naddress = \"unix:{0}/proxy.sock\"\naccount = \"alpha\"\n\
             [admin]\naddress = \"unix:{0}/admin.sock\"\n",
            dir.path().display()
        );
        let config = dir.path().join("sixgate.toml");
        std::fs::write(&config, text).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command.args(["serve", "--config"]).arg(&config).env("CREDENTIALS_DIRECTORY", &credentials);
        let mut gateway = crate::support::Process::start(command, dir.path(), "gateway");
        if starts {
            crate::support::wait_until("it is bound", std::time::Duration::from_secs(20), || {
                gateway.output().contains("admin API")
            });
            assert_eq!(gateway.terminate().code(), Some(0));
            assert!(!dir.path().join("state/master.key").exists());
        } else {
            assert!(!gateway.wait_for_end(std::time::Duration::from_secs(20)).success());
            assert!(gateway.has_logged("sixgate.master-key"), "{}", gateway.log());
        }
    }
}
