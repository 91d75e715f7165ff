# shellcheck shell=bash disable=SC1091 # sourced in the guest
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by user.sh, in a machine with another TPM, which is what a cleared one is.
. /usr/libexec/hmsg-vm/user-first.sh

other_tpm() {
    says "another TPM is noticed" "another TPM than the keys were made in, or it was cleared" hmsgctl doctor
    says "reading says so too" "use the machine where the identity was made" hmsgctl read "$(message_id)"
}

alice() {
    other_tpm
}

bob() {
    other_tpm
}
