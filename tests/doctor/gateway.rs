//! The gateway and what is around it.

use std::os::unix::fs::PermissionsExt;

use super::{ALONE, Host, config, gateway_has_a_unit, has};
use crate::support::forbid;
use crate::support::net::Ns;
use crate::support::world::{World, pins};
use serde_json::{Value, json};

#[test]
fn a_port_that_somebody_has_is_told_until_he_lets_go() {
    let host = Host::up();
    let listener = host.net.in_ns(Ns::Gateway, || async { std::net::TcpListener::bind("127.0.0.1:8080").unwrap() });
    let finding = host.finds("port_taken");
    has(&finding, "what", "127.0.0.1:8080");
    host.follow(&finding);
    drop(listener);
    host.is_gone("port_taken");
}

#[test]
fn a_state_folder_that_others_can_open_is_closed_by_the_command() {
    let host = Host::up();
    let state = host.dir.path().join("state");
    assert_eq!(host.examine().result("state_folder"), "ok", "it is made at the first start");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
    has(&host.is_mended_by_its_commands("state_folder"), "what", "mode 755");
}

#[test]
fn state_in_memory_is_told() {
    let mut host = Host::up();
    let state = host.dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(host.examine().result("state_folder"), "ok");
    let mount = format!("mount -t tmpfs -o mode=700 none {} && exec \"$0\" \"$@\"", state.display());
    host.before = ["sh", "-c", &mount].map(str::to_owned).to_vec();
    let said = host.run(&mut privileged(&host));
    has(&said.finding("state_folder").unwrap(), "what", "in memory (tmpfs)");
}

/// In namespaces of its own, where it may mount.
fn privileged(host: &Host) -> std::process::Command {
    let mut command = host.net.command(Ns::Gateway, "unshare");
    command.args(ALONE).args(&host.before);
    command.arg(env!("CARGO_BIN_EXE_sixgate")).args(["doctor", "--json", "--config", "sixgate.toml"]);
    command.current_dir(host.dir.path());
    command
}

#[test]
fn a_container_without_the_addresses_is_told_as_one() {
    let mut host = Host::up();
    let mark = "mount -t tmpfs none /run && touch /run/.containerenv && exec \"$0\" \"$@\"";
    host.before = ["sh", "-c", mark].map(str::to_owned).to_vec();
    let said = host.run(&mut privileged(&host));
    assert_eq!(said.result("container"), "ok", "{}", said.short());
    host.ip("-6 route del local 2001:db8:a1::/64 dev lo");
    let said = host.run(&mut privileged(&host));
    has(&said.finding("container").unwrap(), "fix", "--network=host");
    host.ip("-6 route add local 2001:db8:a1::/64 dev lo");
    assert!(host.run(&mut privileged(&host)).finding("container").is_none());
}

/// Hardened units forbid families of sockets.
#[test]
fn sockets_that_are_forbidden_are_told_and_what_needs_them_is_unknown() {
    let host = Host::up();
    gateway_has_a_unit(&host);
    for (family, id) in [
        (forbid::NETLINK, "netlink_forbidden"),
        (forbid::UNIX, "unix_sockets_forbidden"),
        (forbid::INET6, "ipv6_sockets_forbidden"),
    ] {
        let mut command = host.command(&["--json", "--config", "sixgate.toml"]);
        forbid::family(family, host.dir.path(), &mut command);
        let said = host.run(&mut command);
        let finding = said.finding(id).unwrap_or_else(|| panic!("no {id}: {}", said.short()));
        has(&finding, "commands", "AF_NETLINK");
        if family != forbid::UNIX {
            assert_eq!(said.result("no_route"), "unknown", "{}", said.short());
        }
    }
    assert_eq!(host.examine().result("netlink_forbidden"), "ok");
}

#[test]
fn an_admin_api_within_others_reach_is_told() {
    let exposed = format!("[admin]\naddress = \"[2001:db8:c::1]:8081\"\nplaintext = \"i-know\"\n{}", config(&pins()));
    let host = Host::up_with(&exposed);
    has(&host.finds("admin_exposed"), "what", "[2001:db8:c::1]:8081");
    host.configure(&config(&pins()));
    host.is_gone("admin_exposed");
}

fn check<'a>(examination: &'a Value, id: &str) -> &'a Value {
    examination["checks"].as_array().unwrap().iter().find(|check| check["id"] == id).unwrap()
}

/// The same checks inside a running gateway, with its accounts, for operators.
#[test]
fn a_running_gateway_examines_its_host_when_it_is_asked_to() {
    let world = World::up(2, "");
    let admin = world.gateway.admin();
    assert!(admin.get("/v1/host").1["examination"].is_null());
    let (status, examination) = admin.post("/v1/host/check", &json!({}));
    assert_eq!((status, &examination["ok"]), (200, &json!(true)), "{examination}");
    assert_eq!(check(&examination, "port_taken")["result"], "ok");
    assert_eq!(check(&examination, "another_program_logs_in")["result"], "ok");
    world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a1::/64 dev lo");
    let (_, examination) = admin.post("/v1/host/check", &json!({}));
    assert_eq!(examination["ok"], false);
    let missing = check(&examination, "address_missing");
    assert!(missing["found"].as_str().unwrap().contains("a1 primary 2001:db8:a1::1"), "{missing}");
    assert!(missing["found"].as_str().unwrap().contains("a2 primary 2001:db8:a1::2"), "{missing}");
    assert_eq!(admin.get("/v1/host").1["examination"], examination);
    assert_eq!(world.gateway.admin_without_token().post("/v1/host/check", &json!({})).0, 401);

    // Beside it, the command knows the accounts from the gateway.
    let mut command = world.net.command(Ns::Gateway, env!("CARGO_BIN_EXE_sixgate"));
    command.args(["doctor", "--json", "--config", "sixgate.toml"]).current_dir(world.dir.path());
    let said: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    assert!(check(&said, "address_missing")["found"].as_str().unwrap().contains("a2 primary"), "{said}");
    assert_eq!(check(&said, "port_taken")["result"], "ok", "they are the gateway's own: {said}");
}
