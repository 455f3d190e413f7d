#!/usr/bin/env bash
# up.sh [PREFIX]: a caller, a gateway with two uplinks, and a broker, each in its own network namespace.
#
#   PREFIX-caller                    PREFIX-gateway                          PREFIX-broker
#   to-gateway ---- 2001:db8:c::/64 ---- to-caller
#      ::2                               ::1
#                                      uplink1 ---- 2001:db8:f1::/64 ---- downlink1    routes 2001:db8:a1::/64 here
#                                        ::2                                 ::1
#                                      uplink2 ---- 2001:db8:f2::/64 ---- downlink2    routes 2001:db8:a2::/64 here
#                                        ::2                                 ::1
#                                      lo: local 2001:db8:a1::/64          lo: 2001:db8:b::1, ::2, ::3
#                                          local 2001:db8:a2::/64
#
# This is what a host looks like to which a provider routes two prefixes, one per line:
#   - No address of a1 or a2 is configured. Local routes (AnyIP) make the gateway answer for all of them, so a
#     socket that sets IPV6_FREEBIND may bind any.
#   - What leaves from a1 leaves by uplink 1 and what leaves from a2 by uplink 2, by `ip -6 rule`. A line that
#     is down means "unreachable", never the other line.
#   - What leaves from no bound address has 2001:db8:f1::2. A test that sees that address at the broker has
#     caught a connection that nobody bound.
#   - The caller has no route to the broker: only the gateway can carry it there.
#   - Duplicate address detection is off, so every address works as soon as this script returns.
#
# PREFIX is `sg` if not given. Whatever an earlier up.sh with this PREFIX made is taken down first. The links
# are made inside the namespaces, so nothing is seen in the host's own and prefixes cannot clash.
#
# Needs CAP_NET_ADMIN and CAP_SYS_ADMIN: root, or pretend root by `unshare -Urnm bash`, where a private tmpfs
# stands in for /run/netns. README.md beside this file is a walk through it by hand. down.sh ends it.
set -eu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=netns-scripts/common.sh
. "$here/common.sh"

prefix=${1:-sg}
check_prefix "$prefix"
caller=$prefix-caller gateway=$prefix-gateway broker=$prefix-broker

prepare_run_netns
names=("$caller" "$gateway" "$broker")
for name in "${names[@]}"; do
    if [ -e "/run/netns/$name" ]; then
        "$here/down.sh" "$prefix"
        break
    fi
done
# A half-made network would fail later and elsewhere; take it down here.
trap '"$here/down.sh" "$prefix"' EXIT

# Few programs are started here, as tests do this hundreds of times: each takes milliseconds.
printf 'netns add %s\n' "${names[@]}" | ip -batch -
for name in "${names[@]}"; do
    # Before any link is made: a link takes its settings from `default`.
    in_namespace "$name" sh -c 'cd /proc/sys/net/ipv6/conf && echo 0 >all/accept_dad && echo 0 >default/accept_dad'
done

ip -6 -n "$gateway" -batch - <<GATEWAY
link set lo up
link add to-caller type veth peer name to-gateway netns $caller
link add uplink1 type veth peer name downlink1 netns $broker
link add uplink2 type veth peer name downlink2 netns $broker
link set to-caller up
link set uplink1 up
link set uplink2 up
address add 2001:db8:c::1/64 dev to-caller nodad
route add local 2001:db8:a1::/64 dev lo
route add local 2001:db8:a2::/64 dev lo
rule add from 2001:db8:a1::/64 lookup 101
rule add from 2001:db8:a2::/64 lookup 102
route add unreachable default table 101 metric 9000
route add unreachable default table 102 metric 9000
$(gateway_line 1)
$(gateway_line 2)
GATEWAY

ip -n "$caller" -batch - <<CALLER
link set lo up
link set to-gateway up
address add 2001:db8:c::2/64 dev to-gateway nodad
CALLER

ip -6 -n "$broker" -batch - <<BROKER
link set lo up
link set downlink1 up
link set downlink2 up
address add 2001:db8:b::1/128 dev lo nodad
address add 2001:db8:b::2/128 dev lo nodad
address add 2001:db8:b::3/128 dev lo nodad
$(broker_line 1)
$(broker_line 2)
BROKER

wait_for_links "${names[@]}"
trap - EXIT
