//! The lines that connect a program: the blocks of `docs/callers.md`, which tests run as they stand, with this account's
//! values in them.

use crate::config::ClientKey;

use super::super::about::OpenListener;

/// The page that has the blocks.
const PAGE: &str = include_str!("../../../docs/callers.md");
/// How the page writes a listener, and one that asks for a client key.
const LISTENER: &str = "http://127.0.0.1:8080";
const WITH_KEY: &str = "http://alpha:client-key@127.0.0.1:8080";
/// How a program is called in the lines.
const PROGRAM: &str = "your_engine";

/// A language and its blocks: files of `tests/clients` in the page.
struct Language {
    name: &'static str,
    /// Those for a listener without a client key, and with one where that takes others.
    blocks: &'static [&'static str],
    with_key: &'static [&'static str],
    /// Of a shell's block only one paragraph.
    part: Part,
}

/// A paragraph of a shell's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The first: other languages follow in the same block.
    First,
    /// The last: the one with TLS to the end.
    Last,
}

const LANGUAGES: [Language; 8] = [
    Language { name: "curl", blocks: &["base_url.sh"], with_key: &[], part: Part::First },
    Language { name: "Python: requests", blocks: &["requests.sh"], with_key: &[], part: Part::Last },
    Language { name: "Python: httpx", blocks: &["httpx.sh"], with_key: &[], part: Part::Last },
    Language { name: "Python: aiohttp", blocks: &["aiohttp_orders.py", "aiohttp.sh"], with_key: &[], part: Part::Last },
    Language { name: "Python: dhanhq", blocks: &["sdk_orders.py", "sdk.sh"], with_key: &[], part: Part::Last },
    Language { name: "Node", blocks: &["node_orders.mjs", "node.sh"], with_key: &[], part: Part::Last },
    Language { name: "Java", blocks: &["java.sh"], with_key: &["JavaOrders.java", "java_key.sh"], part: Part::Last },
    Language { name: "Go", blocks: &["go.sh"], with_key: &[], part: Part::Last },
];

/// Where a program connects, and as whom.
#[derive(Clone, Debug)]
pub(super) struct Connection<'c> {
    /// `http://127.0.0.1:8080`, as a program writes it.
    pub listener: String,
    /// The account.
    pub account: &'c str,
    /// Its client key; nothing where the listener asks for none.
    pub key: Option<&'c str>,
    /// Dhan's id of the account.
    pub client_id: &'c str,
    /// The file of the certificate to trust.
    pub ca: String,
}

/// The listener that an account's programs connect to, and whether it asks for a client key: one of its own first.
pub(super) fn listener(open: &[OpenListener], account: &str) -> Option<(String, bool)> {
    let serves =
        |listener: &&OpenListener| listener.listener.account.as_ref().is_none_or(|own| own.as_str() == account);
    let needs_key = |listener: &OpenListener| listener.listener.client_key == ClientKey::Required;
    // A transparent one is no proxy.
    let tcp = |listener: &&OpenListener| listener.at.starts_with("http") && !listener.listener.transparent;
    let own = open
        .iter()
        .filter(serves)
        .filter(tcp)
        .min_by_key(|listener| (listener.listener.account.is_none(), needs_key(listener)))?;
    // Bound to every address: on this machine a program takes the loopback one.
    let at = own.at.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:");
    Some((at, needs_key(own)))
}

/// A language's name, and its lines.
pub(super) fn lines(connection: &Connection<'_>) -> Vec<(&'static str, Vec<String>)> {
    let of = |language: &'static Language| {
        let others = connection.key.is_some() && !language.with_key.is_empty();
        let names = if others { language.with_key } else { language.blocks };
        let blocks = names.iter().filter_map(|name| {
            let text = block(name)?;
            let text = match (name.ends_with(".sh"), language.part) {
                (false, _) => text,
                (true, Part::First) => text.split("\n\n").next().unwrap_or(text),
                (true, Part::Last) => text.rsplit("\n\n").next().unwrap_or(text),
            };
            Some(connection.fill(&dedented(text)))
        });
        (language.name, blocks.collect())
    };
    LANGUAGES.iter().map(of).collect()
}

/// A block of the page, by its file.
fn block(file: &str) -> Option<&'static str> {
    let (_, rest) = PAGE.split_once(&format!("<!-- tests/clients/{file} -->\n```"))?;
    let (_, rest) = rest.split_once('\n')?;
    rest.split_once("\n```").map(|(text, _)| text)
}

impl Connection<'_> {
    /// The proxy as a URL, with account and key where the listener asks for them.
    pub(super) fn url(&self) -> String {
        match (self.key, self.listener.split_once("://")) {
            (Some(key), Some((scheme, host))) => format!("{scheme}://{}:{key}@{host}", self.account),
            _ => self.listener.clone(),
        }
    }

    fn fill(&self, text: &str) -> String {
        let (host, port) =
            self.listener.split_once("://").map_or("", |(_, at)| at).rsplit_once(':').unwrap_or_default();
        let host = host.trim_matches(['[', ']']);
        let filled = text
            .replace(WITH_KEY, &self.url())
            .replace(LISTENER, &self.url())
            .replace("proxyHost=127.0.0.1", &format!("proxyHost={host}"))
            .replace("proxyPort=8080", &format!("proxyPort={port}"))
            .replace("PROXY_ACCOUNT=alpha", &format!("PROXY_ACCOUNT={}", self.account))
            .replace("PROXY_KEY=client-key", &format!("PROXY_KEY={}", self.key.unwrap_or_default()))
            .replace("$PWD/ca.pem", &word(&self.ca))
            .replace("-file ca.pem", &format!("-file {}", word(&self.ca)));
        filled.lines().filter_map(own_program).collect::<Vec<_>>().join("\n")
    }
}

/// Lines without the blanks that all of them begin with: a part of a program stands deep in it.
fn dedented(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let depth = lines.map(|line| line.len() - line.trim_start().len()).min().unwrap_or_default();
    text.lines().map(|line| line.get(depth..).unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// A file of the system's authorities and the gateway's, for a program that calls other hosts too.
pub(super) fn bundle(ca: &str) -> String {
    format!("cat /etc/ssl/certs/ca-certificates.crt {} > bundle.pem", word(ca))
}

/// A text as one word of a shell.
fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,@%:".contains(&byte);
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// A line with the reader's own program in it; of two runs of a program the first.
fn own_program(line: &str) -> Option<String> {
    let Some(at) = line.find("tests/clients/") else { return Some(line.to_owned()) };
    let (before, file) = line.split_at(at);
    let file = file.split(' ').next().unwrap_or_default();
    if file.ends_with("sdk_updates.py")
        || before.contains("python") && file.ends_with("requests_orders.py") && line.contains("http://")
    {
        return None;
    }
    let ending = file.rsplit('.').next().unwrap_or_default();
    let name = if ending == "java" { "YourEngine" } else { PROGRAM };
    Some(format!("{before}{name}.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(key: Option<&str>) -> Connection<'_> {
        let (listener, ca) = ("http://127.0.0.9:9090".to_owned(), "/var/lib/sixgate/ca.pem".to_owned());
        Connection { listener, account: "beta", key, client_id: "1000000002", ca }
    }

    /// A line that still has another account's name in it would not work when it is pasted.
    #[test]
    fn every_language_has_its_lines_with_this_account_s_values() {
        for key in [None, Some("sgk_x")] {
            let connection = connection(key);
            for (language, blocks) in lines(&connection) {
                let text = blocks.join("\n");
                assert!(text.len() > 20, "{language} has no lines");
                for left in ["alpha", "client-key", ":8080", "=8080", "$PWD", "tests/clients", "-file ca.pem"] {
                    assert!(!text.contains(left), "{language}: {left} in\n{text}");
                }
                let names = text.contains("127.0.0.9") && text.contains("9090");
                assert!(names, "{language} does not name the listener:\n{text}");
                assert_eq!(text.contains("sgk_x"), key.is_some(), "{language}:\n{text}");
            }
        }
    }

    /// Many a folder has a blank in its name, and a line is pasted as it stands.
    #[test]
    fn a_path_is_one_word_of_the_shell() {
        assert_eq!(word("/var/lib/sixgate/ca.pem"), "/var/lib/sixgate/ca.pem");
        assert_eq!(word("/home/an a's/ca.pem"), r"'/home/an a'\''s/ca.pem'");
        let in_a_blank = Connection { ca: "/home/my trades/ca.pem".to_owned(), ..connection(None) };
        let (_, go) = lines(&in_a_blank).into_iter().find(|(name, _)| *name == "Go").unwrap();
        assert!(go[0].contains("SSL_CERT_FILE='/home/my trades/ca.pem'"), "{go:?}");
        let both = "cat /etc/ssl/certs/ca-certificates.crt '/home/my trades/ca.pem' > bundle.pem";
        assert_eq!(bundle("/home/my trades/ca.pem"), both);
    }

    #[test]
    fn a_line_has_the_reader_s_program_and_nothing_of_ours() {
        let (_, java) = lines(&connection(Some("sgk_x"))).into_iter().find(|(name, _)| *name == "Java").unwrap();
        assert!(java[0].contains("PROXY") && java[1].contains("YourEngine.java"), "{java:?}");
        assert!(java[0].starts_with("static HttpClient client() {\n    var builder"), "{java:?}");
        for defined in ["String account =", "char[] key ="] {
            assert!(java[0].contains(defined), "nothing defines {defined}: {java:?}");
        }
        assert!(!java[1].contains("https://api.dhan.co/v2"), "{java:?}");
        let (_, curl) = lines(&connection(Some("sgk_x"))).into_iter().find(|(name, _)| *name == "curl").unwrap();
        assert_eq!(curl, ["curl -sS --fail-with-body http://beta:sgk_x@127.0.0.9:9090/v2/orders"]);
    }
}
