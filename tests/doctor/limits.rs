//! The clock, and what the kernel allows.

use super::{Host, config, gateway_has_a_unit, has};
use crate::support::world::pins;
use jiff::SignedDuration;

#[test]
fn a_clock_that_is_off_is_told_by_the_brokers() {
    let host = Host::up();
    host.broker.set_clock_skew(SignedDuration::from_secs(30));
    let finding = host.finds("clock_off");
    has(&finding, "what", "s behind the broker's");
    has(&finding, "commands", "timedatectl set-ntp true");
    host.broker.set_clock_skew(SignedDuration::ZERO);
    host.is_gone("clock_off");
}

#[test]
fn too_few_descriptors_are_told_with_how_many_it_takes() {
    let mut host = Host::up();
    gateway_has_a_unit(&host);
    // So that it takes no more than this test may have.
    host.configure(&config(&format!("{}[proxy]\nmax_connections = 100\n", pins())));
    host.before = ["prlimit", "--nofile=256:256", "--"].map(str::to_owned).to_vec();
    let finding = host.finds("descriptors");
    let command = finding["commands"][1].as_str().unwrap();
    let wanted = command.split("LimitNOFILE=").nth(1).unwrap().split('\'').next().unwrap();
    assert!(finding["commands"].to_string().contains("# systemctl restart sixgate"), "{finding}");
    host.before = vec!["prlimit".to_owned(), format!("--nofile={wanted}:{wanted}"), "--".to_owned()];
    host.is_gone("descriptors");
}

#[test]
fn too_few_ports_are_made_more_by_the_command() {
    let host = Host::up();
    std::fs::create_dir_all(host.dir.path().join("etc/sysctl.d")).unwrap();
    host.shell("sysctl -qw net.ipv4.ip_local_port_range='40000 40999'");
    let finding = host.is_mended_by_its_commands("few_ports");
    has(&finding, "what", "there are 1000 ports");
    let kept =
        std::fs::read_to_string(host.dir.path().join("etc/sysctl.d/90-sixgate-ip_local_port_range.conf")).unwrap();
    assert_eq!(kept, "net.ipv4.ip_local_port_range = 1024 65535\n");
}
