#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# build.sh MAKEFILE OUTPUT SOURCE...: the policy module, by the Makefile of selinux-policy-dev, which builds where it is called.
set -eu
makefile=$1
output=$(realpath -m "$2")
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$@" "$folder"
make -C "$folder" -f "$makefile" NAME=default hmsg.pp >"$folder/log" 2>&1 || {
    cat "$folder/log" >&2
    exit 1
}
cp "$folder/hmsg.pp" "$output"
