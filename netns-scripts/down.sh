#!/usr/bin/env bash
# down.sh [PREFIX]: takes down what up.sh made. With nothing there it does nothing and succeeds.
#
# A namespace goes with its last process: what still runs inside keeps its sockets until it ends, and is named
# here. Nothing is killed.
set -eu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=netns-scripts/common.sh
. "$here/common.sh"

prefix=${1:-sg}
check_prefix "$prefix"

for name in "$prefix-caller" "$prefix-gateway" "$prefix-broker"; do
    [ -e "/run/netns/$name" ] || continue
    # A name without a namespace behind it, left by a host that went down hard, has no processes to list.
    pids=$(ip netns pids "$name" 2>/dev/null | tr '\n' ' ') || pids=
    [ -z "$pids" ] || echo "down.sh: still running in $name: $pids" >&2
    ip netns delete "$name"
done
