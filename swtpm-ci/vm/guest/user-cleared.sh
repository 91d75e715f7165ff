# shellcheck shell=bash disable=SC1091 # sourced in the guest
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by user.sh, after the TPM was cleared.
. /usr/libexec/hmsg-vm/user-first.sh

cleared() {
    says "a cleared TPM is noticed" "another TPM than the keys were made in, or it was cleared" hmsgctl doctor
    says "reading says so too" "use the machine where the identity was made" hmsgctl read "$(message_id)"
}

alice() {
    cleared
}

bob() {
    cleared
}
