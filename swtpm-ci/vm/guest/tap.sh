# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by the scripts of the guest: test results in TAP on standard output.

AWAIT_SECONDS=400
AFTER_FAILURE_SECONDS=20
failures=/tmp/hmsg-vm-failed
tests=0
: "${HOME:=/run/hmsg-vm}"
mkdir -p "$HOME"
log=$HOME/hmsg-vm.log

# result STATUS NAME: with what $log holds when it is no success.
result() {
    tests=$((tests + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $tests - $2"
    else
        touch "$failures.${USER:-driver}"
        sed 's/^/# /' "$log"
        echo "not ok $tests - $2 (status $1)"
    fi
}

# check NAME COMMAND...: COMMAND succeeds.
check() {
    "${@:2}" >"$log" 2>&1 </dev/null
    result $? "$1"
}

# denied NAME WHAT ARGUMENT...: the attempt is refused; that it fails for another reason is not enough.
denied() {
    "${attempt:-/usr/libexec/hmsg-vm/attempt}" "${@:2}" >"$log" 2>&1 </dev/null
    local status=$?
    [ $status -eq 13 ] || echo "it ended with $status" >>"$log"
    [ $status -eq 13 ]
    result $? "$1 is refused"
}

not() {
    ! "$@"
}

# says NAME TEXT COMMAND...: COMMAND writes TEXT, whether it succeeds or not.
says() {
    "${@:3}" >"$log" 2>&1 </dev/null
    grep -qF -- "$2" "$log"
    result $? "$1"
}

# until_true COMMAND...: the deadlines only end what would never end. Nobody waits long for one who has failed.
until_true() {
    local since=$SECONDS
    until "$@" >"$log" 2>&1 </dev/null; do
        [ $((SECONDS - since)) -lt $AWAIT_SECONDS ] || return 1
        [ $((SECONDS - since)) -lt $AFTER_FAILURE_SECONDS ] || ! compgen -G "$failures.*" >/dev/null || return 1
        sleep 0.2
    done
}

# await NAME COMMAND...
await() {
    until_true "${@:2}"
    result $? "$1"
}

plan() {
    echo "1..$tests"
}

boot() {
    sed -n 's/.*hmsg\.boot=\([a-z]*\).*/\1/p' /proc/cmdline
}
