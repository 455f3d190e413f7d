//! A storm: many accounts, random faults, and a gateway that is stopped and killed under
//! load. Nothing is done twice, nobody is told what is not so, everything is written down.
//!
//! The broker compresses at times what it answers, asked or not, and takes paths in more spellings than one; other
//! orders of the same customer stand in its book under the same ids; replies bear a wrong date. Some callers go away
//! before they are answered. The host's clock is set now and then. In a second storm the journal's newest file is taken
//! away or cut while the gateway is down.
//!
//! `SIXGATE_STORM` is how many orders there are, 1,500 if it is not set, 700 for the second storm. Accounts are 50,
//! and more where 50 could not send that many within the broker's limits in a few minutes:
//! an account is given 170 orders at most, some of which are changed or cancelled afterwards.
//! `SIXGATE_STORM_SEED` is the seed, or several with commas between them, each a storm of its
//! own; without it there is one, of a seed that is printed. A large one takes longer than the
//! usual three minutes: `SIXGATE_STORM=30000 cargo nextest run --profile storm`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::engine::OrderRequest;
use crate::support::net::Ns;
use crate::support::random::Random;
use crate::support::world::{LISTENER, TestAccount, World, config, pins};
use jiff::SignedDuration;
use serde_json::Value;
use sixgate::domain::Outcome;
use sixgate::orders::journal::{Kind as Line, read_back};
use sixgate::sandbox::{Action, Compression, Elsewhere, Encoding, Fault, Habits, Kind as BookOf};

/// The fewest accounts there are.
const ACCOUNTS: usize = 50;
/// The most orders of one: below what a minute takes, so that the hour's limit is far.
const EACH: usize = 170;
/// What a change makes of an order's price.
const CHANGED: f64 = 150.05;
/// Orders of one account under way at once.
const AT_ONCE: usize = 4;
/// Between two tries of one order.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a caller goes on repeating.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Place,
    Super,
    Slicing,
    Multi,
    Forever,
    Change,
    Cancel,
}

/// Of the orders of an account, in turn: what is placed, and what is done with it when it is there.
const fn kinds(n: usize) -> (Kind, Option<Kind>) {
    match n % 12 {
        3 => (Kind::Multi, None),
        5 => (Kind::Forever, None),
        6 => (Kind::Super, None),
        7 => (Kind::Slicing, None),
        9 => (Kind::Place, Some(Kind::Change)),
        10 => (Kind::Place, Some(Kind::Cancel)),
        _ => (Kind::Place, None),
    }
}

/// Those of which the broker's lists say under which id they were placed, and that are not done by who does them again.
const fn kinds_that_show_their_ids(n: usize) -> (Kind, Option<Kind>) {
    match kinds(n) {
        (Kind::Forever, _) => (Kind::Place, None),
        (kind, _) => (kind, None),
    }
}

/// Only the price tells an account's forever orders from one another.
fn forever_price(n: usize) -> f64 {
    100.0 + n as f64 / 20.0
}

impl Kind {
    fn wish(self, id: &str, n: usize, order_id: &str) -> OrderRequest {
        match self {
            Self::Place => OrderRequest::place(Some(id), 100.0),
            Self::Super => OrderRequest::super_order(Some(id), 100.0),
            Self::Slicing => OrderRequest::slicing(Some(id), 100.0),
            Self::Multi => OrderRequest::multi(id, 100.0).under(id),
            Self::Forever => OrderRequest::forever(Some(id), forever_price(n)),
            Self::Change => OrderRequest::modify(order_id, CHANGED).under(id),
            Self::Cancel => OrderRequest::cancel(order_id).under(id),
        }
    }

    /// Does the broker show such an order under its id?
    const fn shows_its_id(self) -> bool {
        matches!(self, Self::Place | Self::Super | Self::Slicing)
    }
}

/// An engine writes a path as its library does, and the broker takes all of these.
fn spelled(path: &str, n: usize) -> String {
    match n % 6 {
        1 => format!("{path}/"),
        2 => path.replace("/v2/", "/"),
        3 => path.replace("/v2/orders", "/V2/Orders"),
        _ => path.to_owned(),
    }
}

/// Does the caller's time-out end its first try, after this time?
fn gives_up_after(n: usize) -> Option<Duration> {
    (n % 5 == 2).then(|| Duration::from_millis((n as u64 * 7) % 40))
}

/// Does another order of the customer stand under this id since the morning?
const fn has_an_older(n: usize) -> bool {
    n % 8 == 2
}

/// What one write's caller knows in the end.
struct Ended {
    account: usize,
    kind: Kind,
    n: usize,
    id: String,
    outcome: String,
    order_id: String,
    tries: usize,
    wish: OrderRequest,
}

fn text() -> String {
    let orders = "[orders]\nresponse_timeout = \"1s\"\nreconcile_for = \"1500ms\"\n[proxy]\ndrain = \"1s\"\n";
    config(&format!("user_timeout = \"1s\"\n{}\n{orders}", pins())).replace("warm = 0", "warm = 0\ndwell = \"200ms\"")
}

/// One write, repeated under its id until a word comes.
async fn write(account: usize, trader: &TestAccount, kind: Kind, n: usize, id: String, order_id: &str) -> Ended {
    let mut wish = kind.wish(&id, n, order_id);
    wish.asks_gzip = n % 3 == 1;
    let path = wish.path.clone();
    let (mut tries, mut unknown) = (0, 0);
    if let Some(after) = gives_up_after(n) {
        tries += 1;
        let _ = tokio::time::timeout(after, wish.send(LISTENER, trader)).await;
    }
    let began = Instant::now();
    let mut pause = tokio::time::interval(PAUSE);
    let mut last = None;
    let told = loop {
        pause.tick().await;
        assert!(began.elapsed() < PATIENCE, "no last word on {id} after {tries} tries of {wish:?}: {last:?}");
        tries += 1;
        wish.path = spelled(&path, n + tries);
        let Some(told) = wish.send(LISTENER, trader).await else { continue };
        last = Some(told.clone());
        match told.outcome.as_str() {
            "executed" => break told,
            // It may be found meanwhile.
            "unknown" if unknown == 1 => break told,
            "unknown" => unknown += 1,
            // Too many at once, or no leg for the moment: an engine sends again.
            _ => {}
        }
    };
    let outcome = told.outcome.clone();
    let order_id = if order_id.is_empty() { told.order_id() } else { order_id.to_owned() };
    assert!(outcome != "executed" || !order_id.is_empty(), "no order id for {wish:?} after {tries} tries: {told:?}");
    Ended { account, kind, n, id, outcome, order_id, tries, wish }
}

/// One account's engine: its orders one after another in a few lanes.
async fn engine(
    account: usize,
    trader: TestAccount,
    orders: usize,
    kinds: fn(usize) -> (Kind, Option<Kind>),
) -> Vec<Ended> {
    let next = AtomicUsize::new(0);
    let lane = || async {
        let mut ended = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= orders {
                return ended;
            }
            let id = format!("{}-{n}", trader.name);
            let (kind, then) = kinds(n);
            let first = write(account, &trader, kind, n, id.clone(), "").await;
            let order_id = (first.outcome == "executed").then(|| first.order_id.clone());
            ended.push(first);
            if let (Some(then), Some(order_id)) = (then, order_id) {
                ended.push(write(account, &trader, then, n, format!("{id}-then"), &order_id).await);
            }
        }
    };
    let lanes: Vec<_> = (0..AT_ONCE).map(|_| lane()).collect();
    futures_util::future::join_all(lanes).await.into_iter().flatten().collect()
}

/// Something that goes wrong for one account, once or a few times.
fn trouble(world: &World, random: &mut Random) {
    let trader = &world.traders[random.below(world.traders.len() as u64) as usize];
    // What is not done stays unknown, and costs its caller the longest wait.
    let executed = random.below(4) != 0;
    let action = match random.below(9) {
        0 | 1 => Action::Close { executed },
        2 => Action::CutOff { executed },
        3 => Action::BadGateway { executed },
        4 => Action::Html { status: 200, executed },
        5 => Action::Hang { executed },
        6 => Action::LastOnConnection { after: 1 },
        7 => Action::Dated { ahead: i64::try_from(random.below(400_000)).unwrap() - 200_000 },
        _ => Action::Slow { ms: 20 + random.below(200) },
    };
    // Two replies in a row with the same wrong date are believed.
    let most = if matches!(action, Action::Dated { .. }) { 1 } else { 2 };
    let times = 1 + u32::try_from(random.below(most)).unwrap();
    // Changes and cancels are few, and orders have the most to lose.
    let method = ["POST", "POST", "POST", "POST", "PUT", "DELETE"][random.below(6) as usize];
    world.broker.fault(Fault::new(action).on(method, "/v2").of(&trader.client_id).times(times));
}

/// How the broker answers all of them for a while, and what this host's clock shows.
fn weather(world: &World, random: &mut Random) {
    let mut habits = world.broker.habits();
    habits.compression = match random.below(8) {
        0 | 1 => Compression::Asked,
        2 => Compression::Always(Encoding::Gzip),
        3 => Compression::Always(Encoding::Br),
        4 => Compression::Broken(Encoding::Gzip),
        _ => Compression::Never,
    };
    world.broker.set_habits(habits);
    let ahead = [0, 0, 0, 45, -45, 90_000, -90_000][random.below(7) as usize];
    world.clock().set(SignedDuration::from_secs(ahead));
}

fn calm(world: &World) {
    world.broker.clear_faults();
    let habits = Habits { compression: Compression::Never, ..world.broker.habits() };
    world.broker.set_habits(habits);
    world.clock().set(SignedDuration::ZERO);
}

/// What else happens while the gateway is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Journal {
    /// Nothing.
    Stays,
    /// The newest file is taken away, or cut in the middle of a line.
    IsLost,
}

/// The newest file of lines is removed or cut.
fn lose(world: &World, random: &mut Random) {
    let folder = std::fs::read_dir(world.dir.path().join("state/journal")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path());
    let Some(newest) = files.filter(|path| path.extension().is_some_and(|ending| ending == "jsonl")).max() else {
        return;
    };
    if random.below(2) == 0 {
        std::fs::remove_file(newest).unwrap();
    } else {
        let file = std::fs::OpenOptions::new().write(true).open(newest).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length - length / 3).unwrap();
    }
}

fn storms(orders: usize, journal: Journal) {
    let seeds = std::env::var("SIXGATE_STORM_SEED").unwrap_or_else(|_| getrandom::u64().unwrap().to_string());
    for seed in seeds.split(',') {
        storm(orders, seed.trim().parse().expect("SIXGATE_STORM_SEED"), journal);
    }
}

fn size(usual: usize) -> usize {
    std::env::var("SIXGATE_STORM").map_or(usual, |text| text.parse().expect("SIXGATE_STORM"))
}

#[test]
fn a_storm_of_faults_and_restarts_makes_no_order_twice_and_tells_nobody_what_is_not_so() {
    storms(size(1_500), Journal::Stays);
}

#[test]
fn a_storm_in_which_the_journal_is_lost_makes_no_order_twice_and_tells_nobody_what_is_not_so() {
    storms(size(700), Journal::IsLost);
}

/// Orders of the same customer, alike and from this morning, under ids that engines are going to use: what they are.
fn put_older(world: &World, shares: impl Fn(usize) -> usize) -> HashSet<String> {
    let mut older = HashSet::new();
    for (account, trader) in world.traders.iter().enumerate() {
        for n in (0..shares(account)).filter(|n| has_an_older(*n) && kinds(*n).0.shows_its_id()) {
            let kind = kinds(n).0;
            let order = Elsewhere {
                kind: if kind == Kind::Super { BookOf::Super } else { BookOf::Plain },
                correlation_id: format!("{}-{n}", trader.name),
                quantity: if kind == Kind::Slicing { 4 } else { 1 },
                price: 100.0,
                made_before_s: 3_600,
                ..Elsewhere::default()
            };
            older.insert(world.broker.put_order(&trader.client_id, &order).unwrap());
        }
    }
    older
}

fn storm(orders: usize, seed: u64, journal: Journal) {
    let accounts = ACCOUNTS.max(orders.div_ceil(EACH));
    println!("{orders} orders by {accounts} accounts, seed {seed}; the journal: {journal:?}");
    let mut world = World::up_with_clock(u16::try_from(accounts).unwrap(), &text());
    world.broker.set_habits(Habits { lax_paths: true, ..world.broker.habits() });
    let share = |n: usize| orders / accounts + usize::from(n < orders % accounts);
    // After a loss any order of today under an id forbids the send, and what hides its id cannot be asked for.
    let older = if journal == Journal::Stays { put_older(&world, share) } else { HashSet::new() };
    let kinds = if journal == Journal::Stays { kinds } else { kinds_that_show_their_ids };
    let began = Instant::now();
    let over = AtomicBool::new(false);
    let traders = world.traders.clone();
    let (mut kills, mut stops, mut faults, mut losses) = (0, 0, 0, 0);
    let mut ended = std::thread::scope(|scope| {
        let callers = world.net.place(Ns::Caller);
        let (over, traders) = (&over, &traders);
        let storm = scope.spawn(move || {
            let ended = callers.run(|| async move {
                let all = traders.iter().enumerate().map(|(n, trader)| engine(n, trader.clone(), share(n), kinds));
                futures_util::future::join_all(all).await.into_iter().flatten().collect::<Vec<_>>()
            });
            over.store(true, Ordering::Release);
            ended
        });
        let mut random = Random::new(seed);
        let mut next_restart = Instant::now() + Duration::from_millis(500 + random.below(700));
        while !storm.is_finished() {
            std::thread::park_timeout(Duration::from_millis(5 + random.below(20)));
            trouble(&world, &mut random);
            faults += 1;
            // Armed and never due, they would make each request search longer.
            if faults % 500 == 0 {
                world.broker.clear_faults();
            }
            if faults % 40 == 0 {
                weather(&world, &mut random);
            }
            if Instant::now() >= next_restart && !over.load(Ordering::Acquire) {
                if random.below(2) == 0 {
                    world.gateway.kill9();
                    kills += 1;
                } else {
                    world.gateway.terminate();
                    stops += 1;
                }
                if journal == Journal::IsLost && random.below(2) == 0 {
                    lose(&world, &mut random);
                    losses += 1;
                }
                world.start_again();
                // Every account comes back at once after each, which takes as much longer as there are more.
                let more = u32::try_from(accounts / ACCOUNTS).unwrap();
                next_restart = Instant::now() + Duration::from_millis(1_000 + random.below(2_500)) * more;
            }
        }
        storm.join().unwrap()
    });
    let took = began.elapsed();
    println!("{took:?}, {faults} faults, {kills} times killed, {stops} times stopped, {losses} losses of the journal");
    calm(&world);
    ask_once_more(&world, &mut ended, |one| one.outcome == "unknown");
    // One that is not found within the time that a search has may be found by the next.
    let books = world.traders.iter().flat_map(|trader| world.broker.orders(&trader.client_id));
    let made: HashSet<String> = books
        .filter(|order| order["orderId"].as_str().is_none_or(|id| !older.contains(id)))
        .filter_map(|order| Some(order["correlationId"].as_str()?.split('x').next()?.to_owned()))
        .collect();
    for _ in 0..2 {
        ask_once_more(&world, &mut ended, |one| one.outcome == "unknown" && made.contains(&one.id));
    }
    judge(&mut world, &ended, &older, orders, journal);
}

/// In the calm after it: while questions went unanswered, "unknown" was true of orders
/// that the broker had.
fn ask_once_more(world: &World, ended: &mut [Ended], whom: impl Fn(&Ended) -> bool) {
    let mut unknown: Vec<&mut Ended> = ended.iter_mut().filter(|one| whom(one)).collect();
    for some in unknown.chunks_mut(40) {
        let asked = some.iter().map(|one| one.wish.send(LISTENER, &world.traders[one.account]));
        let told = world.net.in_ns(Ns::Caller, || futures_util::future::join_all(asked));
        for (one, told) in some.iter_mut().zip(told) {
            let told = told.expect("no answer in the calm");
            (one.outcome, one.order_id) = (told.outcome.clone(), told.order_id());
        }
    }
}

/// The forever orders of this price: the broker's list is the only place that shows them.
fn forever(world: &World, one: &Ended) -> Vec<String> {
    let (read, trader) = (OrderRequest::new("GET", "/v2/forever/orders", None), &world.traders[one.account]);
    let told = world.net.in_ns(Ns::Caller, || async move {
        let mut pause = tokio::time::interval(PAUSE);
        loop {
            pause.tick().await;
            // A calm gateway answers; the limit on questions may want a moment.
            match read.send(LISTENER, trader).await {
                Some(told) if told.status == 200 => break told,
                Some(_) | None => {}
            }
        }
    });
    let rows = told.json().as_array().cloned().unwrap_or_default();
    let price = |row: &&Value| row.get("price").and_then(Value::as_f64).unwrap_or_default();
    let ours = rows.iter().filter(|row| (price(row) - forever_price(one.n)).abs() < 0.01);
    ours.filter_map(|row| row.get("orderId").and_then(Value::as_str).map(str::to_owned)).collect()
}

/// The broker's books against what callers were told and what the journal says.
fn judge(world: &mut World, ended: &[Ended], older: &HashSet<String>, orders: usize, journal: Journal) {
    assert_eq!(ended.iter().filter(|one| !matches!(one.kind, Kind::Change | Kind::Cancel)).count(), orders);
    let mut failures = Vec::new();
    // By correlation id: ids of orders at the broker.
    let mut made: HashMap<String, Vec<String>> = HashMap::new();
    let mut by_id: HashMap<String, Value> = HashMap::new();
    for trader in &world.traders {
        for order in world.broker.orders(&trader.client_id) {
            let text = |name: &str| order.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            if older.contains(&text("orderId")) {
                continue;
            }
            let id = text("correlationId").split('x').next().unwrap().to_owned();
            made.entry(id).or_default().push(text("orderId"));
            by_id.insert(text("orderId"), order);
        }
    }
    for one in ended.iter().filter(|one| one.kind == Kind::Forever) {
        made.insert(one.id.clone(), forever(world, one));
    }
    let mut words: BTreeMap<(Kind, String, usize), usize> = BTreeMap::new();
    for one in ended {
        let there = made.get(&one.id).map(Vec::as_slice).unwrap_or_default();
        let whole = if matches!(one.kind, Kind::Slicing | Kind::Multi) { 2 } else { 1 };
        let order = by_id.get(&one.order_id);
        let shows = |name: &str| order.and_then(|order| order.get(name)).cloned().unwrap_or_default();
        let times = match one.kind {
            Kind::Change => usize::from(shows("price").as_f64() == Some(CHANGED)),
            Kind::Cancel => usize::from(shows("orderStatus") == "CANCELLED"),
            Kind::Place | Kind::Super | Kind::Slicing | Kind::Multi | Kind::Forever => there.len().div_ceil(whole),
        };
        *words.entry((one.kind, one.outcome.clone(), times)).or_default() += 1;
        let named = matches!(one.kind, Kind::Change | Kind::Cancel) || there.contains(&one.order_id);
        let good = match one.outcome.as_str() {
            "executed" => times == 1 && named,
            // The broker was asked several times and shows every order that it has.
            "unknown" => times == 0,
            // An id that no line is left of may be refused for the moment when it is asked about in the calm.
            "not_sent" => times == 0 && journal == Journal::IsLost,
            _ => false,
        };
        if !good || !there.len().is_multiple_of(whole) {
            failures.push(format!(
                "{} ({:?}) of account {}: told {} {}, at the broker {there:?} {times}, {} tries",
                one.id, one.kind, one.account, one.outcome, one.order_id, one.tries
            ));
        }
    }
    println!("last word, times at the broker: {words:?}; {} tries", ended.iter().map(|one| one.tries).sum::<usize>());

    world.gateway.terminate();
    match journal {
        Journal::Stays => judge_the_journal(world, ended, &made, &mut failures),
        Journal::IsLost => {}
    }
    for failure in failures.iter().take(5).filter(|_| journal == Journal::Stays) {
        story(world, failure.split([' ', ':']).next().unwrap());
    }
    let shown = failures.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} failures:\n{shown}", failures.len());
}

/// What the journal says of them, which must be whole.
fn judge_the_journal(world: &World, ended: &[Ended], made: &HashMap<String, Vec<String>>, failures: &mut Vec<String>) {
    let mut intents = HashSet::new();
    let mut outcomes: HashMap<String, Vec<Outcome>> = HashMap::new();
    // By correlation id: the orders that the journal says it became.
    let mut became: HashMap<String, HashSet<String>> = HashMap::new();
    for line in read_back(&world.dir.path().join("state/journal"), jiff::Timestamp::MIN).unwrap().map(Result::unwrap) {
        let word = line.entry.correlation_id.clone().or_else(|| line.entry.idempotency_key.clone());
        let Some(id) = word.map(|id| id.as_str().to_owned()) else { continue };
        // Each order of a multi-order has an id of its own.
        let id = id.split('x').next().unwrap().to_owned();
        match line.entry.kind {
            Line::Intent => drop(intents.insert(id)),
            Line::Outcome => {
                became.entry(id.clone()).or_default().extend(line.entry.order_ids().map(str::to_owned));
                outcomes.entry(id).or_default().extend(line.entry.outcome);
            }
            Line::Note => {}
        }
    }
    for (id, _) in made.iter().filter(|(id, there)| !there.is_empty() && !intents.contains(*id)) {
        failures.push(format!("{id} is at the broker and not in the journal"));
    }
    for (id, there) in made {
        let named = became.get(id);
        if let Some(order) = there.iter().find(|order| !named.is_some_and(|named| named.contains(*order))) {
            failures.push(format!("{id}: the journal does not name its order {order}"));
        }
    }
    for one in ended {
        let said = outcomes.get(&one.id).map(Vec::as_slice).unwrap_or_default();
        // An intent without an end is a write that nobody knows the end of: the next start asks again.
        let last = said.last().map(|outcome| outcome.as_str());
        let last = last.or_else(|| intents.contains(&one.id).then_some("unknown"));
        if last != Some(one.outcome.as_str()) {
            failures.push(format!("{}: told {}, the journal says {said:?}", one.id, one.outcome));
        }
    }
    let mut verify = world.net.command(Ns::Gateway, env!("CARGO_BIN_EXE_sixgate"));
    let verified = verify.args(["journal", "verify", "--state"]).arg(world.dir.path().join("state")).output().unwrap();
    println!("{}", String::from_utf8_lossy(&verified.stdout));
    assert!(verified.status.success(), "{verified:?}");
}

/// All that the journal and the log say of an order, for whoever looks into a failure.
fn story(world: &World, id: &str) {
    println!("--- {id}");
    let log = std::fs::read_to_string(world.dir.path().join("gateway.stderr")).unwrap();
    let mut requests = HashSet::new();
    for line in read_back(&world.dir.path().join("state/journal"), jiff::Timestamp::MIN).unwrap().map(Result::unwrap) {
        let entry = line.entry;
        if entry.correlation_id.as_ref().is_some_and(|word| word.as_str() == id) {
            println!(
                "{} {:?} {:?} status {:?} recovered {:?} request {:?}",
                entry.at, entry.kind, entry.outcome, entry.status, entry.recovered, entry.request_id
            );
            requests.extend(entry.request_id.map(|word| word.as_str().to_owned()));
        }
    }
    let account = format!("account=\"{}\"", id.split('-').next().unwrap());
    let told = |line: &&str| requests.iter().any(|request| line.contains(request.as_str()));
    for line in log
        .lines()
        .filter(|line| told(line) || line.contains(&account) && (line.contains("a question") || !line.contains("INFO")))
        .take(60)
    {
        println!("{line}");
    }
}
