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

# A line's routes go when its link goes down, and its addresses too: these lines for `ip -batch` bring both back.
broker_line() {
    printf '%s\n' \
        "address replace 2001:db8:f$1::1/64 dev downlink$1 nodad" \
        "route replace 2001:db8:a$1::/64 via 2001:db8:f$1::2 dev downlink$1"
}

gateway_line() {
    printf '%s\n' \
        "address replace 2001:db8:f$1::2/64 dev uplink$1 nodad" \
        "route replace default via 2001:db8:f$1::1 dev uplink$1 table 10$1 metric 100" \
        "route replace default via 2001:db8:f$1::1 dev uplink$1 metric ${1}00"
}

# The kernel starts a link's queue a moment after its peer came up, and drops what is sent before. So this waits
# until no link is without its queue, at most ten seconds.
wait_for_links() {
    local name end=$((SECONDS + 10))
    for name in "$@"; do
        while ! links_are_up "$name"; do
            if [ "$SECONDS" -ge "$end" ]; then
                echo "$0: links of $name did not come up:" >&2
                ip -n "$name" link show >&2
                return 1
            fi
        done
    done
}

links_are_up() {
    local links line
    links=$(ip -n "$1" -o link show up) || return 1
    while read -r line; do
        case $line in
        *' lo: '* | *'qdisc noqueue state UP'*) ;;
        *) return 1 ;;
        esac
    done <<<"$links"
}
