//! People who look: pages of the console, and what streams of events that browsers hold open cost an order.
//!
//! A page is asked for as a browser asks, signed in and over a kept connection, and its size is its own, without
//! styles and scripts, which a browser keeps. Orders are measured at a trader's rates, once with nobody looking and
//! once with [`CONSOLES`] browsers, each signed in by itself with its stream open; which of both comes first changes
//! from round to round.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::orders;
use crate::results::{CONSOLE, GROWTH, Report};
use crate::site::{Site, Trader, name, pause};
use crate::statistics::middle;
use crate::wire::{PATIENCE, Wire};
use crate::{Arguments, OPEN_CONNECTIONS};

/// Browsers with the console open.
pub(crate) const CONSOLES: usize = 20;
/// Orders a second of traders, and for how long of a window's seconds: at few orders what else goes on weighs more.
const RATES: [(u32, u32); 2] = [(20, 6), (200, 3)];
/// The gateway takes so many sign-ins a second at most; slower than that.
const BETWEEN_SIGN_INS: Duration = Duration::from_millis(100);
/// How often each page is asked for in a round.
const TIMES: usize = 20;

/// Somebody who is signed in.
struct Browser {
    at: SocketAddr,
    cookie: String,
}

impl Browser {
    fn sign_in(at: SocketAddr, token: &str) -> Self {
        let body = format!("token={token}");
        let request = format!(
            "POST /console/sign-in HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = connect(at);
        stream.write_all(request.as_bytes()).expect("the form is sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply");
        let cookie = reply.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: "));
        let cookie = cookie.unwrap_or_else(|| panic!("nobody is signed in: {reply}"));
        let (_, cookie) = cookie.split_once(": ").expect("a header");
        Self { at, cookie: cookie.split(';').next().unwrap_or_default().to_owned() }
    }

    fn request(&self, path: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nSec-Fetch-Site: same-origin\r\nAccept: */*\r\n\r\n",
            self.at, self.cookie
        )
    }

    /// Its stream of events. Somebody reads it until it is shut, and answers how many lines told of orders.
    fn listen(&self) -> (TcpStream, JoinHandle<usize>) {
        let mut stream = connect(self.at);
        stream.write_all(self.request("/console/events").as_bytes()).expect("the stream is asked for");
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).expect("the stream begins");
        assert_eq!(&begin, b"HTTP/1.1 200", "a stream of events");
        let shut = stream.try_clone().expect("a second handle");
        let reader = std::thread::spawn(move || {
            let (mut heard, mut piece) = (0, [0; 16 * 1024]);
            // An error is what shutting it comes to.
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                heard += memchr::memmem::find_iter(&piece[..count], b"event: order").count();
            }
            heard
        });
        (shut, reader)
    }
}

fn connect(at: SocketAddr) -> TcpStream {
    TcpStream::connect_timeout(&at, PATIENCE).unwrap_or_else(|err| panic!("cannot connect to {at}: {err}"))
}

/// Streams of as many browsers.
struct Streams(Vec<(TcpStream, JoinHandle<usize>)>);

impl Streams {
    fn open(browsers: &[Browser]) -> Self {
        Self(browsers.iter().map(Browser::listen).collect())
    }

    /// Panics unless each of them heard of orders.
    fn close(self) {
        for (stream, reader) in self.0 {
            let _ = stream.shutdown(Shutdown::Both);
            assert!(reader.join().expect("a reader") > 0, "a console heard of no order");
        }
    }
}

/// The pages that people look at, with what of them grows.
fn pages(site: &Site) -> Vec<String> {
    let account = name(site.traders[0].number);
    [
        "/console",
        "/console?sort=name",
        "/console?problem=no_token",
        "/console?q=account-17",
        &format!("/console/accounts/{account}"),
        &format!("/console/accounts/{account}/edit"),
        &format!("/console/accounts/{account}/keys"),
        &format!("/console/accounts/{account}/registration"),
        "/console/create",
        "/console/orders",
        "/console/pools",
        "/console/pools/main",
        "/console/machine",
        "/console/plots",
        "/console/evidence",
        "/console/changes",
        "/console/first-run",
        "/console/validate-all",
        "/console/halt-all",
        "/console/sessions",
        "/console/help",
        "/docs",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Size and time of every page; the largest and the slowest are the figures.
pub(crate) fn look(round: u32, site: &Site, report: &mut Report) {
    let browser = Browser::sign_in(site.admin, &site.admin_token());
    let mut wire = Wire::connect(site.admin).expect("a connection for pages");
    let (mut largest, mut slowest) = ((0.0, String::new()), (0.0, String::new()));
    for page in pages(site) {
        let request = browser.request(&page);
        let mut times = Vec::with_capacity(TIMES);
        let mut size = 0.0;
        for _ in 0..TIMES {
            let began = Instant::now();
            let (status, body) = wire.exchange(request.as_bytes()).unwrap_or_else(|err| panic!("GET {page}: {err}"));
            times.push(began.elapsed().as_secs_f64() * 1e3);
            assert_eq!(status, 200, "GET {page}");
            size = body.len() as f64 / 1e3;
        }
        let time = middle(&times).expect("times");
        eprintln!("{page}: {size:.1} KB, {time:.2} ms (at most {:.2})", times.iter().copied().fold(0.0, f64::max));
        if size > largest.0 {
            largest = (size, page.clone());
        }
        if time > slowest.0 {
            slowest = (time, page);
        }
    }
    report.add(GROWTH, site.accounts, round, ("largest page of the console", "KB"), largest.0);
    report.add(GROWTH, site.accounts, round, ("slowest page of the console", "ms"), slowest.0);
    if round == 0 {
        report.notes.push(format!("the largest page is {}, the slowest {}", largest.1, slowest.1));
    }
}

/// What an order costs with and without browsers that look, at a trader's rates.
pub(crate) fn cost(round: u32, site: &Site, arguments: &Arguments, broker: &Broker, report: &mut Report) {
    let token = site.admin_token();
    let browsers: Vec<Browser> = (0..CONSOLES)
        .map(|_| {
            pause(BETWEEN_SIGN_INS);
            Browser::sign_in(site.admin, &token)
        })
        .collect();
    let traders: Vec<Trader> = site.traders.iter().cycle().take(OPEN_CONNECTIONS).cloned().collect();
    for (rate, windows) in RATES {
        let window = arguments.window() * windows;
        let run = || {
            let (all, callers) = (site.exact_cpu(), site.callers_cpu());
            let done = orders::open_loop(site, broker, &traders, rate, window);
            let each = |time: Duration| time.as_secs_f64() * 1e6 / done.replies_in_all as f64;
            [each(site.exact_cpu().saturating_sub(all)), each(site.callers_cpu().saturating_sub(callers))]
        };
        let watched = || {
            let streams = Streams::open(&browsers);
            let each = run();
            streams.close();
            each
        };
        let (alone, watched) = if round.is_multiple_of(2) {
            let alone = run();
            (alone, watched())
        } else {
            let watched = watched();
            (run(), watched)
        };
        let mut add = |measure, unit, value| report.add(CONSOLE, rate.into(), round, (measure, unit), value);
        add("CPU per order", "us", alone[0]);
        add("CPU per order with consoles", "us", watched[0]);
        add("with consoles by without", "ratio", watched[0] / alone[0]);
        add("CPU per order of the callers' threads", "us", alone[1]);
        add("CPU per order of the callers' threads with consoles", "us", watched[1]);
        add("of the callers' threads with consoles by without", "ratio", watched[1] / alone[1]);
    }
}
