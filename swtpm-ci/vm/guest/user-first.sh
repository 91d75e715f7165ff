# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2154 # variables of tap.sh
# Sourced by user.sh. Alice writes to Bob, and he answers.
relay=localhost:7443

agent_pid() {
    systemctl --user show -P MainPID hmsg-agent.service
}

locked() {
    hmsgctl status --json | grep -q '"state": *"locked"'
}

received() {
    [ -n "$(message_id)" ]
}

# message_id: of the first that came.
message_id() {
    hmsgctl inbox --json | sed -n 's/.*"id": *"\([^"]*\)".*/\1/p' | head -n 1
}

reads() {
    [ "$(hmsgctl read "$(message_id)")" = "$1" ]
}

# delivered COUNT
delivered() {
    [ "$(hmsgctl outbox --json | grep -o '"state": *"delivered"' | wc -l)" -eq "$1" ]
}

send() {
    hmsgctl send -r "$1" <<<"$2"
}

begin() {
    says "the login is confined" ":$1:" id -Z
    denied "the TPM" open-write /dev/tpmrm0
    check "D-Bus starts the agent" hmsgctl status
    check "as a unit" systemctl --user is-active hmsg-agent.service
    check "keys in the TPM" hmsgctl identity create
    check "registers" hmsgctl register "$USER@$relay"
}

# files: by descriptors of the user's files and by pipes, of more than one package can hold.
files() {
    head -c 3000000 /dev/urandom >~/plain
    check "a file is encrypted" hmsgctl encrypt -r "$USER@$relay" -o ~/sealed ~/plain
    check "and decrypted" hmsgctl decrypt -o ~/opened ~/sealed
    check "to what it was" cmp ~/plain ~/opened
    check "and by pipes" through_pipes
}

through_pipes() {
    set -o pipefail
    hmsgctl encrypt -r "$USER@$relay" <~/plain | hmsgctl decrypt | cat >~/opened
    cmp ~/opened ~/plain
}

# attacks: of a program of the user's on the agent.
attacks() {
    local pid
    pid=$(agent_pid)
    denied "tracing the agent" ptrace "$pid"
    denied "its memory by a file" memory "$pid"
    denied "its memory by a call" read-memory "$pid"
    denied "a descriptor of it" take-fd "$pid" 3
    denied "reading the keys" open ~/.local/share/hmsg/keys
    denied "reading the store" open ~/.local/share/hmsg/store.db
    denied "reading its key" open ~/.local/share/hmsg/store.key
    denied "relabelling the data" relabel ~/.local/share/hmsg "system_u:object_r:user_home_t:s0"
}

# stored TEXT: what the agent keeps on the disk, seen from its own domain. TEXT is of a message that was read.
stored() {
    local data=~/.local/share/hmsg at=/usr/libexec/hmsg-vm/attempt-agent file
    await "the key of the store is sealed by the TPM" $at contains "$data/store.key" '"sealed":'
    check "it is nowhere in clear" $at lacks "$data/store.key" '"key":'
    says "its file is for the owner alone" "600 $(id -u) " $at describe "$data/store.key"
    says "and for the agent's domain" ":hmsg_data_t:" $at describe "$data/store.key"
    for file in store.db store.db-wal; do
        check "$file: no message in clear" $at lacks "$data/$file" "$1"
        check "$file: no address in clear" $at lacks "$data/$file" "@localhost"
        check "$file: no table in clear" $at lacks "$data/$file" "CREATE TABLE"
    done
    says "the store is whole" $'ok\tstore: The store is undamaged; the TPM keeps its key' hmsgctl doctor
}

# restarted TEXT: the agent ends, and opens its store when it is called again.
restarted() {
    local pid
    pid=$(agent_pid)
    check "the agent is told to end" kill "$pid"
    await "it ends" not kill -0 "$pid"
    await "started again it opens its store" reads "$1"
    check "it is another process" [ "$(agent_pid)" != "$pid" ]
}

# asks METHOD: a program of the user's asks the agent, not by hmsgctl.
asks() {
    busctl --user call org.hmsg.Agent1 /org/hmsg/Agent1 "org.hmsg.Agent1.$1" "$2" "${@:3}"
}

# linked_freely PROGRAM...: the dynamic linker does what the environment says.
linked_freely() {
    LD_DEBUG=statistics "$@" 2>&1 | grep "time linker statistics"
}

# of_user_t: which may have messages encrypted, and all else by hmsgctl only.
of_user_t() {
    check "a program of the user's may look contacts up" asks Contacts List 'a{sv}' 0
    says "but not list messages" "does not let this program do that (hmsg: decrypt)" asks Mail List 'a{sv}' 0
    says "nor delete the identity" "does not let this program do that (hmsg: manage)" asks Identity Delete 'a{sv}' 0
    check "the linker follows the environment in its programs" linked_freely /bin/true
    check "in hmsgctl it does not" not linked_freely hmsgctl --version
}

# of_staff_t: which may also read and sign.
of_staff_t() {
    check "a program of the user's may list messages" asks Mail List 'a{sv}' 0
    says "but not delete the identity" "does not let this program do that (hmsg: manage)" asks Identity Delete 'a{sv}' 0
}

# domains: what the policy decides where the permissions of files allow all.
domains() {
    local at=/usr/libexec/hmsg-vm
    touch ~/open
    await "the TPM is opened to all" test ! -e ~/open
    denied "the TPM, for a user's program" open-write /dev/tpmrm0
    check "the TPM, for the agent's domain" $at/attempt-agent open-write /dev/tpmrm0
    check "a socket of the internet, for a user's program" $at/attempt socket inet
    attempt=$at/attempt-agent
    denied "a socket of the internet, for the agent's domain" socket inet
    denied "a socket of IPv6, for the agent's domain" socket inet6
    check "a socket of the internet, for the courier's domain" $attempt run $at/attempt-courier socket inet
    denied "the TPM, for the courier's domain" run $at/attempt-courier open-write /dev/tpmrm0
    check "a key of the kernel, for the agent's domain" $attempt keyring test
    denied "a key of the kernel, for the courier's domain" run $at/attempt-courier keyring test
    denied "another program, for the agent's domain" run /usr/bin/id
    attempt=
}

alice() {
    begin user_t
    await "a message is sent" send "bob@$relay" "The plans are ready."
    await "it is delivered" delivered 1
    await "an answer comes" received
    check "it is read" reads "Thank you."
    stored "Thank you."
    restarted "Thank you."
    files
    attacks
    of_user_t
    domains
    touch ~/lock
    await "the locked screen locks the identity" locked
    check "unlocked" hmsgctl unlock
    check "and reads again" reads "Thank you."
    touch ~/suspend
    await "suspend locks the identity" locked
    check "unlocked once more" hmsgctl unlock
    check "and reads once more" reads "Thank you."
}

bob() {
    begin staff_t
    await "a message comes" received
    check "it is read" reads "The plans are ready."
    await "an answer is sent" send "alice@$relay" "Thank you."
    await "which is delivered" delivered 1
    stored "The plans are ready."
    restarted "The plans are ready."
    files
    attacks
    of_staff_t
    message_id >~/first-id
}
