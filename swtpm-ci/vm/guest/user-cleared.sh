# shellcheck shell=bash disable=SC1091 # sourced in the guest
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by user.sh, after the TPM was cleared.
. /usr/libexec/hmsg-vm/user-second.sh

told="use the machine where the identity was made"

cleared() {
    says "a cleared TPM is noticed" "another TPM than the keys were made in, or it was cleared" hmsgctl doctor
    says "the store stays closed" $'error\tstore: The store is not open:' hmsgctl doctor
}

alice() {
    cleared
    says "unlocking says so too" "$told" with_pin 271828 --pin-fd hmsgctl unlock
}

bob() {
    cleared
    says "reading says so too" "$told" hmsgctl read "$(<~/first-id)"
}
