# shellcheck shell=bash disable=SC1091,SC2154 # sourced in the guest
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by user.sh, after the machine was switched off and on: the keys are in the same TPM.
. /usr/libexec/hmsg-vm/user-first.sh

alice() {
    check "what came before is read" reads "Thank you."
    check "another message is sent" send "bob@$relay" "Once more."
    await "both are delivered" delivered 2
}

bob() {
    check "what came before is read" reads "The plans are ready."
}
