//! What programs of routers and of neighbour discovery do: radvd and ndppd themselves.

use std::process::{Child, Command, Stdio};

use super::{ALONE, Host, Said, has};
use crate::support::net::Ns;
use crate::support::wait_until;

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The prefix is on the link and not routed here.
fn on_link(host: &Host) {
    host.net.ip(Ns::Broker, "-6 route replace 2001:db8:a1::/64 dev downlink1");
    host.ip("-6 addr add 2001:db8:a1::ffff/64 dev uplink1 nodad");
}

/// The doctor beside ndppd, in a process namespace of their own: other tests must not see that one runs.
fn beside_ndppd(host: &Host, more: &[&str]) -> Said {
    let dir = host.dir.path().display();
    // It hears every question from the moment that its interface takes all multicast; one that came before is asked again
    // only after the second that a connection may take.
    let script = format!(
        "ndppd -c {dir}/etc/ndppd.conf >{dir}/ndppd.log 2>&1 & \
         until ip link show uplink1 | grep -q ALLMULTI; do kill -0 $! || exit 9; done; exec \"$0\" \"$@\""
    );
    let mut command: Command = host.net.command(Ns::Gateway, "unshare");
    command
        .args(ALONE)
        .args(["sh", "-c", &script])
        .env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin");
    command.arg(env!("CARGO_BIN_EXE_sixgate")).args(["doctor", "--json", "--config", "sixgate.toml"]).args(more);
    host.run(command.current_dir(host.dir.path()).stdin(Stdio::null()))
}

/// Many addresses are better answered for as a prefix: by the very file that the advice writes.
#[test]
fn ndppd_with_the_file_of_the_advice_answers_for_a_whole_prefix() {
    let host = Host::up();
    on_link(&host);
    let many: Vec<_> = (1..=20).map(|n| format!("--address=2001:db8:a1::{n:x}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let before = host.examine_with(&many);
    let finding = before.finding("neighbours_unanswered").unwrap_or_else(|| panic!("{}", before.short()));
    let commands = finding["commands"].as_array().unwrap();
    let writes =
        commands.iter().filter_map(|command| command.as_str()).find(|command| command.contains("/etc/ndppd.conf"));
    host.shell(writes.unwrap());
    let said = beside_ndppd(&host, &many);
    assert!(said.finding("neighbours_unanswered").is_none(), "{}", said.short());
    assert_eq!(said.result("neighbours_unanswered"), "ok", "{}", said.short());
    assert_eq!(said.result("broker_unreachable"), "ok", "{}", said.short());
}

#[test]
fn ndppd_that_is_not_heard_is_told_and_each_address_answered_for_by_the_command() {
    let host = Host::up();
    on_link(&host);
    // As if the provider's router dropped what it answers: it was told of another prefix.
    host.etc.write("ndppd.conf", "proxy uplink1 {\n    rule 2001:db8:ffff::/64 { static }\n}\n");
    let said = beside_ndppd(&host, &[]);
    let finding = said.finding("ndppd_unheard").unwrap_or_else(|| panic!("{}", said.short()));
    has(&finding, "what", "ndppd runs, and still no answer came to pool main 2001:db8:a1::1");
    host.follow(&finding);
    let said = beside_ndppd(&host, &[]);
    assert!(said.finding("ndppd_unheard").is_none(), "{}", said.short());
    assert_eq!(said.failed(), Vec::<&str>::new(), "{}", said.short());
}

/// Docker and its like turn forwarding on, and the way out is gone.
#[test]
fn a_route_that_forwarding_drops_comes_back_by_the_command() {
    let host = Host::up();
    std::fs::create_dir_all(host.dir.path().join("etc/sysctl.d")).unwrap();
    for line in ["-6 rule del from 2001:db8:a1::/64", "-6 rule del from 2001:db8:a2::/64", "link set uplink2 down"] {
        host.ip(line);
    }
    host.ip("-6 route flush default");
    let forwards = host.net.command(Ns::Broker, "sysctl").args(["-qw", "net.ipv6.conf.all.forwarding=1"]).status();
    assert!(forwards.unwrap().success());
    let conf = host.dir.path().join("radvd.conf");
    std::fs::write(&conf, "interface downlink1 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; };\n")
        .unwrap();
    let mut radvd = host.net.command(Ns::Broker, "radvd");
    radvd.arg("-n").arg("-C").arg(&conf).arg("-p").arg(host.dir.path().join("radvd.pid")).args(["-m", "stderr"]);
    radvd.env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin");
    let log = std::fs::File::create(host.dir.path().join("radvd.log")).unwrap();
    let _radvd = Running(radvd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("radvd"));
    let advertised = || host.net.ip(Ns::Gateway, "-6 route show default").contains("proto ra");
    wait_until("a route from an advertisement", super::SOON, advertised);
    assert_eq!(host.examine().result("forwarding_drops_route"), "ok");
    host.shell("sysctl -qw net.ipv6.conf.uplink1.forwarding=1");
    let finding = host.finds("forwarding_drops_route");
    has(&finding, "what", "uplink1 forwards");
    host.follow(&finding);
    wait_until("the route to come back", super::SOON, advertised);
    host.is_gone("forwarding_drops_route");
    host.is_gone("no_route");
}
