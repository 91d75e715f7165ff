#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Shows hmsg at work on this machine alone: Alice writes to Bob while Bob is offline, each with a software TPM of
# their own. Installs and builds what is missing, prints each hmsgctl command that it runs, leaves nothing running.
# Exits with 0 only if what Bob read is what Alice wrote.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# shellcheck source=swtpm-ci/lib.sh
. swtpm-ci/lib.sh

build=$PWD/build-demo
root=$build/root

say() {
    printf '\n# %s\n' "$*"
}

# ctl WHO ARGUMENT...: prints a hmsgctl command, runs it as WHO.
ctl() {
    local who=$1
    shift
    printf '%s$ hmsgctl' "$who"
    printf ' %s' "${@@Q}" | sed "s/'\([A-Za-z0-9_.:/@=-]*\)'/\1/g"
    echo
    as "$who" "$root/bin/hmsgctl" "$@" || fail "hmsgctl $1 failed; the logs: $(tail -n 5 "$logs"/*.log)"
}

# facts WHO EXPRESSION ARGUMENT...: a Python expression over the JSON that hmsgctl prints.
facts() {
    local who=$1 expression=$2
    shift 2
    as "$who" "$root/bin/hmsgctl" "$@" --json |
        python3 -c "import json, sys; facts = json.load(sys.stdin); print($expression)"
}

is() {
    [ "$("${@:2}")" = "$1" ]
}

finish() {
    local status=$?
    trap - EXIT
    stop_all || status=1
    cd / && rm -rf "$scratch"
    [ $status -eq 0 ] || echo "demo: FAILED" >&2
    exit $status
}

# relay_counts: messages and blobs in the relay's store.
relay_counts() {
    "$root/bin/hmsg-relay" store check --json --config "$scratch/relay/relay.conf" 2>>"$logs/relay.log" |
        python3 -c 'import json, sys; facts = json.load(sys.stdin); print(facts["messages"], facts["blobs"])'
}

relay_check() {
    echo 'relay$ hmsg-relay store check'
    "$root/bin/hmsg-relay" store check --config "$scratch/relay/relay.conf" || fail "hmsg-relay store check failed"
}

told() {
    [ "$(grep -ci received "$logs/bob-monitor.log")" -ge "$1" ]
}

pause() {
    kill -STOP -- "-$1"
}

resume() {
    kill -CONT -- "-$1"
}

build_all() {
    ./swtpm-ci/install.sh build demo || fail "could not install what is missing"
    if [ ! -e "$build/build.ninja" ]; then
        rm -rf "$build"
        meson setup "$build" --prefix="$root" -Dtests=false >"$logs/build.log" 2>&1 ||
            fail "meson setup: $(tail -n 20 "$logs/build.log")"
    fi
    meson install -C "$build" >"$logs/build.log" 2>&1 </dev/null || fail "build: $(tail -n 40 "$logs/build.log")"
}

scratch=$(mktemp -d /tmp/hmsg-demo.XXXXXX) || exit 1
logs=$scratch/logs
mkdir "$logs"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say "Building hmsg"
build_all

say "Starting a relay, and a TPM, a bus and an agent for each of Alice and Bob"
relay_start
relay_group=$started
for who in alice bob; do
    mkdir -p "$scratch/$who/run" && chmod 700 "$scratch/$who/run"
    swtpm_start $who
    bus_start $who
    agent_start $who
done
bob_agent=$started
alice=alice@$relay
bob=bob@$relay

say "Both make their keys, inside their TPMs"
ctl alice identity create
ctl bob identity create

say "Both register at the relay; the part after # is its pin, the hash of its key"
ctl alice register "$alice"
ctl bob register "$bob"

say "Bob's agent stops: Bob is offline"
stop "$bob_agent"

say "Alice writes to Bob: a message and a file of 5 MiB"
echo "Dear Bob, here are the plans." >"$scratch/message"
head -c 5242880 /dev/urandom >"$scratch/plans.bin"
ctl alice send -r "$bob" "$scratch/message"
ctl alice send -r "$bob" "$scratch/plans.bin"
await "the relay to accept both" is accepted,accepted facts alice '",".join(m["state"] for m in facts)' outbox
ctl alice outbox

say "The relay holds both, and can read neither"
relay_check

say "Bob is back, and is told (the relay holds its breath until somebody listens)"
pause "$relay_group"
agent_start bob
start bob-monitor as bob "$root/bin/hmsgctl" monitor
await "bob's monitor to listen" test -s "$logs/bob-monitor.log"
resume "$relay_group"
echo 'bob$ hmsgctl monitor'
await "bob to be told" told 2
cat "$logs/bob-monitor.log"

say "Bob reads both"
ctl bob inbox
message_id=$(facts bob 'min(facts, key=lambda m: m["size"])["id"]' inbox)
file_id=$(facts bob 'max(facts, key=lambda m: m["size"])["id"]' inbox)
ctl bob read "$message_id"
ctl bob read "$file_id" -o "$scratch/bob/plans.bin"
as bob "$root/bin/hmsgctl" read "$message_id" >"$scratch/bob/message" || fail "hmsgctl read failed"
cmp "$scratch/message" "$scratch/bob/message" || fail "Bob read another message"
cmp "$scratch/plans.bin" "$scratch/bob/plans.bin" || fail "Bob read another file"
echo "What Bob read is what Alice wrote."

say "Alice sees that both were delivered; the relay has nothing left"
await "both to be delivered" is delivered,delivered facts alice '",".join(m["state"] for m in facts)' outbox
ctl alice outbox
await "the relay to be empty" is "0 0" relay_counts
relay_check

say "Done"
