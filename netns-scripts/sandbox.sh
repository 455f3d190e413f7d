#!/usr/bin/env bash
# sandbox.sh [FLAG...] [-- COMMAND...]: `sixgate serve --sandbox FLAG...` with two prefixes, and no root needed.
#
# An ordinary user's host has no two IPv6 addresses to send from. This makes a network namespace of its own, as
# pretend root, and runs the gateway there, which lends the loopback interface of that namespace two addresses.
#
#   sandbox.sh                     a shell with the gateway running behind it; it ends with the shell
#   sandbox.sh -- COMMAND...       waits for the gateway to answer, runs COMMAND, stops the gateway, and ends
#                                  with COMMAND's exit status
#
# The gateway's ports (127.0.0.1:8080 and 8081) are those of that namespace: nothing outside can reach them, so
# whatever is to use them has to run inside. The gateway's own output goes to the file in SIXGATE_LOG
# (a temporary one if not set), which is shown if the gateway does not come up.
#
# The binary is $SIXGATE, or else target/release/sixgate, or target/debug/sixgate.
set -eu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
admin_port=8081
patience=30

if [ -z "${SIXGATE_SANDBOX_INSIDE:-}" ]; then
    if ! unshare -Urn true; then
        echo "$0: this host gives ordinary users no namespaces (sysctl kernel.unprivileged_userns_clone, or AppArmor's" >&2
        echo "  kernel.apparmor_restrict_unprivileged_userns); run it as root, or allow them" >&2
        exit 1
    fi
    SIXGATE_SANDBOX_INSIDE=1 exec unshare -Urn -- "${BASH_SOURCE[0]}" "$@"
fi
unset SIXGATE_SANDBOX_INSIDE

flags=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    flags+=("$1")
    shift
done
[ $# -eq 0 ] || shift
if [ $# -eq 0 ]; then
    set -- "${SHELL:-bash}"
fi

binary=${SIXGATE:-}
for candidate in "$here/../target/release/sixgate" "$here/../target/debug/sixgate"; do
    [ -z "$binary" ] && [ -x "$candidate" ] || continue
    binary=$candidate
done
if [ -z "$binary" ]; then
    echo "$0: no sixgate to run: cargo build, or set SIXGATE to the binary" >&2
    exit 1
fi

ip link set lo up
for prefix in 2001:db8:a1::/64 2001:db8:a2::/64; do
    ip -6 route add local "$prefix" dev lo
done

own_log=
if [ -z "${SIXGATE_LOG:-}" ]; then
    own_log=$(mktemp)
    SIXGATE_LOG=$own_log
fi
gateway=
finish() {
    if [ -n "$gateway" ]; then
        kill "$gateway" 2>/dev/null || true
        wait "$gateway" 2>/dev/null || true
    fi
    [ -z "$own_log" ] || rm -f "$own_log"
}
trap finish EXIT

env -u SIXGATE_LOG "$binary" serve --sandbox "${flags[@]}" >"$SIXGATE_LOG" 2>&1 </dev/null &
gateway=$!

# One HTTP request by bash itself, so that no curl is needed.
answers() {
    local status
    exec 3<>"/dev/tcp/127.0.0.1/$admin_port" || return 1
    printf 'GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$admin_port" >&3
    read -r -t 5 status <&3 || status=
    exec 3>&-
    [[ $status == HTTP/1.?\ 200* ]]
}
end=$((SECONDS + patience))
until answers 2>/dev/null; do
    if ! kill -0 "$gateway" 2>/dev/null || [ "$SECONDS" -ge "$end" ]; then
        echo "$0: the gateway does not answer on 127.0.0.1:$admin_port; the end of its output:" >&2
        tail -n 40 "$SIXGATE_LOG" >&2
        exit 1
    fi
    sleep 0.05
done

status=0
"$@" || status=$?
exit "$status"
