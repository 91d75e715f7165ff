#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC1091,SC2154 # sourced in the guest
# The machine's side of the test: does what the users ask for by a file in their homes, looks at what is left when
# they have logged out, and switches the machine off.
. /usr/libexec/hmsg-vm/tap.sh

logged_out() {
    ! systemctl is-active --quiet "hmsg-vm-login-$1.service"
}

no_process() {
    ! pgrep -u "$1"
}

inactive() {
    ! systemctl is-active --quiet "$1"
}

# refusals: what SELinux refused since the start, one a line.
refusals() {
    journalctl -q -o cat _TRANSPORT=audit _AUDIT_TYPE=1400 _AUDIT_TYPE=1107 | grep -w denied
    journalctl -q -o cat | grep -E 'USER_AVC|type=1107' | grep -w denied
}

# Debian's policy refuses to its own programs what they do without.
nothing_of_ours_refused() {
    refusals | grep -v 'comm="attempt' | sort -u >"$HOME/refusals"
    grep -v hmsg "$HOME/refusals" | sed 's/^/# not ours: /'
    grep hmsg "$HOME/refusals" >"$log"
    [ ! -s "$log" ]
}

# asked WHAT: until alice asks for it, by a file of this name.
asked() {
    until_true test -e "$home/alice/$1"
}

relay_is_set_up() {
    systemctl is-active hmsg-vm-relay.service || {
        journalctl -q -o cat -u hmsg-vm-relay.service
        return 1
    }
}

# store_check: its output goes to a pipe, for the relay's domain may not write to our file.
store_check() {
    set -o pipefail
    hmsg-relay store check 2>&1 | cat
}

# in_domain PROGRAM DOMAIN: every process of it is, and there is one.
in_domain() {
    local pid
    pgrep -x "$1" || return
    for pid in $(pgrep -x "$1"); do
        grep -qz ":$2:" "/proc/$pid/attr/current" || {
            tr '\0' '\n' <"/proc/$pid/attr/current"
            return 1
        }
    done
}

# in_status PID LINE...: of /proc/PID/status, the white space in them made one space.
in_status() {
    local line
    for line in "${@:2}"; do
        tr -s '\t ' ' ' <"/proc/$1/status" | grep -x "$line" || return
    done
}

relay_pid() {
    systemctl show -P MainPID hmsg-relay.service
}

# holder_is_apart: one process has the relay's identity key; it is the relay's child and as confined as it can be.
holder_is_apart() {
    local pid
    pid=$(pgrep -x hmsg-relay-key) || return
    in_status "$pid" "PPid: $(relay_pid)" "NoNewPrivs: 1" "Seccomp: 2" "CapBnd: 0*" "CapEff: 0*"
}

holder_ends() {
    holder=$(pgrep -x hmsg-relay-key) && kill -KILL "$holder"
}

# another_holder: than the one that ended, of a relay that runs.
another_holder() {
    systemctl is-active hmsg-relay.service && pgrep -x hmsg-relay-key && [ "$(pgrep -x hmsg-relay-key)" != "$holder" ]
}

first() {
    check "the relay is set up" relay_is_set_up
    await "the relay runs" systemctl is-active hmsg-relay.service
    check "the agent is set-gid" test -g /usr/libexec/hmsg/hmsg-agent
    asked open
    chmod 666 /dev/tpmrm0
    rm -f "$home/alice/open"
    check "the agents are in their domain" in_domain hmsg-agent hmsg_agent_t
    check "the couriers are in theirs" in_domain hmsg-courier hmsg_courier_t
    check "the relay is in its own" in_domain hmsg-relay hmsg_relay_t
    check "and the process with its key" in_domain hmsg-relay-key hmsg_relay_t
    check "which is apart" holder_is_apart
    check "the relay is confined" in_status "$(relay_pid)" "NoNewPrivs: 1" "Seccomp: 2" "CapEff: 0*"
    check "the process with the key ends" holder_ends
    await "the relay starts again with another" another_holder
    check "root looks at the relay's store" store_check
    check "the relay reads its configuration again" systemctl reload hmsg-relay.service
    check "the relay starts again" systemctl restart hmsg-relay.service
    systemctl stop hmsg-relay.socket hmsg-relay.service
    check "root looks at the store of a relay that is stopped" store_check
    check "and starts it" systemctl start hmsg-relay.socket hmsg-relay.service
    asked lock
    check "the screens are locked" loginctl lock-sessions
    asked suspend
    check "the machine suspends" systemctl suspend
}

finish() {
    local user
    for user in alice bob; do
        until_true logged_out $user || result 1 "$user logs out"
        await "nothing is left of $user" no_process $user
    done
    nothing_of_ours_refused
    result $? "SELinux refused nothing of ours but what was attempted"
    if compgen -G "$failures.*" >"$log"; then
        journalctl -b --no-hostname >/dev/ttyS0
    fi
    plan
}

home=/home
echo freezer >/sys/power/pm_test
case $(boot) in
first) first ;;
esac
finish
systemctl --no-block poweroff
