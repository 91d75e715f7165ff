# shellcheck shell=bash disable=SC1091,SC2154 # sourced in the guest
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by user.sh, after the machine was switched off and on: the keys are in the same TPM.
. /usr/libexec/hmsg-vm/user-first.sh

# has COUNT: messages in the inbox.
has() {
    [ "$(hmsgctl inbox --json | grep -o '"id"' | wc -l)" -eq "$1" ]
}

# with_pin PIN OPTION COMMAND...: the PIN comes from a pipe, by the option's descriptor.
with_pin() {
    "${@:3}" "$2" 3 3< <(printf '%s' "$1")
}

# pin: where there is no window to ask in.
pin() {
    check "a PIN comes with new keys" with_pin 271828 --new-pin-fd hmsgctl identity pin
    check "locked" hmsgctl lock
    says "no reading without the PIN" "Unlock with: hmsgctl unlock" hmsgctl read "$(message_id)"
    says "nor with a wrong one" "the PIN is wrong" with_pin 314159 --pin-fd hmsgctl unlock
    check "unlocked by the right one" with_pin 271828 --pin-fd hmsgctl unlock
    check "what came before is read again" reads "Thank you."
}

alice() {
    check "what came before is read" reads "Thank you."
    check "another message is sent" send "bob@$relay" "Once more."
    check "a file is sent" hmsgctl send -r "bob@$relay" ~/plain
    await "all are delivered" delivered 3
    pin
}

# well CHECK...: of hmsgctl doctor, which exits with 0 only if all is well.
well() {
    local check
    for check; do
        says "doctor: $check" $'ok\t'"$check:" hmsgctl doctor
    done
    check "doctor: all is well" hmsgctl doctor
}

bob() {
    check "what came before is read" reads "The plans are ready."
    await "two more come" has 3
    well tpm bus logind sandbox selinux clock store relay
    check "the keys are rotated" hmsgctl identity rotate
    check "what came to the former ones is read" reads "The plans are ready."
    await "the store follows the new keys" hmsgctl doctor
    restarted "The plans are ready."
}
