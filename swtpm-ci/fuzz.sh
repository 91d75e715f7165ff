#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Fuzzes the parsers with libFuzzer under ASan and UBSan.
#   fuzz.sh MINUTES [TARGET...]    each target for so many minutes, as many at a time as there are processors
# Inputs that lead somewhere new are kept in build-fuzz/found/TARGET, those that fail in build-fuzz/failed.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export LC_ALL=C.UTF-8

minutes=${1:-}
if ! [[ $minutes =~ ^[1-9][0-9]*$ ]]; then
    sed -n 's/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed -n 2,4p >&2
    exit 2
fi
shift
folder=build-fuzz

./swtpm-ci/install.sh build test || exit 1
if ! [ -e $folder/build.ninja ]; then
    CC=clang meson setup $folder -Dfuzzers=true -Db_sanitize=address,undefined -Db_lundef=false || exit 1
fi
ninja -C $folder || exit 1
targets=("$@")
if [ $# -eq 0 ]; then
    for target in tests/fuzz/corpus/*; do
        targets+=("${target##*/}")
    done
fi
mkdir -p $folder/failed

# What OpenSSL makes once for a process and never frees is no finding, so leaks are left to the tests.
fuzz() {
    mkdir -p "$folder/found/$1"
    if nice "$folder/tests/fuzz/fuzz-$1" -max_total_time=$((60 * minutes)) -detect_leaks=0 -rss_limit_mb=3000 \
        -max_len=16384 -artifact_prefix="$folder/failed/$1-" "$folder/found/$1" "tests/fuzz/corpus/$1" \
        >"$folder/found/$1.log" 2>&1; then
        echo "ok - $1: $(tail -n 1 "$folder/found/$1.log")"
    else
        tail -n 40 "$folder/found/$1.log"
        echo "not ok - $1, see $folder/failed"
        return 1
    fi
}
export -f fuzz
export folder minutes
# shellcheck disable=SC2016 # the shell that xargs starts expands it
printf '%s\0' "${targets[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -c 'fuzz "$1"' fuzz
