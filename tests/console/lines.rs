//! The lines that the page of an account's keys shows: each is copied and run as it stands, by a shell that has nothing else
//! in its environment, against the gateway that showed it. The reader's own program is one of `tests/clients`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use super::person::Person;
use crate::admin::api::At;
use crate::callers::{Page, need, values, words};
use crate::support::node;
use crate::support::python::client;

/// A language of the page, the name that its lines give the reader's program, and who plays it. curl is its own.
const LANGUAGES: [(&str, Option<(&str, &str)>); 8] = [
    ("curl", None),
    ("Python: requests", Some(("your_engine.py", "requests_orders.py"))),
    ("Python: httpx", Some(("your_engine.py", "httpx_orders.py"))),
    ("Python: aiohttp", Some(("your_engine.py", "aiohttp_orders.py"))),
    ("Python: dhanhq", Some(("your_engine.py", "sdk_orders.py"))),
    ("Node", Some(("your_engine.mjs", "node_orders.mjs"))),
    ("Java", Some(("YourEngine.java", "JavaOrders.java"))),
    ("Go", Some(("your_engine.go", "go_orders.go"))),
];

/// What a browser makes of a text in a page.
fn decoded(html: &str) -> String {
    html.replace("&quot;", "\"").replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// The languages of the page, each with what its copy buttons hold.
fn shown(html: &str) -> Vec<(String, Vec<String>)> {
    let parts = html.split("<details name=\"language\"").skip(1).filter_map(|part| part.split("</details>").next());
    let read = |part: &str| {
        let (name, rest) = part.split_once("<summary>")?.1.split_once("</summary>")?;
        let blocks = rest.split(" data-copy=\"").skip(1).filter_map(|block| block.split('"').next());
        Some((decoded(name), blocks.map(decoded).collect()))
    };
    parts.filter_map(read).collect()
}

/// The program under the name that the lines give it. One that asks for the account's id has it: a reader's own would.
fn put_program(folder: &Path, (name, file): (&str, &str)) -> String {
    let text = fs::read_to_string(client(file)).unwrap();
    let told = if file == "sdk_orders.py" { "import sys\nsys.argv[1:] = ['1000000001']\n" } else { "" };
    fs::write(folder.join(name), format!("{told}{text}")).unwrap();
    text
}

/// Everything that a program printed of its requests is a success, and it made some.
#[track_caller]
fn assert_worked(language: &str, printed: &[Value]) {
    assert!(!printed.is_empty(), "{language} printed nothing");
    for line in printed {
        let good = line.is_array() || line["status"] == 200 || line["status"] == "success";
        assert!(good, "{language}: {line}");
    }
}

#[test]
fn what_is_shown_for_a_new_key_works_when_it_is_pasted() {
    for (program, package) in [
        ("curl", "curl"),
        ("node", "nodejs"),
        ("java", "default-jdk-headless"),
        ("keytool", "default-jdk-headless"),
        ("go", "golang-go"),
    ] {
        need(program, package);
    }
    let modules = node::modules();
    for (page, has_key) in [(Page::open(), false), (Page::with_key(), true)] {
        let admin = page.printed("admin API").strip_prefix("http://").unwrap().parse().unwrap();
        let token = fs::read_to_string(page.folder.path().join("state/admin.token")).unwrap();
        let mut person = Person::at(&At::Tcp(admin));
        person.sign_in(token.trim());
        let keys = "/console/accounts/demo/keys";
        let nonce = person.get(keys).value("nonce").expect("a form that makes a key").to_owned();
        let made = person.post(keys, &[("nonce", &nonce), ("label", "my engine")]);
        assert!(made.status == 200 && made.has("shown here and never again"), "{made:?}");
        assert_eq!(
            person.post(keys, &[("nonce", &nonce)]).status,
            409,
            "a form that is sent again makes no second key"
        );

        let shown = shown(&made.html);
        let names: Vec<&str> = shown.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, LANGUAGES.map(|(name, _)| name));
        // Not where the gateway was started, nor where its state is.
        let folder = page.folder.path().join("reader");
        fs::create_dir(&folder).unwrap();
        symlink(&modules, folder.join("node_modules")).unwrap();
        for ((language, blocks), (_, program)) in shown.iter().zip(LANGUAGES) {
            let program = program.map(|program| put_program(&folder, program)).unwrap_or_default();
            // What is no line of a shell is a part of the program, which has it already.
            let flat = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
            let program = flat(&program);
            let lines: Vec<&String> = blocks.iter().filter(|block| !program.contains(&flat(block))).collect();
            let [lines] = lines.as_slice() else { panic!("{language}: {blocks:#?}") };
            assert_eq!(lines.contains("sgk_"), has_key, "{language}: {lines}");
            let output = page.bash(&format!("cd reader\n{lines}"));
            assert!(output.status.success(), "{language} ended with {}:\n{lines}\n{}", output.status, words(&output));
            assert_worked(language, &values(&output));
        }
    }
}
