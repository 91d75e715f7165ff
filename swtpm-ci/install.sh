#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# install.sh build|demo|test...: installs the Debian packages of these groups that are missing (packages.txt).
# Asks the network for nothing when nothing is missing. As root it calls apt-get, else sudo apt-get.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

wanted() {
    local group name
    while read -r group name; do
        case " $* " in
        *" $group "*) echo "$name" ;;
        esac
    done < <(grep -v '^#' "$here/packages.txt")
}

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null | cut -c1-2)" = ii ]
}

if ! command -v dpkg-query >/dev/null; then
    echo "install.sh: this is no Debian; install what $here/packages.txt lists by hand" >&2
    exit 1
fi

missing=()
while read -r name; do
    installed "$name" || missing+=("$name")
done < <(wanted "$@")
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    root=(env)
elif command -v sudo >/dev/null; then
    root=(sudo env)
else
    echo "install.sh: these packages are missing, and there is no sudo to install them with. As root, run:" >&2
    echo "    apt-get install ${missing[*]}" >&2
    exit 1
fi
apt=("${root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
echo "Installing: ${missing[*]}"
"${apt[@]}" update </dev/null || echo "install.sh: apt-get update failed, going on with the lists that are there" >&2
"${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null
