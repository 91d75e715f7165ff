# shellcheck shell=sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The .profile of both users: what they do when they have logged in.
exec /usr/libexec/hmsg-vm/user.sh
