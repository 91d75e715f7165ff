#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC1090,SC1091 # sourced in the guest
# What a user does after the login, in the boot that the kernel's command line names: first, second or cleared.
. /usr/libexec/hmsg-vm/tap.sh
. "/usr/libexec/hmsg-vm/user-$(boot).sh"
"$USER"
plan
