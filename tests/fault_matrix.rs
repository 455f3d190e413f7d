//! Every fault, with every kind of request, over both protocols, by callers that repeat
//! and callers that do not: what the broker did against what callers were told.
//!
//! One world for each protocol. Each account has one kind of request and one kind of
//! caller; all accounts meet one fault at a time. What is held for every cell:
//!
//! - a write is carried out once at most;
//! - the caller's last word is true: `executed` was carried out; `not_sent` and
//!   `rejected` were not; `unknown` only where nobody could know;
//! - whatever arrived stands in the journal, whose chain is good.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test stops at whatever it did not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::support::Gateway;
use crate::support::engine::{OrderAnswer, OrderRequest};
use crate::support::net::{Ns, Uplink};
use crate::support::wait::wait_until;
use crate::support::world::{LISTENER, TestAccount, World, config, pins};
use futures_util::future::join_all;
use serde_json::json;
use sixgate::domain::{Pair, SourceAddr};
use sixgate::orders::journal::{Kind, read_back, verify};
use sixgate::sandbox::{Action, Compression, Door, Elsewhere, Encoding, Fault, Habits, Kind as BookOf};

const LIMIT: Duration = Duration::from_secs(30);
/// Times that the gateway is killed, in each world.
const KILLS: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Op {
    Place,
    Modify,
    Cancel,
    Slicing,
    Super,
    Read,
}

const OPS: [Op; 6] = [Op::Place, Op::Modify, Op::Cancel, Op::Slicing, Op::Super, Op::Read];

impl Op {
    /// Method and the beginning of the path.
    const fn on(self) -> (&'static str, &'static str) {
        match self {
            Self::Place | Self::Slicing => ("POST", "/v2/orders"),
            Self::Modify => ("PUT", "/v2/orders"),
            Self::Cancel => ("DELETE", "/v2/orders"),
            Self::Super => ("POST", "/v2/super/orders"),
            Self::Read => ("GET", "/v2/orders"),
        }
    }
}

/// What goes wrong. Where it says `kept`, connections made before are there to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    AddressGone,
    LineSilent,
    LineSilentKept,
    LineRefuses,
    NotAccepting,
    NotAcceptingBoth,
    TlsFails,
    TlsFailsBoth,
    HangsUpBeforeReading,
    ConnectionsClosedIdle,
    ClosesAsItIsSent,
    ClosesNotExecuted,
    ClosesExecuted,
    HangsNotExecuted,
    HangsExecuted,
    HangsExecutedAndLineDies,
    CutOffExecuted,
    CutOffNotExecuted,
    BadGatewayExecuted,
    BadGatewayNotExecuted,
    HtmlExecuted,
    /// The front compresses whatever was asked for, also the answers to what is asked after a lost one.
    CompressedClosesExecuted,
    /// Another order of ours stands under the same id, alike and from this morning.
    OlderAlikeClosesExecuted,
    OlderAlikeClosesNotExecuted,
    InvalidIp,
    InvalidIpBoth,
    DeadToken,
    Killed,
}

impl Trouble {
    const ALL: [Self; 27] = [
        Self::AddressGone,
        Self::LineSilent,
        Self::LineSilentKept,
        Self::LineRefuses,
        Self::NotAccepting,
        Self::NotAcceptingBoth,
        Self::TlsFails,
        Self::TlsFailsBoth,
        Self::HangsUpBeforeReading,
        Self::ConnectionsClosedIdle,
        Self::ClosesAsItIsSent,
        Self::ClosesNotExecuted,
        Self::ClosesExecuted,
        Self::HangsNotExecuted,
        Self::HangsExecuted,
        Self::HangsExecutedAndLineDies,
        Self::CutOffExecuted,
        Self::CutOffNotExecuted,
        Self::BadGatewayExecuted,
        Self::BadGatewayNotExecuted,
        Self::HtmlExecuted,
        Self::CompressedClosesExecuted,
        Self::OlderAlikeClosesExecuted,
        Self::OlderAlikeClosesNotExecuted,
        Self::InvalidIp,
        Self::InvalidIpBoth,
        Self::DeadToken,
    ];

    /// What a write may be told at first, and, after it is over, by a repeat.
    const fn allowed(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            // Another way, or found again.
            Self::AddressGone
            | Self::LineSilent
            | Self::LineRefuses
            | Self::NotAccepting
            | Self::TlsFails
            | Self::ConnectionsClosedIdle
            | Self::ClosesExecuted
            | Self::HangsExecuted
            | Self::HangsExecutedAndLineDies
            | Self::CutOffExecuted
            | Self::BadGatewayExecuted
            | Self::HtmlExecuted
            | Self::CompressedClosesExecuted
            | Self::OlderAlikeClosesExecuted
            | Self::InvalidIp => (&["executed"], &["executed"]),
            Self::NotAcceptingBoth | Self::TlsFailsBoth => (&["not_sent"], &["executed"]),
            Self::InvalidIpBoth | Self::DeadToken => (&["rejected"], &["executed"]),
            Self::ClosesNotExecuted
            | Self::OlderAlikeClosesNotExecuted
            | Self::HangsNotExecuted
            | Self::CutOffNotExecuted
            | Self::BadGatewayNotExecuted => (&["unknown"], &["unknown"]),
            // The kernel may have given the bytes to the line, and the line keep them.
            Self::LineSilentKept => (&["unknown"], &["unknown", "executed"]),
            Self::HangsUpBeforeReading => (&["unknown", "not_sent"], &["unknown", "executed"]),
            // A connection that was kept and ends with nothing received is no proof.
            Self::ClosesAsItIsSent => (&["unknown", "not_sent", "executed"], &["unknown", "executed"]),
            Self::Killed => (&["", "executed", "unknown"], &["executed", "unknown"]),
        }
    }

    const fn action(self) -> Option<Action> {
        match self {
            Self::ClosesNotExecuted | Self::OlderAlikeClosesNotExecuted => Some(Action::Close { executed: false }),
            Self::ClosesExecuted | Self::CompressedClosesExecuted | Self::OlderAlikeClosesExecuted => {
                Some(Action::Close { executed: true })
            }
            Self::HangsNotExecuted => Some(Action::Hang { executed: false }),
            Self::HangsExecuted | Self::HangsExecutedAndLineDies => Some(Action::Hang { executed: true }),
            Self::CutOffExecuted => Some(Action::CutOff { executed: true }),
            Self::CutOffNotExecuted => Some(Action::CutOff { executed: false }),
            Self::BadGatewayExecuted => Some(Action::BadGateway { executed: true }),
            Self::BadGatewayNotExecuted => Some(Action::BadGateway { executed: false }),
            Self::HtmlExecuted => Some(Action::Html { status: 200, executed: true }),
            Self::Killed => Some(Action::Slow { ms: 30 }),
            Self::AddressGone
            | Self::LineSilent
            | Self::LineSilentKept
            | Self::LineRefuses
            | Self::NotAccepting
            | Self::NotAcceptingBoth
            | Self::TlsFails
            | Self::TlsFailsBoth
            | Self::HangsUpBeforeReading
            | Self::ConnectionsClosedIdle
            | Self::ClosesAsItIsSent
            | Self::InvalidIp
            | Self::InvalidIpBoth
            | Self::DeadToken => None,
        }
    }

    /// At which door, and of both legs?
    const fn door(self) -> Option<(Door, bool)> {
        match self {
            Self::NotAccepting => Some((Door::Deaf, false)),
            Self::NotAcceptingBoth => Some((Door::Deaf, true)),
            Self::TlsFails => Some((Door::Garbles, false)),
            Self::TlsFailsBoth => Some((Door::Garbles, true)),
            Self::HangsUpBeforeReading => Some((Door::HangsUp, true)),
            _ => None,
        }
    }
}

/// One request of one caller under one trouble.
struct Cell {
    op: Op,
    repeats: bool,
    trader: TestAccount,
    wish: OrderRequest,
    /// The one that it gives itself.
    correlation_id: Option<String>,
    /// Another order under that id, which is not what this request made.
    older: Option<String>,
    first: Option<OrderAnswer>,
    last: Option<OrderAnswer>,
}

struct Matrix {
    world: World,
    text: String,
    /// By trouble and kind: how many cells ended with which word, carried out or not.
    counts: BTreeMap<(Trouble, Op, bool), BTreeMap<String, usize>>,
    failures: Vec<String>,
    serial: u32,
}

impl Matrix {
    fn new(http2: bool) -> Self {
        let text = config(&format!(
            "http2 = {http2}\nuser_timeout = \"1s\"\nresponse_timeout = \"1200ms\"\n{}\n\
             [orders]\nresponse_timeout = \"1200ms\"\nreconcile_for = \"3s\"\nleave_within = \"10s\"\n",
            pins()
        ))
        .replace("connect_timeout = \"1s\"", "connect_timeout = \"1500ms\"")
        .replace("warm = 0", "warm = 0\ndwell = \"100ms\"");
        let world = World::up_with(12, &text);
        Self { world, text, counts: BTreeMap::new(), failures: Vec::new(), serial: 0 }
    }

    fn traders(&self) -> impl Iterator<Item = (Op, bool, &TestAccount)> {
        let kinds = OPS.into_iter().flat_map(|op| [(op, false), (op, true)]);
        kinds.zip(&self.world.traders).map(|((op, repeats), trader)| (op, repeats, trader))
    }

    fn send(&self, wishes: Vec<(TestAccount, OrderRequest)>) -> Vec<Option<OrderAnswer>> {
        let send = || async { join_all(wishes.iter().map(|(trader, wish)| wish.send(LISTENER, trader))).await };
        self.world.net.in_ns(Ns::Caller, send)
    }

    /// A cell for every account. What is to be changed or cancelled is placed first, which
    /// also leaves every account with an idle connection.
    fn cells(&mut self, trouble: Trouble) -> Vec<Cell> {
        self.serial += 1;
        let serial = self.serial;
        let all: Vec<_> = self.traders().map(|(op, repeats, trader)| (op, repeats, trader.clone())).collect();
        let before = all.iter().map(|(_, _, trader)| (trader.clone(), OrderRequest::place(None, 90.0))).collect();
        let placed = self.send(before);
        let cell = |((op, repeats, trader), placed): ((Op, bool, TestAccount), Option<OrderAnswer>)| {
            let placed = placed.filter(|told| told.outcome == "executed").unwrap_or_else(|| {
                panic!(
                    "before {trouble:?}: {op:?} of {} could not be prepared; {}",
                    trader.name,
                    self.world.gateway.log()
                )
            });
            let id = format!("{}-{serial}", trader.name);
            let price = 100.0 + f64::from(serial);
            // Every other time by its own id, or by the header's alone.
            let older = matches!(trouble, Trouble::OlderAlikeClosesExecuted | Trouble::OlderAlikeClosesNotExecuted);
            let by_key = repeats && serial.is_multiple_of(2) && !older;
            let correlation = (!by_key).then_some(id.as_str());
            let mut wish = match op {
                Op::Place => OrderRequest::place(correlation, price),
                Op::Slicing => OrderRequest::slicing(correlation, price),
                Op::Super => OrderRequest::super_order(correlation, price),
                Op::Modify => OrderRequest::modify(&placed.order_id(), price),
                Op::Cancel => OrderRequest::cancel(&placed.order_id()),
                Op::Read => OrderRequest::read(),
            };
            if by_key || (repeats && matches!(op, Op::Modify | Op::Cancel)) {
                wish = wish.under(&id);
            }
            let correlation_id = correlation.map(str::to_owned);
            Cell { op, repeats, trader, wish, correlation_id, older: None, first: None, last: None }
        };
        all.into_iter().zip(placed).map(cell).collect()
    }

    /// The order of a cell, as somebody placed it this morning under the same id.
    fn put_older(&self, cell: &Cell) -> Option<String> {
        let (Some(id), Op::Place | Op::Slicing | Op::Super) = (&cell.correlation_id, cell.op) else { return None };
        let body: serde_json::Value = serde_json::from_str(cell.wish.body.as_deref().unwrap()).unwrap();
        let order = Elsewhere {
            kind: if cell.op == Op::Super { BookOf::Super } else { BookOf::Plain },
            correlation_id: id.clone(),
            quantity: body["quantity"].as_u64().unwrap(),
            price: body["price"].as_f64().unwrap(),
            made_before_s: 3600,
            ..Elsewhere::default()
        };
        Some(self.world.broker.put_order(&cell.trader.client_id, &order).unwrap())
    }

    fn begin(&self, trouble: Trouble) {
        let world = &self.world;
        if !matches!(trouble, Trouble::LineSilentKept | Trouble::DeadToken | Trouble::InvalidIp)
            && trouble.action().is_none()
        {
            world.broker.hang_up();
            if trouble != Trouble::ClosesAsItIsSent {
                world.wait_until_unconnected();
            }
        }
        match trouble {
            Trouble::AddressGone => drop(world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a1::/64 dev lo")),
            Trouble::LineSilent | Trouble::LineSilentKept => world.net.uplink(1, Uplink::Silent),
            Trouble::LineRefuses => world.net.uplink(1, Uplink::Down),
            Trouble::CompressedClosesExecuted => {
                world
                    .broker
                    .set_habits(Habits { compression: Compression::Always(Encoding::Gzip), ..Habits::default() });
            }
            _ => {}
        }
        for (op, _, trader) in self.traders() {
            if let Some(action) = trouble.action() {
                let (method, path) = op.on();
                world.broker.fault(Fault::new(action).on(method, path).of(&trader.client_id).times(1));
            }
            if let Some((door, both)) = trouble.door() {
                world.broker.set_door(IpAddr::V6(trader.pair.primary.ip()), door);
                if both {
                    world.broker.set_door(IpAddr::V6(trader.pair.secondary.ip()), door);
                }
            }
            let stranger =
                |n: u16| SourceAddr::new(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xdead, 0, 0, 0, 0, n)).unwrap();
            match trouble {
                Trouble::InvalidIp => {
                    let pair = Pair { primary: stranger(1), secondary: trader.pair.secondary };
                    world.broker.register(&trader.client_id, Some(pair));
                }
                Trouble::InvalidIpBoth => {
                    world
                        .broker
                        .register(&trader.client_id, Some(Pair { primary: stranger(1), secondary: stranger(2) }));
                }
                Trouble::DeadToken => world.broker.kill_token(&trader.client_id),
                _ => {}
            }
        }
    }

    fn end(&self, trouble: Trouble) {
        let world = &self.world;
        world.broker.clear_faults();
        world.broker.set_habits(Habits::default());
        match trouble {
            Trouble::AddressGone => drop(world.net.ip(Ns::Gateway, "-6 route add local 2001:db8:a1::/64 dev lo")),
            Trouble::LineSilent
            | Trouble::LineSilentKept
            | Trouble::LineRefuses
            | Trouble::HangsExecutedAndLineDies => world.net.uplink(1, Uplink::Up),
            _ => {}
        }
        for trader in &world.traders {
            for source in [trader.pair.primary, trader.pair.secondary] {
                world.broker.set_door(IpAddr::V6(source.ip()), Door::Open);
            }
            world.broker.register(&trader.client_id, Some(trader.pair));
            if trouble == Trouble::DeadToken {
                let token = json!({ "access_token": world.broker.mint_token(&trader.client_id) });
                let (status, answer) =
                    world.gateway.admin().put(&format!("/v1/accounts/{}/token", trader.name), &token);
                assert_eq!(status / 100, 2, "{answer}");
            }
        }
    }

    /// Every leg admits again.
    fn heal(&self) {
        let admits = |leg: &serde_json::Value| leg["state"] == "admits";
        wait_until("all legs to admit", LIMIT, || {
            let (_, list) = self.world.gateway.admin().get("/v1/accounts?limit=100");
            let items = list["items"].as_array().unwrap();
            items.len() == self.world.traders.len()
                && items.iter().all(|account| account["legs"].as_array().is_some_and(|legs| legs.iter().all(admits)))
        });
    }

    /// The first try of every cell, then the end of the trouble, then repeats.
    fn run(&mut self, trouble: Trouble) {
        let began = Instant::now();
        let mut cells = self.cells(trouble);
        if matches!(trouble, Trouble::OlderAlikeClosesExecuted | Trouble::OlderAlikeClosesNotExecuted) {
            for cell in &mut cells {
                cell.older = self.put_older(cell);
            }
        }
        let mark = self.mark();
        self.begin(trouble);
        let wishes: Vec<_> = cells.iter().map(|cell| (cell.trader.clone(), cell.wish.clone())).collect();
        let told = match trouble {
            Trouble::HangsExecutedAndLineDies => std::thread::scope(|scope| {
                let sending = scope.spawn(|| self.send(wishes));
                wait_until("the requests to arrive", LIMIT, || self.world.broker.seen().len() >= mark + cells.len());
                self.world.net.uplink(1, Uplink::Silent);
                sending.join().unwrap()
            }),
            _ => self.send(wishes),
        };
        for (cell, told) in cells.iter_mut().zip(told) {
            cell.first = told;
        }
        self.end(trouble);
        self.repeat(&mut cells);
        self.heal();
        self.judge(trouble, &cells);
        println!("{trouble:?}: {:?}", began.elapsed());
    }

    /// Killed at a random moment, and started again.
    fn kill(&mut self, after: Duration) {
        let mut cells = self.cells(Trouble::Killed);
        self.begin(Trouble::Killed);
        let wishes: Vec<_> = cells.iter().map(|cell| (cell.trader.clone(), cell.wish.clone())).collect();
        let net = &self.world.net;
        let gateway = &mut self.world.gateway;
        let told = std::thread::scope(|scope| {
            let sending = scope.spawn(move || {
                let send = || async { join_all(wishes.iter().map(|(trader, wish)| wish.send(LISTENER, trader))).await };
                net.in_ns(Ns::Caller, send)
            });
            std::thread::park_timeout(after);
            gateway.kill9();
            sending.join().unwrap()
        });
        for (cell, told) in cells.iter_mut().zip(told) {
            cell.first = told;
        }
        self.end(Trouble::Killed);
        self.world.gateway = Gateway::start(&self.world.net.place(Ns::Gateway), &self.text, self.world.dir.path());
        self.repeat(&mut cells);
        self.judge(Trouble::Killed, &cells);
    }

    fn repeat(&self, cells: &mut [Cell]) {
        let again: Vec<usize> = (0..cells.len()).filter(|n| cells[*n].repeats).collect();
        let wishes = again.iter().map(|n| (cells[*n].trader.clone(), cells[*n].wish.clone())).collect();
        for (n, told) in again.iter().zip(self.send(wishes)) {
            cells[*n].last = told;
        }
    }

    fn mark(&self) -> usize {
        self.world.broker.seen().len()
    }

    fn judge(&mut self, trouble: Trouble, cells: &[Cell]) {
        let seen = self.world.broker.seen();
        for cell in cells {
            let (method, path) = (cell.wish.method, &cell.wish.path);
            // A cancel's and a change's path is its own already.
            let id = match cell.op {
                Op::Modify | Op::Cancel | Op::Read => None,
                Op::Place | Op::Slicing | Op::Super => cell.correlation_id.clone().or_else(|| self.derived(cell)),
            };
            let done = seen.iter().filter(|seen| {
                seen.account.as_ref() == Some(&cell.trader.client_id)
                    && seen.executed
                    && seen.method == method
                    && seen.path_and_query == *path
                    && id.as_ref().is_none_or(|id| seen.correlation_id.as_ref() == Some(id))
            });
            let done = done.count();
            let told = cell.last.as_ref().or(cell.first.as_ref());
            let word = told.map_or("", |told| told.outcome.as_str());
            let (first, last) = trouble.allowed();
            let is = |told: &Option<OrderAnswer>, among: &[&str]| {
                among.contains(&told.as_ref().map_or("", |told| told.outcome.as_str()))
            };
            let mut wrong = Vec::new();
            if cell.op == Op::Read {
                // A reply that breaks off breaks off for its reader too.
                let may_break =
                    matches!(trouble, Trouble::Killed | Trouble::CutOffExecuted | Trouble::CutOffNotExecuted);
                if done > 0 || told.is_none() && !may_break || !word.is_empty() {
                    wrong.push("a read");
                }
                if cell.repeats && told.is_none_or(|told| told.status != 200) {
                    wrong.push("a read after all was well");
                }
            } else {
                if done > 1 {
                    wrong.push("carried out more than once");
                }
                if word == "executed" && done != 1 || matches!(word, "not_sent" | "rejected") && done != 0 {
                    wrong.push("the last word is false");
                }
                if cell.older.is_some() && told.map(OrderAnswer::order_id) == cell.older {
                    wrong.push("another order's number");
                }
                if word == "unknown" && done == 1 && trouble != Trouble::LineSilentKept {
                    wrong.push("unknown, and the broker would have told");
                }
                if !is(&cell.first, first) || cell.repeats && !is(&cell.last, last) {
                    wrong.push("not the word that was to be");
                }
            }
            if !wrong.is_empty() {
                self.failures.push(format!(
                    "{trouble:?} {:?} repeats={} done={done}: {wrong:?}\n   {:?}\n   first {:?}\n   last {:?}",
                    cell.op, cell.repeats, cell.wish, cell.first, cell.last
                ));
            }
            let shown = match (cell.op, told) {
                (Op::Read, Some(told)) => told.status.to_string(),
                (_, None) => format!("none/{done}"),
                _ => format!("{word}/{done}"),
            };
            *self.counts.entry((trouble, cell.op, cell.repeats)).or_default().entry(shown).or_default() += 1;
        }
    }

    /// The correlation id that the gateway made of a cell's key: the one in the journal.
    /// Without a line there, one that nothing has.
    fn derived(&self, cell: &Cell) -> Option<String> {
        let key = cell.wish.key.as_deref()?;
        let lines = read_back(&self.world.dir.path().join("state/journal"), jiff::Timestamp::MIN).unwrap();
        lines
            .filter_map(Result::ok)
            .map(|line| line.entry)
            .find_map(|entry| {
                let same = entry.idempotency_key.is_some_and(|word| word.as_str() == key);
                entry.correlation_id.filter(|_| same).map(|id| id.as_str().to_owned())
            })
            .or_else(|| Some("none".to_owned()))
    }

    fn finish(mut self) {
        // Every write that arrived has its line, written before it left.
        let journal = self.world.dir.path().join("state/journal");
        let mut lines = BTreeSet::new();
        for line in read_back(&journal, jiff::Timestamp::MIN).unwrap().map(Result::unwrap) {
            if line.entry.kind == Kind::Intent {
                let id = line.entry.correlation_id.map(|id| id.as_str().to_owned());
                lines.insert((line.entry.path.unwrap().as_str().to_owned(), id));
            }
        }
        let seen = self.world.broker.seen();
        for seen in seen.iter().filter(|seen| seen.method != "GET") {
            if !lines.contains(&(seen.path_and_query.clone(), seen.correlation_id.clone())) {
                self.failures.push(format!("not in the journal: {seen:?}"));
            }
        }
        let report = verify(&journal).unwrap();
        let mut table = String::new();
        for trouble in Trouble::ALL.into_iter().chain([Trouble::Killed]) {
            for repeats in [false, true] {
                let _ = write!(table, "{:26} {:8}", format!("{trouble:?}"), if repeats { "repeats" } else { "once" });
                for op in OPS {
                    let words = self.counts.get(&(trouble, op, repeats));
                    let words = words.into_iter().flatten().map(|(word, n)| format!("{word} x{n}"));
                    let _ = write!(table, " {:24}", words.collect::<Vec<_>>().join(", "));
                }
                table.push('\n');
            }
        }
        let ops: String = OPS.iter().map(|op| format!(" {:24}", format!("{op:?}"))).collect();
        println!("last word / times carried out\n{:35}{ops}\n{table}", "");
        println!(
            "{} writes arrived, {} lines in the journal",
            seen.iter().filter(|s| s.method != "GET").count(),
            report.lines
        );
        assert!(report.is_good(), "{report:#?}");
        assert!(self.failures.is_empty(), "{} failures:\n{}", self.failures.len(), self.failures.join("\n"));
    }
}

fn matrix(http2: bool) {
    let mut matrix = Matrix::new(http2);
    for trouble in Trouble::ALL {
        matrix.run(trouble);
    }
    let seed = getrandom::u64().unwrap();
    println!("seed {seed}");
    let mut random = seed;
    for _ in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        matrix.kill(Duration::from_micros((random >> 33) % 80_000));
    }
    matrix.finish();
}

#[test]
fn whatever_breaks_a_write_is_done_once_at_most_and_its_caller_knows_over_http1() {
    matrix(false);
}

#[test]
fn whatever_breaks_a_write_is_done_once_at_most_and_its_caller_knows_over_http2() {
    matrix(true);
}
