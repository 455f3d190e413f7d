//! What a command finds in its environment.
//!
//! Pure: what the caller of `sixgate run` has set comes in, and what is to be set or taken away goes out.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Variables that lead to a proxy. None of an earlier setting may stay: one of them would lead past the gateway.
const PROXIES: [&str; 14] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "WS_PROXY",
    "ws_proxy",
    "WSS_PROXY",
    "wss_proxy",
    "SOCKS_PROXY",
    "socks_proxy",
    "SOCKS5_PROXY",
    "socks5_proxy",
];
/// Those of them that are set.
const SET: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Names of this host itself: what listens there is not the broker.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Variables that name a bundle of certificates, and who reads them.
const BUNDLES: [&str; 6] = [
    "SSL_CERT_FILE",              // OpenSSL, and with it Python, Ruby, PHP; Go; .NET; rustls
    "REQUESTS_CA_BUNDLE",         // Python's requests
    "CURL_CA_BUNDLE",             // curl, requests, R
    "WEBSOCKET_CLIENT_CA_BUNDLE", // Python's websocket-client
    "NODE_EXTRA_CA_CERTS",
    "DENO_CERT",
];

/// Where the proxy is that a command is to use.
#[derive(Clone, Debug)]
pub(super) struct ProxyVariables<'a> {
    /// With account and key where it asks for them.
    pub(super) url: &'a str,
    /// For Java, which knows no URL.
    pub(super) host: &'a str,
    pub(super) port: u16,
}

/// Files that are made for a run.
#[derive(Clone, Debug)]
pub(super) struct Files<'a> {
    pub(super) bundle: &'a Path,
    pub(super) trust_store: &'a Path,
    /// A folder with settings for PHP.
    pub(super) php: &'a Path,
}

/// What is set (`Some`) or taken away. `known` says what is set now, `hosts` are the broker's. Without a proxy the
/// command is in a network where it needs none.
pub(super) fn variables(
    proxy: Option<&ProxyVariables<'_>>,
    files: &Files<'_>,
    hosts: &[String],
    known: impl Fn(&str) -> Option<OsString>,
) -> Vec<(&'static str, Option<OsString>)> {
    let mut all: Vec<(&'static str, Option<OsString>)> = Vec::new();
    for name in PROXIES {
        let url = proxy.filter(|_| SET.contains(&name)).map(|proxy| proxy.url.into());
        all.push((name, url));
    }
    for name in NO_PROXY {
        let told = NO_PROXY.into_iter().find_map(&known).unwrap_or_default();
        all.push((name, proxy.map(|_| no_proxy(&told.to_string_lossy(), hosts).into())));
    }
    all.push(("NODE_USE_ENV_PROXY", proxy.map(|_| "1".into())));
    all.extend(BUNDLES.map(|name| (name, Some(files.bundle.into()))));
    // One folder more than PHP itself knows, or than it was told of.
    let mut folders = known("PHP_INI_SCAN_DIR").unwrap_or_default();
    folders.push(":");
    folders.push(files.php);
    all.push(("PHP_INI_SCAN_DIR", Some(folders)));
    let mut options = known("JAVA_TOOL_OPTIONS").unwrap_or_default();
    for option in java(proxy, files.trust_store) {
        if !options.is_empty() {
            options.push(" ");
        }
        options.push(option);
    }
    all.push(("JAVA_TOOL_OPTIONS", Some(options)));
    all
}

/// What was told to go past proxies, but for what is the broker's, and what is on this host.
fn no_proxy(told: &str, hosts: &[String]) -> String {
    let leads_past = |entry: &str| {
        let name = entry.split_once(':').map_or(entry, |(name, _)| name).to_ascii_lowercase();
        let name = name.trim_start_matches('*').trim_start_matches('.');
        name.is_empty() || hosts.iter().any(|host| host == name || host.ends_with(&format!(".{name}")))
    };
    let told = told.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty() && !LOOPBACK.contains(entry));
    // An address with colons is no name of the broker's.
    let kept = told.filter(|entry| entry.matches(':').count() > 1 || !leads_past(entry));
    LOOPBACK.into_iter().chain(kept).collect::<Vec<_>>().join(",")
}

/// Java's system properties.
fn java(proxy: Option<&ProxyVariables<'_>>, trust_store: &Path) -> Vec<OsString> {
    let mut options: Vec<OsString> = Vec::new();
    if let Some(proxy) = proxy {
        for scheme in ["http", "https"] {
            options.push(format!("-D{scheme}.proxyHost={}", proxy.host).into());
            options.push(format!("-D{scheme}.proxyPort={}", proxy.port).into());
        }
        // A bar would be a shell's in a script that passes them on.
        options.push("-Dhttp.nonProxyHosts='localhost|127.*|[::1]'".into());
        // The JDK withholds Basic from tunnels; whoever shows a key by an Authenticator needs it.
        options.push("-Djdk.http.auth.tunneling.disabledSchemes=".into());
    }
    // In quotes, as the JVM cuts the variable at blanks.
    let mut store = OsString::from("-Djavax.net.ssl.trustStore='");
    store.push(trust_store);
    store.push(OsStr::new("'"));
    options.push(store);
    options.push("-Djavax.net.ssl.trustStoreType=PKCS12".into());
    options
}

/// The settings file of PHP: its `curl` and its streams each have their own.
pub(super) fn php_settings(bundle: &Path) -> String {
    let bundle = bundle.display();
    format!("curl.cainfo = \"{bundle}\"\nopenssl.cafile = \"{bundle}\"\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn told(proxy: bool, known: &[(&str, &str)]) -> BTreeMap<&'static str, Option<String>> {
        let [bundle, trust_store, php] = ["/run/b.pem", "/run/t.p12", "/run/php"].map(Path::new);
        let proxy =
            proxy.then_some(ProxyVariables { url: "http://alpha:sgk_x@127.0.0.1:8080", host: "127.0.0.1", port: 8080 });
        let known = |name: &str| known.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
        let hosts = ["api.dhan.co", "api-feed.dhan.co"].map(str::to_owned);
        let all = variables(proxy.as_ref(), &Files { bundle, trust_store, php }, &hosts, known);
        all.into_iter().map(|(name, value)| (name, value.map(|value| value.into_string().unwrap()))).collect()
    }

    /// A variable of an earlier setting that stays leads past the gateway.
    #[test]
    fn every_variable_of_a_proxy_leads_to_the_gateway_or_is_taken_away() {
        let all = told(true, &[("ALL_PROXY", "socks5://elsewhere:1")]);
        for name in PROXIES {
            let expected = SET.contains(&name).then(|| "http://alpha:sgk_x@127.0.0.1:8080".to_owned());
            assert_eq!(all[name], expected, "{name}");
        }
        assert_eq!(all["NODE_USE_ENV_PROXY"].as_deref(), Some("1"));
        let all = told(false, &[]);
        for name in PROXIES.into_iter().chain(NO_PROXY).chain(["NODE_USE_ENV_PROXY"]) {
            assert_eq!(all[name], None, "{name}");
        }
        assert_eq!(all["SSL_CERT_FILE"].as_deref(), Some("/run/b.pem"));
    }

    /// `JAVA_TOOL_OPTIONS` is printed by the JVM when it starts.
    #[test]
    fn no_key_is_in_what_the_jvm_prints() {
        let options = told(true, &[("JAVA_TOOL_OPTIONS", "-Xmx1g")])["JAVA_TOOL_OPTIONS"].clone().unwrap();
        assert!(options.starts_with("-Xmx1g -Dhttp.proxyHost=127.0.0.1 "), "{options}");
        assert!(options.contains("-Djavax.net.ssl.trustStore='/run/t.p12'") && !options.contains("sgk_"), "{options}");
        let isolated = told(false, &[])["JAVA_TOOL_OPTIONS"].clone().unwrap();
        assert!(!isolated.contains("proxy") && isolated.starts_with("-Djavax"), "{isolated}");
    }

    #[test]
    fn what_goes_past_proxies_is_never_the_broker() {
        let kept = |told: &str| no_proxy(told, &["api.dhan.co".to_owned()]);
        assert_eq!(kept(""), "localhost,127.0.0.1,::1");
        assert_eq!(kept("localhost, db.lan,10.0.0.0/8"), "localhost,127.0.0.1,::1,db.lan,10.0.0.0/8");
        for past in ["*", "dhan.co", ".dhan.co", "*.dhan.co", "api.dhan.co:443", "API.dhan.co", "co"] {
            assert_eq!(kept(past), "localhost,127.0.0.1,::1", "{past}");
        }
        assert_eq!(kept("an.co,2001:db8::1"), "localhost,127.0.0.1,::1,an.co,2001:db8::1");
    }

    #[test]
    fn what_php_was_told_of_stays() {
        assert_eq!(told(true, &[])["PHP_INI_SCAN_DIR"].as_deref(), Some(":/run/php"));
        assert_eq!(told(true, &[("PHP_INI_SCAN_DIR", "/a")])["PHP_INI_SCAN_DIR"].as_deref(), Some("/a:/run/php"));
    }
}
