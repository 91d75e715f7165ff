#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds hmsg and runs everything that tests it. The last line is "N passed, N failed".
#   test.sh            all: tests, the tests again under ASan and UBSan, static analysis
#   test.sh --quick    only the build and the tests
#   test.sh --no-install ...    installs nothing
# With HMSG_VM=1 also hmsg in a whole system in a virtual machine, swtpm-ci/vm: some minutes more, as root.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export LC_ALL=C.UTF-8
unset DBUS_SESSION_BUS_ADDRESS HMSG_CONFIG HMSG_DATA HMSG_TCTI

plain=build-ci
asan=build-asan
quick=no
install=yes
for arg; do
    case $arg in
    --quick) quick=yes ;;
    --no-install) install=no ;;
    *)
        sed -n 's/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed -n 2,6p >&2
        exit 2
        ;;
    esac
done

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0
logs=()

# step NAME COMMAND...: one test of the sum, passed when COMMAND succeeds; its output is shown only when it fails.
step() {
    local name=$1 begin=$SECONDS
    shift
    if "$@" >"$scratch/out" 2>&1 </dev/null; then
        passed=$((passed + 1))
        echo "ok - $name ($((SECONDS - begin)) s)"
    else
        failed=$((failed + 1))
        cat "$scratch/out"
        echo "not ok - $name ($((SECONDS - begin)) s)"
        return 1
    fi
}

# configure FOLDER OPTION...: once; later runs build on what is there.
configure() {
    local folder=$1
    shift
    [ -e "$folder/build.ninja" ] && return
    rm -rf "$folder"
    meson setup "$folder" "$@"
}

# run_tests FOLDER OPTION...: meson's own verdict is not used, count.py makes one from the log.
run_tests() {
    local folder=$1
    shift
    rm -f "$folder/meson-logs/testlog.json"
    meson test -C "$folder" --no-rebuild --timeout-multiplier 5 "$@" </dev/null >"$scratch/out" 2>&1
    tail -n 12 "$scratch/out"
    if [ -s "$folder/meson-logs/testlog.json" ]; then
        logs+=("$folder/meson-logs/testlog.json")
    else
        step "$folder: tests ran" false
    fi
}

files() {
    find . -path './build*' -prune -o -path ./.git -prune -o -type f \( "$@" \) -print0
}

check_format() {
    files -name '*.[ch]' | xargs -0 clang-format --dry-run -Werror
}

check_shell() {
    files -name '*.sh' -o -path ./.ci/run | xargs -0 shellcheck -x
}

check_cppcheck() {
    mkdir -p "$plain/cppcheck"
    cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability --inline-suppr \
        --suppressions-list=swtpm-ci/cppcheck.txt --library=swtpm-ci/cppcheck.cfg --cppcheck-build-dir="$plain/cppcheck" -j "$(nproc)" \
        -D__GNUC__ -D_GNU_SOURCE -I . -I "$plain" libhmsg agent cli server
}

build_and_test() {
    step "configure $plain" configure "$plain" -Dwerror=true || return
    step "build $plain" ninja -C "$plain" || return
    run_tests "$plain"
}

build_and_test_sanitized() {
    step "configure $asan" configure "$asan" -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1 || return
    step "build $asan" ninja -C "$asan" || return
    ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=1 \
        UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1 \
        run_tests "$asan" --no-suite lint --no-suite selinux --no-suite vm
}

analyse() {
    step clang-format check_format
    step shellcheck check_shell
    step cppcheck check_cppcheck
    step clang-tidy python3 swtpm-ci/tidy.py "$plain"
}

if [ $install = yes ]; then
    ./swtpm-ci/install.sh build demo test || exit 1
    # without them the test says what is missing
    [ "${HMSG_VM-}" != 1 ] || ./swtpm-ci/install.sh vm || true
fi
build_and_test
if [ $quick = no ]; then
    build_and_test_sanitized
    [ -e "$plain/build.ninja" ] && analyse
fi

tests_passed=0
tests_failed=0
if [ ${#logs[@]} -gt 0 ]; then
    python3 swtpm-ci/count.py "$scratch/sum" "${logs[@]}"
    read -r tests_passed tests_failed <"$scratch/sum"
fi
passed=$((passed + tests_passed))
failed=$((failed + tests_failed))
[ $((tests_passed + tests_failed)) -gt 0 ] || failed=$((failed + 1))
echo "Took $((SECONDS / 60)) min $((SECONDS % 60)) s."
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
