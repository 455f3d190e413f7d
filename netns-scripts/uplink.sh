#!/usr/bin/env bash
# uplink.sh PREFIX 1|2 down|silent|up: breaks one uplink of the network that up.sh made, and mends it.
#
#   down     the gateway's end of the link goes down: connecting from its prefix fails at once (unreachable)
#   silent   the far end drops whatever comes or goes: connecting runs into its timeout, as with a dead router
#   up       undoes either, with the routes and addresses that went with it
set -eu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=netns-scripts/common.sh
. "$here/common.sh"

usage() {
    echo "usage: $0 PREFIX 1|2 down|silent|up" >&2
    exit 2
}
[ $# -eq 3 ] || usage
check_prefix "$1"
gateway=$1-gateway broker=$1-broker line=$2
case $line in 1 | 2) ;; *) usage ;; esac

case $3 in
down)
    ip -n "$gateway" link set "uplink$line" down
    ;;
silent)
    in_namespace "$broker" nft -f - <<DROP
table inet silent$line {
    chain in { type filter hook prerouting priority raw; iifname "downlink$line" drop; }
    chain out { type filter hook postrouting priority 300; oifname "downlink$line" drop; }
}
DROP
    ;;
up)
    in_namespace "$broker" nft delete table inet "silent$line" 2>/dev/null || true
    ip -n "$gateway" link set "uplink$line" up
    gateway_line "$line" | ip -6 -n "$gateway" -batch -
    broker_line "$line" | ip -6 -n "$broker" -batch -
    wait_for_links "$gateway" "$broker"
    # A neighbour that was being asked for in vain would fail what is sent next.
    ip -n "$gateway" neigh flush dev "uplink$line"
    ip -n "$broker" neigh flush dev "downlink$line"
    ;;
*) usage ;;
esac
