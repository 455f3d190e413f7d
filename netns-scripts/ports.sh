#!/usr/bin/env bash
# ports.sh [PREFIX]: the port cliff, shown. Makes its own network (PREFIX is `sgports` if not given) and takes it down.
#
# In the gateway's namespace only 200 local ports are allowed, and there are three broker addresses. From one source
# address, connections are opened to each in turn until one fails, once as bind() with port 0 does it by itself and
# once with IP_BIND_ADDRESS_NO_PORT:
#
#   - Without the option, bind() takes a port that is then spent for every destination at once: 200 connections.
#   - With it, connect() picks the port, which only has to be free towards that one destination: 600.
#
# Prints the two counts and succeeds if they differ as they should.
set -eu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=netns-scripts/common.sh
. "$here/common.sh"

prefix=${1:-sgports}
check_prefix "$prefix"
server=
finish() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    "$here/down.sh" "$prefix"
}
trap finish EXIT
"$here/up.sh" "$prefix"
in_namespace "$prefix-gateway" sh -c 'echo 40000 40199 >/proc/sys/net/ipv4/ip_local_port_range'

ulimit -n "$(ulimit -H -n)"
# Says "ready" once all three listen; so nothing has to be waited for by time.
coproc SERVER {
    exec nsenter --net="/run/netns/$prefix-broker" -- python3 -c '
import selectors, socket
ready = selectors.DefaultSelector()
for last in (1, 2, 3):
    ready.register(socket.create_server((f"2001:db8:b::{last}", 443), family=socket.AF_INET6, backlog=1024), selectors.EVENT_READ)
print("ready", flush=True)
kept = []
while True:
    for key, _ in ready.select():
        kept.append(key.fileobj.accept())
'
}
server=$SERVER_PID
read -r -t 10 answer <&"${SERVER[0]}"
[ "$answer" = ready ]

open_until_refused() {
    in_namespace "$prefix-gateway" python3 - "$1" <<'PYTHON'
import errno, itertools, socket, struct, sys
IP_BIND_ADDRESS_NO_PORT, IPV6_FREEBIND = 24, 78
kept = []
for last in itertools.cycle((1, 2, 3)):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.settimeout(10)
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    # Closing by reset leaves no TIME_WAIT, which would count against the next run.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if sys.argv[1] == "with":
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind(("2001:db8:a1::1", 0))
        sock.connect((f"2001:db8:b::{last}", 443))
    except OSError as refused:
        if refused.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
            raise
        break
    kept.append(sock)
print(len(kept))
PYTHON
}

without=$(open_until_refused without)
with=$(open_until_refused with)
echo "200 ports, 3 destinations, 1 source address"
echo "without IP_BIND_ADDRESS_NO_PORT: $without connections"
echo "with IP_BIND_ADDRESS_NO_PORT: $with connections"
[ "$without" -le 200 ] && [ "$with" -gt 550 ]
