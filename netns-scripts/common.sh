# shellcheck shell=bash
# What the scripts of this folder share. Sourced, not run.

# A prefix becomes part of namespace names, which are file names below /run/netns.
check_prefix() {
    case $1 in
    '' | -* | *[!a-z0-9-]*)
        echo "$0: the prefix \"$1\" is not usable; use a-z, 0-9 and -, for example: sg" >&2
        exit 2
        ;;
    esac
}

# `ip netns add` keeps its names below /run/netns. Pretend root has no right to write there, and even where it has
# (root inside its own user namespace) its names would be dead files to everybody else: give it a private one.
prepare_run_netns() {
    if [ "$(id -u)" -ne 0 ]; then
        echo "$0: needs root, or pretend root: unshare -Urnm bash, and then again" >&2
        exit 1
    fi
    local inside outside length
    read -r inside outside length </proc/self/uid_map
    [ "$inside $outside $length" != "0 0 4294967295" ] || return 0
    # Mounted by an earlier run in this mount namespace.
    ! grep -q ' - tmpfs sixgate-netns ' /proc/self/mountinfo || return 0
    local place=/run
    [ ! -d /run/netns ] || place=/run/netns
    if ! mount -t tmpfs sixgate-netns "$place"; then
        echo "$0: cannot mount over $place; pretend root needs its own mount namespace: unshare -Urnm bash" >&2
        exit 1
    fi
    echo "$0: not the host's root, so $place is a private tmpfs in this mount namespace" >&2
}

# `ip netns exec` would mount a new /sys, which some containers forbid; entering the network namespace is enough.
in_namespace() {
    local name=$1
    shift
    nsenter --net="/run/netns/$name" -- "$@"
}

# A line's routes go when its link goes down, and its addresses too: these bring both back.
configure_broker_line() {
    ip -6 -n "$1" -batch - <<LINE
address replace 2001:db8:f$2::1/64 dev downlink$2 nodad
route replace 2001:db8:a$2::/64 via 2001:db8:f$2::2 dev downlink$2
LINE
}

configure_gateway_line() {
    ip -6 -n "$1" -batch - <<LINE
address replace 2001:db8:f$2::2/64 dev uplink$2 nodad
route replace default via 2001:db8:f$2::1 dev uplink$2 table 10$2 metric 100
route replace default via 2001:db8:f$2::1 dev uplink$2 metric ${2}00
LINE
}

# The kernel starts a link's queue a moment after its peer came up, and drops what is sent before. So this waits
# until no link is without its queue, at most ten seconds.
wait_for_links() {
    local name end=$((SECONDS + 10))
    for name in "$@"; do
        while ip -n "$name" -o link show up | grep -v ' lo: ' | grep -qv 'qdisc noqueue state UP'; do
            if [ "$SECONDS" -ge "$end" ]; then
                echo "$0: links of $name did not come up:" >&2
                ip -n "$name" link show >&2
                return 1
            fi
        done
    done
}
