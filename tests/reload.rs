//! SIGHUP on the real binary: a new configuration in force, and no connection dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::caller::{Caller, basic, connect, connect_unix, request};
use crate::support::net::{Ns, broker};
use crate::support::world::{LOOPBACK, World, config, pins};
use crate::support::{Gateway, Process, wait_until};
use nix::sys::signal::Signal;
use sixgate::sandbox::{Action, Fault};

const ORDER: &str = r#"{"transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":1,"price":3310.5}"#;
const PROFILE: &str = "http://api.dhan.co/v2/profile";
const DONE: &str = "the configuration was reloaded";
const REFUSED: &str = "the configuration was not reloaded";
const SOON: Duration = Duration::from_secs(10);

fn loopback() -> SocketAddr {
    LOOPBACK.parse().unwrap()
}

/// Write a configuration, and wait until the gateway has said `what` of it.
#[track_caller]
fn reload(world: &mut World, text: &str, what: &str) {
    Gateway::write_config(world.dir.path(), text);
    let before = world.gateway.log().matches(what).count();
    world.gateway.signal(Signal::SIGHUP);
    wait_until(what, SOON, || world.gateway.log().matches(what).count() > before);
}

async fn get(caller: &mut Caller, url: &str) -> u16 {
    let host = url.split('/').nth(2).unwrap();
    caller.send(request("GET", url, host, &[], None)).await.unwrap().status
}

async fn get_anew(to: SocketAddr, url: &str) -> u16 {
    get(&mut Caller::http1(connect(to).await).await, url).await
}

#[test]
fn a_kept_connection_and_an_order_under_way_outlive_a_reload() {
    let short = "[orders]\nresponse_timeout = \"3s\"";
    let mut world = World::up_with(1, &config(&format!("{}\n{short}", pins())));
    let callers = world.net.runtime(Ns::Gateway);
    let mut kept = callers.run(async {
        let mut kept = Caller::http1(connect(loopback()).await).await;
        assert_eq!(get(&mut kept, PROFILE).await, 200);
        kept
    });
    world.broker.fault(Fault::new(Action::Hang { executed: true }).on("POST", "/v2/orders").times(1));
    let order = callers.spawn(async {
        let mut caller = Caller::http1(connect(loopback()).await).await;
        caller.send(request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", &[], Some(ORDER))).await
    });
    let seen = world.broker.clone();
    wait_until("the order is at the broker", SOON, || seen.seen().iter().any(|seen| seen.method == "POST"));
    // The order began with 3 seconds; with these ten minutes it would not end in this test.
    let long = "[orders]\nresponse_timeout = \"10m\"";
    reload(&mut world, &config(&format!("{}\n{long}", pins())), DONE);
    let (status, reply) = callers.run(async move { (get(&mut kept, PROFILE).await, order.await.unwrap().unwrap()) });
    assert_eq!(status, 200);
    assert_eq!((reply.status, reply.header("sixgate-outcome")), (200, "executed"), "{reply:?}");
    assert_eq!(world.broker.seen().iter().filter(|seen| seen.method == "POST").count(), 1);
}

#[test]
fn pins_limits_and_allowed_hosts_are_in_force_for_the_next_request_of_a_kept_connection() {
    let mut world = World::up(1, "");
    let callers = world.net.runtime(Ns::Gateway);
    let url = "http://files.example/x";
    let (mut kept, before) = callers.run(async move {
        let mut kept = Caller::http1(connect(loopback()).await).await;
        let before = [get(&mut kept, PROFILE).await, get(&mut kept, url).await];
        (kept, before)
    });
    assert_eq!(before, [200, 403]);

    // An idle connection to where the broker was pinned before must not be used any more.
    let moved = pins().replacen("]:443\"]", "]:444\"]", 1);
    let allowed = format!("allow = [\"files.example\"]\n{moved}\"files.example\" = [\"[{}]:443\"]", broker(1));
    let small = format!("{allowed}\n[proxy]\nbody_limit = 10");
    reload(&mut world, &config(&small), DONE);
    let (kept, after) = callers.run(async move {
        let mut after = vec![get(&mut kept, PROFILE).await, get(&mut kept, url).await];
        let post = request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", &[], Some(ORDER));
        after.push(kept.send(post).await.unwrap().status);
        (kept, after)
    });
    drop(kept);
    assert_eq!(after[0], 503, "{after:?}");
    // Its name is on no certificate of the broker: it was dialled, which is enough.
    assert_ne!(after[1], 403, "{after:?}");
    assert_eq!(after[2], 413, "{after:?}");

    reload(&mut world, &config(&pins()), DONE);
    let back = callers.run(async move { [get_anew(loopback(), PROFILE).await, get_anew(loopback(), url).await] });
    assert_eq!(back, [200, 403]);
}

#[test]
fn a_bad_file_changes_nothing_and_all_of_its_problems_are_logged() {
    let mut world = World::up(1, "");
    let url = "http://files.example/x";
    let door = |more: &str| format!("[[listener]]\naddress = \"127.0.0.1:8090\"\naccount = \"a1\"\n{more}\n[admin]");
    let text = |door: &str, more: &str| {
        config(&format!("allow = [\"files.example\"]\n{}\n{more}", pins())).replace("[admin]", door)
    };
    let bad = text(&door("client_key = \"maybe\""), "[proxy]\ndrain = \"9h\"");
    reload(&mut world, &bad, REFUSED);
    let log = world.gateway.log();
    assert!(log.contains("proxy.drain:") && log.contains("listener.3.client_key:"), "{log}");

    // Each key is good, and what they name is not: a port that is taken, a certificate
    // that is none, a token that others can read.
    let dir = world.dir.path().to_owned();
    std::fs::write(dir.join("cert.pem"), "no certificate").unwrap();
    std::fs::write(dir.join("operator.token"), "sga_0123456789abcdefghij").unwrap();
    let taken = std::net::SocketAddr::from(([127, 0, 0, 1], 8095));
    let place = world.net.place(Ns::Gateway);
    let holder = place.run(|| async move { std::net::TcpListener::bind(taken).unwrap() });
    let doors = door(
        "[[listener]]\naddress = \"127.0.0.1:8095\"\naccount = \"a1\"\n\
        [[listener]]\naddress = \"127.0.0.1:8096\"\naccount = \"a1\"\ntls_certificate = \"{dir}/cert.pem\"\ntls_key = \"{dir}/cert.pem\"",
    ) + "\noperator_token_file = \"{dir}/operator.token\"";
    reload(&mut world, &text(&doors, ""), REFUSED);
    drop(holder);
    let log = world.gateway.log();
    for what in ["listener.4: cannot listen on 127.0.0.1:8095", "listener.5: cannot use", "can be read by others"] {
        assert!(log.contains(what), "{what} is not in:\n{log}");
    }
    let (allowed, opened) = world.net.in_ns(Ns::Gateway, || async move {
        let opened = tokio::net::TcpStream::connect("127.0.0.1:8090").await.is_ok();
        (get_anew(loopback(), url).await, opened)
    });
    assert_eq!((allowed, opened), (403, false));
    assert!(!log.contains(DONE), "{log}");
}

#[test]
fn a_pool_that_differs_is_a_problem_and_a_new_one_is_made() {
    let mut world = World::up(1, "");
    let pool = |net: &str| {
        format!(
            "{}\n[[pool]]\nname = \"main\"\nprimary = \"2001:db8:{net}1::/64\"\nsecondary = \"2001:db8:{net}2::/64\"",
            pins()
        )
    };
    reload(&mut world, &config(&pool("f")), DONE);
    assert_eq!(world.gateway.admin().get("/v1/pools/main").0, 200);
    reload(&mut world, &config(&pool("e")), REFUSED);
    assert!(world.gateway.has_logged("pool.0: pool main of the configuration exists already"));
}

#[test]
fn listeners_come_and_go_and_their_connections_stay() {
    let mut world = World::up(2, "");
    let callers = world.net.runtime(Ns::Gateway);
    let mut kept = callers.run(async {
        let mut kept = Caller::http1(connect(loopback()).await).await;
        assert_eq!(get(&mut kept, PROFILE).await, 200);
        kept
    });
    let other = "127.0.0.1:8090";
    let text = config(&pins()).replace(LOOPBACK, other).replace("proxy.sock", "other.sock");
    reload(&mut world, &text, DONE);
    let dir = world.dir.path().to_owned();
    let statuses = callers.run(async move {
        let closed = tokio::net::TcpStream::connect(loopback()).await.is_err();
        let mut unix = Caller::http1(connect_unix(&dir.join("other.sock")).await).await;
        let kept = get(&mut kept, PROFILE).await;
        (
            closed,
            dir.join("proxy.sock").exists(),
            kept,
            get_anew(other.parse().unwrap(), PROFILE).await,
            get(&mut unix, PROFILE).await,
        )
    });
    assert_eq!(statuses, (true, false, 200, 200, 200));

    // And back, as the address is free when the reload is over.
    reload(&mut world, &config(&pins()), DONE);
    assert_eq!(callers.run(async { get_anew(loopback(), PROFILE).await }), 200);
}

#[test]
fn a_key_that_is_required_from_now_on_is_asked_of_open_connections_too() {
    let mut world = World::up(2, "");
    let callers = world.net.runtime(Ns::Gateway);
    let mut kept = callers.run(async {
        let mut kept = Caller::http1(connect(loopback()).await).await;
        assert_eq!(get(&mut kept, PROFILE).await, 200);
        kept
    });
    let asks = config(&pins()).replace("account = \"a1\"", "account = \"a1\"\nclient_key = \"required\"");
    reload(&mut world, &asks, DONE);
    let auth = basic("a1", &world.traders[0].key);
    let statuses = callers.run(async move {
        let mut fresh = Caller::http1(connect(loopback()).await).await;
        let without = get(&mut fresh, PROFILE).await;
        let with = request("GET", PROFILE, "api.dhan.co", &[("proxy-authorization", &auth)], None);
        (without, fresh.send(with).await.unwrap().status, get(&mut kept, PROFILE).await)
    });
    assert_eq!(statuses, (407, 200, 407));

    let other = config(&pins()).replace("account = \"a1\"", "account = \"a2\"");
    reload(&mut world, &other, DONE);
    let reply = callers.run(async {
        let mut fresh = Caller::http1(connect(loopback()).await).await;
        fresh.send(request("GET", PROFILE, "api.dhan.co", &[], None)).await.unwrap()
    });
    assert_eq!(reply.json()["dhanClientId"], world.traders[1].client_id.as_str());
}

/// What a socket's file lets in must follow what its callers are asked.
#[test]
fn the_mode_of_a_unix_socket_follows_its_terms() {
    use std::os::unix::fs::PermissionsExt;
    let text = |more: &str| {
        let own = format!("[[listener]]\naddress = \"unix:{{dir}}/own.sock\"\naccount = \"a1\"\n{more}\n[admin]");
        config(&pins()).replace("[admin]", &own)
    };
    let mut world = World::up_with(1, &text(""));
    let path = world.dir.path().join("own.sock");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    reload(&mut world, &text("client_key = \"required\""), DONE);
    assert_eq!(mode(), 0o666);
    reload(&mut world, &text(""), DONE);
    assert_eq!(mode(), 0o600);
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_applied() {
    let mut world = World::up(1, "");
    let more = format!(
        "{}\n[journal]\nkeep = \"2y\"\n[broker.dhan]\nimages = \"https://images.example\"\n[log]\nlevel = \"debug\"\njson = true",
        pins()
    );
    let text = config(&more).replace("127.0.0.1:8081", "127.0.0.1:8082").replace("/state\"", "/elsewhere\"");
    let text = text.replace("[admin]", "[[listener]]\naddress = \"127.0.0.1:8090\"\naccount = \"a1\"\n[admin]");
    reload(&mut world, &text, DONE);
    let log = world.gateway.log();
    for key in ["state.path", "admin.address", "journal.keep", "broker.dhan.images", "log.json"] {
        assert!(log.contains(&format!("{key} has changed in the configuration; restart to apply it")), "{key}:\n{log}");
    }
    assert!(!log.contains("journal.fsync has changed") && !log.contains("broker.dhan.api has changed"), "{log}");
    let admin = world.gateway.admin();
    assert_eq!(admin.get("/v1/accounts").0, 200, "the token or the address of the admin API changed");
    assert!(!world.dir.path().join("elsewhere").exists());
    let status = world.net.in_ns(Ns::Gateway, || get_anew("127.0.0.1:8090".parse().unwrap(), PROFILE));
    assert_eq!(status, 200);
}

/// A token that leaked is replaced in its file.
#[test]
fn admin_tokens_are_read_again_and_so_is_the_level_of_the_log() {
    let quiet = config(&format!("{}\n[log]\nlevel = \"error\"", pins()));
    let mut world = World::up_with(1, &quiet);
    let old = world.gateway.admin();
    assert_eq!(old.get("/v1/accounts").0, 200);
    assert!(!world.gateway.log().contains("INFO"));
    std::fs::write(world.dir.path().join("state/admin.token"), "sga_another-token-altogether\n").unwrap();
    // This line itself would not be there at the old level.
    reload(&mut world, &config(&pins()), DONE);
    assert_eq!(old.get("/v1/accounts").0, 401);
    assert_eq!(world.gateway.admin().get("/v1/accounts").0, 200);
}

#[test]
fn fifty_reloads_under_load_fail_not_one_request() {
    // Reads are let through 20 a second: whoever is too fast waits and is not refused.
    let text = |n: usize| {
        let swapped = if n.is_multiple_of(2) { pins() } else { pins().replace("2001:db8:b::1]", "2001:db8:b::2]") };
        let more = format!(
            "idle_per_leg = {}\n{swapped}\n[limits]\nmax_wait = \"1m\"\n[proxy]\nmax_connections = {}",
            1 + n % 3,
            100 + n
        );
        config(&more)
    };
    let mut world = World::up_with(2, &text(0));
    let (over, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers = world.net.runtime(Ns::Gateway);
    let socket = world.dir.path().join("proxy.sock");
    let mut tasks = Vec::new();
    for n in 0..8 {
        let (over, made, socket) = (Arc::clone(&over), Arc::clone(&made), socket.clone());
        tasks.push(callers.spawn(async move {
            let mut kept = match n % 2 {
                0 => Caller::http1(connect(loopback()).await).await,
                _ => Caller::http1(connect_unix(&socket).await).await,
            };
            let mut statuses = Vec::new();
            while !over.load(Ordering::Relaxed) {
                // On every second turn by a new connection. 404 is the broker's word.
                statuses.push(match (n, statuses.len() % 2) {
                    (0 | 1, _) => get(&mut kept, PROFILE).await,
                    (_, 0) => get(&mut kept, "http://images.dhan.co/x").await,
                    (_, _) => get_anew(loopback(), "http://images.dhan.co/x").await,
                });
                made.fetch_add(1, Ordering::Relaxed);
            }
            statuses
        }));
    }
    for n in 1..=50 {
        reload(&mut world, &text(n), DONE);
    }
    wait_until("there is load", Duration::from_secs(60), || made.load(Ordering::Relaxed) > 200);
    over.store(true, Ordering::Relaxed);
    let statuses = callers.run(async move {
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        all
    });
    let good = statuses.iter().filter(|status| matches!(status, 200 | 404)).count();
    assert_eq!(good, statuses.len(), "{statuses:?}");
}

#[test]
fn the_sandbox_has_no_file_and_goes_on() {
    let net = crate::support::Net::up();
    let dir = tempfile::tempdir().unwrap();
    let mut sandbox = Process::sixgate(&net.place(Ns::Gateway), dir.path(), "sandbox", ["serve", "--sandbox"]);
    wait_until("the sandbox is up", Duration::from_secs(30), || sandbox.output().contains("Ctrl-C stops it"));
    sandbox.signal(Signal::SIGHUP);
    wait_until("it says so", SOON, || sandbox.log().contains("there is no configuration file to read"));
    assert_eq!(sandbox.terminate().code(), Some(0));
}
