//! What comes to the admin API and is meant for a proxy, or speaks something else.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::api::own_address;
use super::{LIMIT, start};
use crate::support::gateway::Ready;
use crate::support::{Gateway, Place, wait_until};

fn told(at: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(bytes).unwrap();
    let mut told = Vec::new();
    stream.read_to_end(&mut told).unwrap();
    String::from_utf8_lossy(&told).into_owned()
}

/// Ports 8080 and 8081 are taken for each other, and a connection that just ends says nothing of it.
#[test]
fn what_is_meant_for_a_proxy_is_told_where_that_is() {
    let running = start();
    let admin = running.gateway.output();
    let at = admin.lines().find_map(|line| line.strip_prefix("admin API http://")).unwrap().trim().to_owned();
    let request = |line: &str, host: &str| {
        format!("{line} HTTP/1.1\r\nHost: {host}\r\nAccess-Token: hunter2\r\nConnection: close\r\n\r\n").into_bytes()
    };
    for (bytes, status, words) in [
        (vec![5, 1, 0], 400, "the caller speaks SOCKS"),
        (vec![4, 1, 0, 80, 0, 0, 0, 1, 0], 400, "[[listener]]"),
        ([&[0x16, 3, 1, 2, 0][..], &[7; 512]].concat(), 400, "the caller began TLS"),
        (request("CONNECT api.dhan.co:443", "api.dhan.co:443"), 421, "http://127.0.0.1:8080"),
        (request("CONNECT api.dhan.co:443", &at), 421, "not_a_proxy"),
        (request("GET http://api.dhan.co/v2/orders", "api.dhan.co"), 421, "[[listener]]"),
        (request("POST http://api.dhan.co/console", "api.dhan.co"), 421, "HTTP_PROXY"),
        // Its own names may be written in that form, and are what they are.
        (request(&format!("GET http://{at}/healthz"), &at), 200, ""),
        (request("GET http://localhost:1/healthz", "localhost:1"), 200, ""),
    ] {
        let told = told(&at, &bytes);
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")) && told.contains(words), "{words}: {told}");
        assert!(status == 200 || told.contains("application/problem+json"), "{told}");
    }
    wait_until("the log says so", LIMIT, || {
        let log = running.gateway.log();
        log.contains("the admin API refused what is not meant for it") && log.contains("SOCKS")
    });
    assert!(!running.gateway.log().contains("hunter2"));
}

#[test]
fn plain_http_to_an_admin_api_with_tls_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(vec!["gw.lan".to_owned()]).unwrap();
    std::fs::write(dir.path().join("c.pem"), key.cert.pem()).unwrap();
    std::fs::write(dir.path().join("k.pem"), key.signing_key.serialize_pem()).unwrap();
    let at = format!("{}:8081", own_address());
    let config = format!(
        "[state]\npath = \"state\"\n[[listener]]\naddress = \"unix:{{dir}}/proxy.sock\"\nclient_key = \"required\"\n\
         [admin]\naddress = \"{at}\"\ntls_certificate = \"c.pem\"\ntls_key = \"k.pem\"\n"
    );
    let gateway = Gateway::start_with(&Place::alone(), &config, dir.path(), Ready::Nothing, |_| {});
    wait_until("it serves", LIMIT, || gateway.output().contains("admin API https://"));
    wait_until("it accepts", LIMIT, || TcpStream::connect(&*at).is_ok());
    let plain = told(&at, format!("GET /healthz HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes());
    assert!(plain.starts_with("HTTP/1.1 400 ") && plain.contains("write https:// in the URL"), "{plain}");
}
