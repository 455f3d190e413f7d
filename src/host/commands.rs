//! The commands that mend a host, as text: pure. Each can be pasted into a shell of root's as it stands; what only a
//! person can know stands in capitals.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

use super::system::{Boot, System};

/// Take packets for a whole prefix as this host's own.
pub fn local_route(prefix: Ipv6Net) -> String {
    format!("ip -6 route replace local {prefix} dev lo")
}

/// Give an interface one address, for use at once.
pub(super) fn address(at: Ipv6Addr, interface: &str) -> String {
    format!("ip -6 addr replace {at}/128 dev {interface} nodad")
}

/// Give an interface, which a person has to know, an IPv4 address.
pub(super) fn ipv4_address(at: Ipv4Addr) -> String {
    format!("ip addr replace {at}/32 dev INTERFACE")
}

/// A way out.
pub(super) fn default_route(gateway: Option<Ipv6Addr>, interface: Option<&str>, table: Option<u32>) -> String {
    let gateway = gateway.map_or_else(|| "GATEWAY".to_owned(), |gateway| gateway.to_string());
    let interface = interface.unwrap_or("INTERFACE");
    let table = table.map(|table| format!(" table {table}")).unwrap_or_default();
    format!("ip -6 route replace default via {gateway} dev {interface}{table}")
}

/// Let what comes from a prefix leave by a table of its own.
pub(super) fn source_rule(prefix: Ipv6Net, table: u32) -> String {
    format!("ip -6 rule add from {prefix} lookup {table}")
}

/// Set a kernel setting now.
pub(super) fn sysctl(key: &str, value: &str) -> String {
    match value.contains(' ') {
        true => format!("sysctl -w {key}=\"{value}\""),
        false => format!("sysctl -w {key}={value}"),
    }
}

/// Set one for good: now, and when the host starts.
pub(super) fn sysctl_kept(key: &str, value: &str) -> Vec<String> {
    let name = key.rsplit('.').next().unwrap_or(key);
    let line = format!("{key} = {value}");
    vec![sysctl(key, value), write(&format!("/etc/sysctl.d/90-sixgate-{name}.conf"), &[&line])]
}

/// Write a file of these lines.
pub(super) fn write(path: &str, lines: &[&str]) -> String {
    let quoted: Vec<_> = lines.iter().map(|line| format!("'{}'", line.replace('\'', "'\\''"))).collect();
    format!("printf '%s\\n' {} > {path}", quoted.join(" "))
}

/// The configuration of ndppd that answers for a whole prefix.
pub(super) fn ndppd(prefix: Ipv6Net, interface: &str) -> Vec<String> {
    let rule = format!("    rule {prefix} {{ static }}");
    vec![
        "apt-get install -y ndppd".to_owned(),
        write("/etc/ndppd.conf", &[&format!("proxy {interface} {{"), &rule, "}"]),
        "systemctl restart ndppd".to_owned(),
    ]
}

/// Something that cuts connections off, as a comment: when it may be done, a person has to say.
pub(super) fn at_a_quiet_time(command: &str, what: &str) -> String {
    format!("# {command}  # {what}: run it when the market is closed")
}

/// A limit of the gateway's unit, if a unit starts the gateway on this host.
pub(super) fn of_unit(boot: &Boot, setting: &str) -> Vec<String> {
    if !boot.gateway_unit {
        return Vec::new();
    }
    let name = setting.split('=').next().unwrap_or(setting).to_ascii_lowercase();
    vec![
        "mkdir -p /etc/systemd/system/sixgate.service.d".to_owned(),
        write(&format!("/etc/systemd/system/sixgate.service.d/{name}.conf"), &["[Service]", setting]),
        "systemctl daemon-reload".to_owned(),
        at_a_quiet_time("systemctl restart sixgate", "it takes effect then"),
    ]
}

/// Take the lines of a name out of a file, of which a copy stays.
pub(super) fn without_name(file: &str, name: &str) -> String {
    format!("sed -i.before-sixgate '/[[:space:]]{}\\([[:space:]]\\|$\\)/d' {file}", name.replace('.', "\\."))
}

/// Take a name server out of `/etc/resolv.conf`, of which a copy stays.
pub(super) fn without_server(server: &str) -> String {
    let pattern = server.replace('.', "\\.");
    format!("sed -i.before-sixgate '/^[[:space:]]*nameserver[[:space:]]*{pattern}[[:space:]]*$/d' /etc/resolv.conf")
}

/// Let the clock be kept.
pub(super) fn clock() -> Vec<String> {
    vec!["apt-get install -y systemd-timesyncd".to_owned(), "timedatectl set-ntp true".to_owned()]
}

/// What sets the host's network up anew. Files of it are read at the next start without that.
fn quiet(command: &str) -> String {
    at_a_quiet_time(command, "it takes effect then, or when the host starts")
}

/// Make routes and addresses again when the host starts, in the way of its own system.
pub(super) fn at_boot(system: System, prefixes: &[Ipv6Net], addresses: &[(Ipv6Addr, String)]) -> Vec<String> {
    let routes = prefixes.iter().map(|prefix| local_route(*prefix));
    let addressed = addresses.iter().map(|(at, interface)| address(*at, interface));
    match system {
        System::Netplan => netplan(prefixes, addresses),
        System::Networkd => networkd(prefixes, addresses),
        System::NetworkManager => {
            let head = ["#!/bin/sh".to_owned(), "[ \"$2\" = up ] || exit 0".to_owned()];
            let lines: Vec<_> = head.into_iter().chain(routes).chain(addressed).collect();
            let file = "/etc/NetworkManager/dispatcher.d/50-sixgate";
            vec![
                "mkdir -p /etc/NetworkManager/dispatcher.d".to_owned(),
                write(file, &texts(&lines)),
                format!("chmod 755 {file}"),
            ]
        }
        System::Ifupdown => {
            let up = |command: String| format!("    up {command}");
            let mut lines = Vec::new();
            if !prefixes.is_empty() {
                lines.extend(["auto lo".to_owned(), "iface lo inet6 loopback".to_owned()]);
                lines.extend(routes.map(up));
            }
            for (at, interface) in addresses {
                lines.extend([format!("iface {interface} inet6 manual"), up(address(*at, interface))]);
            }
            vec![
                "mkdir -p /etc/network/interfaces.d".to_owned(),
                write("/etc/network/interfaces.d/sixgate", &texts(&lines)),
                "grep -q interfaces.d /etc/network/interfaces || echo 'source /etc/network/interfaces.d/*' >> \
                 /etc/network/interfaces"
                    .to_owned(),
            ]
        }
        System::Systemd => {
            let head =
                ["[Unit]", "After=network-online.target", "Wants=network-online.target", "[Service]", "Type=oneshot"];
            let lines: Vec<_> = head.iter().map(|line| (*line).to_owned()).collect();
            let starts = routes.chain(addressed).map(|command| format!("ExecStart={command}"));
            let tail = ["[Install]".to_owned(), "WantedBy=multi-user.target".to_owned()];
            let lines: Vec<_> = lines.into_iter().chain(starts).chain(tail).collect();
            vec![
                write("/etc/systemd/system/sixgate-addresses.service", &texts(&lines)),
                "systemctl daemon-reload".to_owned(),
                "systemctl enable sixgate-addresses.service".to_owned(),
            ]
        }
        System::Bare => {
            let file = "/etc/rc.local";
            let lines: Vec<_> = routes.chain(addressed).collect();
            vec![
                format!("test -e {file} || echo '#!/bin/sh' > {file}"),
                format!("sed -i '/^exit 0$/d' {file}"),
                write(file, &texts(&lines)).replace("> /etc", ">> /etc"),
                format!("chmod 755 {file}"),
            ]
        }
    }
}

fn texts(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

fn netplan(prefixes: &[Ipv6Net], addresses: &[(Ipv6Addr, String)]) -> Vec<String> {
    let mut lines = vec!["network:".to_owned(), "  version: 2".to_owned(), "  ethernets:".to_owned()];
    if !prefixes.is_empty() {
        lines.extend(["    lo:", "      match: { name: lo }", "      routes:"].map(str::to_owned));
        lines.extend(prefixes.iter().map(|prefix| format!("        - {{ to: \"{prefix}\", type: local }}")));
    }
    for (at, interface) in addresses {
        lines.extend([format!("    {interface}:"), format!("      addresses: [ \"{at}/128\" ]")]);
    }
    let file = "/etc/netplan/90-sixgate.yaml";
    vec![write(file, &texts(&lines)), format!("chmod 600 {file}"), quiet("netplan apply")]
}

fn networkd(prefixes: &[Ipv6Net], addresses: &[(Ipv6Addr, String)]) -> Vec<String> {
    let mut commands = vec!["mkdir -p /etc/systemd/network /etc/systemd/networkd.conf.d".to_owned()];
    // It removes routes that others made, each time it looks (systemd #25451).
    commands.push(write("/etc/systemd/networkd.conf.d/sixgate.conf", &["[Network]", "ManageForeignRoutes=no"]));
    if !prefixes.is_empty() {
        let mut lines = vec!["[Match]".to_owned(), "Name=lo".to_owned()];
        for prefix in prefixes {
            lines.extend(["[Route]".to_owned(), format!("Destination={prefix}"), "Type=local".to_owned()]);
        }
        commands.push(write("/etc/systemd/network/05-sixgate-lo.network", &texts(&lines)));
    }
    for (at, interface) in addresses {
        let drop_in = "/etc/systemd/network/NAME_OF_ITS_FILE.network.d";
        commands.push(format!("mkdir -p {drop_in}  # networkctl status {interface} shows the name of its file"));
        commands.push(write(&format!("{drop_in}/sixgate.conf"), &["[Address]", &format!("Address={at}/128")]));
    }
    commands.push(quiet("systemctl restart systemd-networkd"));
    commands
}

/// Is a word of it left to a person?
pub fn needs_a_person(command: &str) -> bool {
    ["GATEWAY", "INTERFACE", "NAME_OF_ITS_FILE"].iter().any(|word| command.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_its_own_text_and_all_name_what_they_keep() {
        let prefix: Ipv6Net = "2001:db8:a1::/64".parse().unwrap();
        let one: Ipv6Addr = "2001:db8:a2::7".parse().unwrap();
        for (system, file) in [
            (System::Netplan, "/etc/netplan/90-sixgate.yaml"),
            (System::Networkd, "/etc/systemd/network/05-sixgate-lo.network"),
            (System::NetworkManager, "/etc/NetworkManager/dispatcher.d/50-sixgate"),
            (System::Ifupdown, "/etc/network/interfaces.d/sixgate"),
            (System::Systemd, "/etc/systemd/system/sixgate-addresses.service"),
            (System::Bare, "/etc/rc.local"),
        ] {
            let commands = at_boot(system, &[prefix], &[(one, "eth0".to_owned())]).join("\n");
            for words in [file, "2001:db8:a1::/64", "2001:db8:a2::7/128"] {
                assert!(commands.contains(words), "no {words} in {commands}");
            }
        }
    }

    /// Somebody runs the whole plan at eleven in the morning.
    #[test]
    fn nothing_is_restarted_by_itself_and_a_unit_that_is_not_there_is_not_written_to() {
        let mut boot = Boot::default();
        assert_eq!(of_unit(&boot, "LimitNOFILE=4096"), Vec::<String>::new());
        boot.gateway_unit = true;
        let with_unit = of_unit(&boot, "LimitNOFILE=4096");
        assert!(with_unit.iter().any(|command| command.contains("LimitNOFILE=4096")), "{with_unit:?}");
        let prefix: Ipv6Net = "2001:db8:a1::/64".parse().unwrap();
        let kept = [System::Netplan, System::Networkd].map(|system| at_boot(system, &[prefix], &[]));
        for command in kept.iter().flatten().chain(&with_unit) {
            let cuts = command.contains("restart") || command.contains("netplan apply");
            assert!(!cuts || command.starts_with("# "), "{command}");
        }
    }

    #[test]
    fn a_quote_in_a_line_does_not_end_it() {
        assert_eq!(write("/x", &["it's"]), "printf '%s\\n' 'it'\\''s' > /x");
        assert_eq!(
            sysctl("net.ipv4.ip_local_port_range", "1024 65535"),
            "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\""
        );
        assert!(needs_a_person(&default_route(None, Some("eth0"), None)));
        assert!(!needs_a_person(&default_route("fe80::1".parse().ok(), Some("eth0"), Some(102))));
    }
}
