//! A person with a browser, as far as a server sees one: cookies, the headers that say which page a request comes from,
//! redirects followed, forms sent with the fields that the page has.

use std::fmt;

use crate::admin::api::{At, Stream, connect, read_reply};
use std::io::{BufRead, BufReader, Write as _};

/// A page as it came.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) status: u16,
    /// Where it was in the end.
    pub(crate) path: String,
    pub(crate) html: String,
    head: String,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}\n{}", self.status, self.path, self.html)
    }
}

impl Page {
    /// Does it say this?
    pub(crate) fn has(&self, text: &str) -> bool {
        self.html.contains(text)
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of a field.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let at = self.html.find(&format!("name=\"{name}\""))?;
        let field = self.html[at..].split('>').next()?;
        field.split("value=\"").nth(1)?.split('"').next()
    }
}

/// A browser.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    at: At,
    host: String,
    origin: String,
    cookie: String,
    set_cookie: String,
    csrf: String,
}

impl Person {
    pub(crate) fn at(at: &At) -> Self {
        let host = at.host();
        let origin = format!("http://{host}");
        Self { at: at.clone(), host, origin, cookie: String::new(), set_cookie: String::new(), csrf: String::new() }
    }

    /// Reach it by another name.
    pub(crate) fn named(&mut self, host: &str, origin: &str) {
        (self.host, self.origin) = (host.to_owned(), origin.to_owned());
    }

    /// The cookie, as it is sent.
    pub(crate) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// The last `Set-Cookie`.
    pub(crate) fn set_cookie(&self) -> &str {
        &self.set_cookie
    }

    /// The form token of the last page.
    pub(crate) fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Type an address, or follow one of our links.
    pub(crate) fn get(&mut self, path: &str) -> Page {
        let page = self.raw("GET", path, &[("sec-fetch-site", "same-origin")], "");
        self.take(page)
    }

    /// Send a form of the page that is shown.
    pub(crate) fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let mut body = format!("csrf={}", escaped(&self.csrf));
        for (name, value) in fields {
            body.push_str(&format!("&{}={}", escaped(name), escaped(value)));
        }
        let origin = self.origin.clone();
        let page = self.raw("POST", path, &[("sec-fetch-site", "same-origin"), ("origin", &origin)], &body);
        self.take(page)
    }

    /// Open the front page and sign in there.
    pub(crate) fn sign_in(&mut self, token: &str) -> Page {
        self.get("/");
        self.post("/console/sign-in", &[("token", token)])
    }

    /// Keep its cookie and form token, and go where it leads.
    fn take(&mut self, page: Page) -> Page {
        if let Some(cookie) = page.header("set-cookie") {
            self.set_cookie = cookie.to_owned();
            self.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        }
        if let Some(csrf) = page.value("csrf") {
            self.csrf = csrf.to_owned();
        }
        match page.header("location").filter(|_| page.status == 303) {
            Some(to) => self.get(to),
            None => page,
        }
    }

    fn sent(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Stream {
        let has = |name: &str| headers.iter().any(|(found, _)| *found == name);
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !has("host") {
            head.push_str(&format!("host: {}\r\n", self.host));
        }
        if !self.cookie.is_empty() && !has("cookie") {
            head.push_str(&format!("cookie: {}\r\n", self.cookie));
        }
        if method == "POST" && !has("content-type") {
            head.push_str("content-type: application/x-www-form-urlencoded\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = connect(&self.at).unwrap();
        let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
        stream
    }

    /// The status of a reply whose body may never end, such as a stream of events.
    pub(crate) fn status(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let mut line = String::new();
        BufReader::new(self.sent(method, path, headers, body)).read_line(&mut line).unwrap();
        line.split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("{method} {path}: {line:?}"))
    }

    /// A request with the cookie and these headers, and nothing followed.
    pub(crate) fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Page {
        let reply = read_reply(self.sent(method, path, headers, body)).unwrap();
        let (head, html) = reply.raw.split_once("\r\n\r\n").unwrap_or_default();
        Page { status: reply.status, path: path.to_owned(), html: html.to_owned(), head: head.to_owned() }
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte))
        } else {
            escaped.push_str(&format!("%{byte:02X}"))
        }
    }
    escaped
}
