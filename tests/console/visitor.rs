//! A browser without scripts: it keeps its cookie, fills in forms with what stands in their pages, and follows redirects.

use std::net::SocketAddr;

use crate::support::caller::{Caller, Reply, connect, request};
use crate::support::net::Ns;
use crate::support::world::World;

const ADMIN: &str = "127.0.0.1:8081";

/// A page that came back.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub status: u16,
    pub html: String,
    /// Where it led to; empty if it led nowhere.
    pub location: String,
}

impl Page {
    /// Panics unless it has this status.
    #[track_caller]
    pub(super) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} {}", self.location, self.text());
        self
    }

    /// Panics unless it has all of these texts.
    #[track_caller]
    pub(super) fn has(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.text().contains(text), "no {text:?} in\n{}", self.text());
        }
        self
    }

    /// What a person reads: without tags, entities decoded, blanks one.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.html.len());
        let mut inside = false;
        for letter in self.html.chars() {
            match letter {
                '<' => inside = true,
                '>' => inside = false,
                letter if !inside => text.push(letter),
                _ => {}
            }
        }
        let text = text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The value of a field.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let tags = self.html.split("<input").skip(1).filter_map(|rest| rest.split('>').next());
        let tag = tags.into_iter().find(|tag| tag.contains(&format!("name=\"{name}\"")))?;
        let (_, value) = tag.split_once("value=\"")?;
        Some(value.split('"').next().unwrap_or_default().replace("&quot;", "\"").replace("&amp;", "&"))
    }

    /// Forms that change something: all but those that sign out.
    pub(super) fn forms(&self) -> Vec<String> {
        // A search changes nothing.
        let forms = self.html.split("<form").skip(1).filter_map(|rest| rest.split('>').next());
        let changing = forms.filter(|form| !form.contains("method=\"get\""));
        changing.filter(|form| !form.contains("/console/sign-out")).map(str::to_owned).collect()
    }
}

/// See the module.
pub(super) struct Browser<'w> {
    world: &'w World,
    cookie: String,
    csrf: String,
    /// Every page that came back, for whoever looks for secrets in them.
    pub pages: Vec<String>,
}

impl<'w> Browser<'w> {
    /// Signed in with the token of a role.
    pub(super) fn sign_in(world: &'w World, role: &str) -> Self {
        let mut browser = Self { world, cookie: String::new(), csrf: String::new(), pages: Vec::new() };
        let token = std::fs::read_to_string(world.dir.path().join(format!("state/{role}.token"))).unwrap();
        let reply = browser.send("POST", "/console/sign-in", Some(&encoded(&[("token", token.trim())])));
        assert_eq!(reply.status, 303, "{reply:?}");
        browser.cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
        browser.csrf = browser.get("/console").is(200).value("csrf").expect("a form on the page");
        browser
    }

    /// `GET`
    pub(super) fn get(&mut self, path: &str) -> Page {
        let reply = self.send("GET", path, None);
        self.page(&reply)
    }

    /// `POST`, with the session's own field, as its forms have it.
    pub(super) fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.csrf.clone();
        let fields = [&[("csrf", csrf.as_str())], fields].concat();
        let reply = self.send("POST", path, Some(&encoded(&fields)));
        self.page(&reply)
    }

    /// `POST`, and the page that it leads to.
    #[track_caller]
    pub(super) fn follow(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let page = self.post(path, fields).is(303);
        let to = page.location.split('#').next().unwrap().to_owned();
        self.get(&to).is(200)
    }

    fn page(&mut self, reply: &Reply) -> Page {
        let html = String::from_utf8_lossy(&reply.body).into_owned();
        self.pages.push(html.clone());
        Page { status: reply.status, html, location: reply.header("location").to_owned() }
    }

    fn send(&self, method: &str, path: &str, body: Option<&str>) -> Reply {
        let (path, cookie, body) = (path.to_owned(), self.cookie.clone(), body.map(str::to_owned));
        self.world.net.in_ns(Ns::Gateway, || async move {
            let mut browser = Caller::http1(connect(ADMIN.parse::<SocketAddr>().unwrap()).await).await;
            let mut headers = vec![("sec-fetch-site", "same-origin")];
            let origin = format!("http://{ADMIN}");
            if !cookie.is_empty() {
                headers.push(("cookie", &cookie));
            }
            if body.is_some() {
                headers.extend([("origin", origin.as_str()), ("content-type", "application/x-www-form-urlencoded")]);
            }
            let mut ask = request(method, &path, ADMIN, &headers, None);
            *ask.body_mut() = body.unwrap_or_default().into();
            browser.send(ask).await.unwrap()
        })
    }
}

/// `application/x-www-form-urlencoded`
pub(crate) fn encoded(fields: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        text.bytes().fold(String::new(), |mut escaped, byte| {
            if byte.is_ascii_alphanumeric() {
                escaped.push(char::from(byte));
            } else {
                escaped.push_str(&format!("%{byte:02X}"));
            }
            escaped
        })
    };
    fields.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect::<Vec<_>>().join("&")
}
