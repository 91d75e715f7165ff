# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2034,SC2154 # variables of the script that sources this
# Sourced by demo.sh: starts and stops what a set of users needs, all under one scratch folder.
#   $scratch        the folder; $logs its logs
#   $root           where hmsg is installed

AWAIT_SECONDS=300
groups=()

fail() {
    echo "demo: $*" >&2
    exit 1
}

# await WHAT COMMAND...: until COMMAND succeeds; the deadline only ends what would never end.
await() {
    local what=$1 deadline=$((SECONDS + AWAIT_SECONDS))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || fail "waited in vain for $what"
        sleep 0.1
    done
}

# start NAME COMMAND...: a process group of its own in the background; sets $started to its id.
start() {
    local name=$1
    shift
    set -m
    "$@" >>"$logs/$name.log" 2>&1 </dev/null &
    started=$!
    set +m
    groups+=("$started")
}

# alive GROUP: whether a process of the group is left that is not a zombie.
alive() {
    local file text state pgrp
    for file in /proc/[0-9]*/stat; do
        { text=$(<"$file"); } 2>/dev/null || continue
        read -r state _ pgrp _ <<<"${text##*) }"
        [ "$pgrp" = "$1" ] && [ "$state" != Z ] && return 0
    done
    return 1
}

gone() {
    ! alive "$1"
}

# stop GROUP: asks its processes to end and waits until they have.
stop() {
    kill -TERM -- "-$1" 2>/dev/null
    await "the end of process group $1" gone "$1"
    wait "$1" 2>/dev/null
    return 0
}

# stop_all: the last first; what does not end within 20 s is killed and is a failure.
stop_all() {
    local i deadline result=0
    for ((i = ${#groups[@]} - 1; i >= 0; i--)); do
        kill -TERM -- "-${groups[i]}" 2>/dev/null
        deadline=$((SECONDS + 20))
        while alive "${groups[i]}"; do
            if [ $SECONDS -ge $deadline ]; then
                echo "demo: process group ${groups[i]} had to be killed" >&2
                kill -KILL -- "-${groups[i]}" 2>/dev/null
                result=1
                deadline=$((SECONDS + 20))
            fi
            sleep 0.1
        done
        wait "${groups[i]}" 2>/dev/null
    done
    groups=()
    return $result
}

# swtpm_start WHO: a TPM of WHO's own; it takes one connection at a time, as a chip without resource manager does.
swtpm_start() {
    local tpm=$scratch/$1/tpm
    mkdir -p "$tpm"
    start "$1-swtpm" swtpm socket --tpm2 --tpmstate "dir=$tpm" --flags not-need-init,startup-clear \
        --server "type=unixio,path=$tpm/socket" --ctrl "type=unixio,path=$tpm/socket.ctrl"
    await "the TPM of $1" test -S "$tpm/socket.ctrl"
}

# bus_start WHO: a session bus of WHO's own.
bus_start() {
    start "$1-bus" dbus-daemon --session --nofork --nopidfile --address="unix:path=$scratch/$1/bus"
    await "the bus of $1" test -S "$scratch/$1/bus"
}

# as WHO COMMAND...: with WHO's folders, bus and TPM, and nothing of the caller's.
as() {
    local home=$scratch/$1
    shift
    env -i PATH="$PATH" LC_ALL=C.UTF-8 TERM="${TERM:-dumb}" HOME="$home" XDG_CONFIG_HOME="$home/config" \
        XDG_DATA_HOME="$home/data" XDG_STATE_HOME="$home/state" XDG_CACHE_HOME="$home/cache" \
        XDG_RUNTIME_DIR="$home/run" DBUS_SESSION_BUS_ADDRESS="unix:path=$home/bus" \
        DBUS_SYSTEM_BUS_ADDRESS="unix:path=$home/no-system-bus" \
        HMSG_TCTI="swtpm:path=$home/tpm/socket" "$@"
}

agent_answers() {
    as "$1" "$root/bin/hmsgctl" status >"$logs/status.log" 2>&1
}

# agent_start WHO: sets $started.
agent_start() {
    start "$1-agent" as "$1" "$root/libexec/hmsg/hmsg-agent"
    local group=$started
    await "the agent of $1" agent_answers "$1"
    started=$group
}

# relay_start: on a free port of the loopback device; sets $started and $relay, its host:port#PIN.
relay_start() {
    "$root/bin/hmsg-relay" init --host 127.0.0.1 --listen 127.0.0.1:0 "$scratch/relay" >>"$logs/relay.log" 2>&1 ||
        fail "hmsg-relay init: $(tail -n 3 "$logs/relay.log")"
    start relay "$root/bin/hmsg-relay" serve --config "$scratch/relay/relay.conf"
    await "the relay" test -s "$scratch/relay/data/address"
    relay=$(<"$scratch/relay/data/address")
}
