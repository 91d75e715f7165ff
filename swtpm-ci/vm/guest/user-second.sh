# shellcheck shell=bash disable=SC1091,SC2154 # sourced in the guest
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by user.sh, after the machine was switched off and on: the keys are in the same TPM.
. /usr/libexec/hmsg-vm/user-first.sh

# has COUNT: messages in the inbox.
has() {
    [ "$(hmsgctl inbox --json | grep -o '"id"' | wc -l)" -eq "$1" ]
}

alice() {
    check "what came before is read" reads "Thank you."
    check "another message is sent" send "bob@$relay" "Once more."
    check "a file is sent" hmsgctl send -r "bob@$relay" ~/plain
    await "all are delivered" delivered 3
}

bob() {
    check "what came before is read" reads "The plans are ready."
    await "two more come" has 3
    check "the keys are rotated" hmsgctl identity rotate
    check "what came to the former ones is read" reads "The plans are ready."
}
