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

there=()
for name in "$prefix-caller" "$prefix-gateway" "$prefix-broker"; do
    [ ! -e "/run/netns/$name" ] || there+=("$name")
done
[ ${#there[@]} -gt 0 ] || exit 0

for process in /proc/[0-9]*; do
    for name in "${there[@]}"; do
        # The same file: that namespace. A name without one behind it, left by a host that went down hard, is nobody's.
        [ ! "$process/ns/net" -ef "/run/netns/$name" ] || echo "down.sh: still running in $name: ${process#/proc/}" >&2
    done
done
printf 'netns delete %s\n' "${there[@]}" | ip -batch -
