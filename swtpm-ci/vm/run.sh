#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Boots a whole Debian 12 with SELinux enforcing, a TPM 2.0, two users and a relay, and tests hmsg there. Prints TAP.
#   run.sh                 as root; installs what is missing
#   run.sh --no-install    skips when something is missing
#   run.sh --on-demand     skips unless HMSG_VM=1 is set
#   run.sh --permissive    the same with SELinux permissive: what it should refuse then goes, so that tests fail
# What Debian's packages make is kept in $HMSG_VM_CACHE (~/.cache/hmsg-vm), logs in build-vm/logs.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
export LC_ALL=C.UTF-8
here=$PWD/swtpm-ci/vm
build=$PWD/build-vm
logs=$build/logs
cache=${HMSG_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hmsg-vm}
# shellcheck source=swtpm-ci/vm/base.sh
. "$here/base.sh"
# shellcheck source=swtpm-ci/vm/image.sh
. "$here/image.sh"

BASE_SECONDS=900
IMAGE_SECONDS=900
BOOT_SECONDS=900
MEMORY_MB=1024
# boots: the first is on a new disk; before the last the TPM is cleared
BOOTS=(first second cleared)

enforcing=1
install=yes
demand=no
for arg; do
    case $arg in
    --permissive) enforcing=0 ;;
    --no-install) install=no ;;
    --on-demand) demand=yes ;;
    *)
        sed -n 's/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed -n 2,7p >&2
        exit 2
        ;;
    esac
done

tests=0
failed=0

skip() {
    echo "1..0 # SKIP $*"
    exit 0
}

# result PASSED NAME
result() {
    tests=$((tests + 1))
    if [ "$1" = yes ]; then
        echo "ok $tests - $2"
    else
        failed=$((failed + 1))
        echo "not ok $tests - $2"
    fi
}

# finish: whatever ends this; what it has started ends first.
# shellcheck disable=SC2317 # the trap calls it
finish() {
    local status=$?
    trap - EXIT
    # shellcheck disable=SC2046 # one id a word
    kill $(jobs -p) 2>/dev/null
    wait
    rm -rf "$scratch"
    exit "$status"
}

# bounded SECONDS NAME FUNCTION...: of this script, in a process of its own, with its output in a log.
bounded() {
    local seconds=$1 name=$2
    shift 2
    export here scratch build IMAGE_SIZE
    # shellcheck disable=SC2016 # for the other shell
    timeout -k 10 "$seconds" bash -c '. "$here/base.sh"; . "$here/image.sh"; "$@"' bash "$@" >"$logs/$name.log" 2>&1 </dev/null &
    wait $!
}

prepare() {
    [ "$(id -u)" -eq 0 ] || skip "the files of the guest belong to several users: run it as root"
    if [ $install = yes ]; then
        ./swtpm-ci/install.sh build demo vm >"$logs/install.log" 2>&1 ||
            skip "packages could not be installed: $(tail -n 1 "$logs/install.log")"
    fi
    local program
    for program in qemu-system-x86_64 swtpm tpm2_clear mmdebstrap mke2fs setfiles depmod cpio meson gcc; do
        command -v $program >/dev/null || skip "$program is missing"
    done
}

# base: makes in the cache what is not there.
base() {
    local key
    key=$( (cat "$here/packages.txt" "$here/base.sh" "$here/initrd.sh" && date +%G-%V) | sha256sum | cut -c1-16)
    base=$cache/$key
    mkdir -p "$cache" || skip "no cache in $cache"
    if ! [ -e "$base/done" ]; then
        find "$cache" -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
        mkdir "$base"
        bounded $BASE_SECONDS base base_tar "$base/base.tar" || skip "no base system: $(tail -n 1 "$logs/base.log")"
        bounded $BASE_SECONDS kernel base_kernel "$base" "$base/base.tar" ||
            skip "no kernel: $(tail -n 1 "$logs/kernel.log")"
        touch "$base/done"
    fi
}

compile() {
    if ! [ -e "$build/build.ninja" ]; then
        meson setup "$build" --prefix=/usr --buildtype=release -Dtests=false -Dselinux-policy=enabled || return
    fi
    ninja -C "$build" && ninja -C "$build" swtpm-ci/vm/attempt
}

# accelerator: a /dev/kvm without the processor's flag hangs.
accelerator() {
    if [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; then
        echo kvm
    else
        echo tcg,thread=multi,tb-size=512
    fi
}

# tpm_start FOLDER: a TPM that ends with the guest; sets $tpm.
tpm_start() {
    local deadline=$((SECONDS + 60))
    mkdir -p "$1"
    rm -f "$scratch/tpm.sock"
    swtpm socket --tpm2 --tpmstate "dir=$1" --ctrl "type=unixio,path=$scratch/tpm.sock" --flags startup-clear --terminate \
        >>"$logs/swtpm.log" 2>&1 </dev/null &
    tpm=$!
    until [ -S "$scratch/tpm.sock" ]; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}

# tpm_clear FOLDER: what the setup of a machine's firmware does.
tpm_clear() {
    local socket=$scratch/clear.sock status
    swtpm socket --tpm2 --tpmstate "dir=$1" --server "type=unixio,path=$socket" --ctrl "type=unixio,path=$socket.ctrl" \
        --flags not-need-init,startup-clear >>"$logs/swtpm.log" 2>&1 </dev/null &
    tpm=$!
    timeout -k 10 60 bash -c "until [ -S $socket.ctrl ]; do sleep 0.1; done
        export TPM2TOOLS_TCTI=swtpm:path=$socket
        tpm2_clear -c platform && tpm2_shutdown -c" >"$logs/clear.log" 2>&1 </dev/null
    status=$?
    kill $tpm
    wait $tpm
    return $status
}

# boot NAME: until the guest switches itself off.
boot() {
    local serial=() who begin=$SECONDS status
    for who in console driver alice bob; do
        : >"$logs/$1.$who"
        serial+=(-serial "file:$logs/$1.$who")
    done
    : >"$logs/$1.qemu"
    tpm_start "$scratch/tpm" || return
    timeout -k 10 $BOOT_SECONDS qemu-system-x86_64 -machine q35 -accel "$(accelerator)" -cpu max -smp 2 -m $MEMORY_MB \
        -nodefaults -display none -no-reboot -nic none "${serial[@]}" \
        -drive "file=$scratch/root.img,format=raw,if=virtio,cache=unsafe" \
        -chardev "socket,id=ct,path=$scratch/tpm.sock" -tpmdev emulator,id=tpm0,chardev=ct -device tpm-tis,tpmdev=tpm0 \
        -kernel "$base/vmlinuz" -initrd "$base/initrd" \
        -append "console=ttyS0 security=selinux selinux=1 enforcing=$enforcing audit=1 mitigations=off panic=-1 tsc=reliable no_timer_check random.trust_cpu=on printk.devkmsg=on loglevel=4 audit_backlog_limit=8192 systemd.show_status=no hmsg.boot=$1" \
        >"$logs/$1.qemu" 2>&1 </dev/null &
    wait $!
    status=$?
    kill $tpm 2>/dev/null
    wait $tpm
    echo "# boot $1: $((SECONDS - begin)) s"
    return $status
}

# report BOOT WHO: what one of the guest's scripts printed; it must keep the plan that it made at its end.
report() {
    local line planned='' seen=0
    while IFS= read -r line; do
        line=${line%$'\r'}
        case $line in
        'ok '* | 'not ok '*)
            seen=$((seen + 1))
            result "$([ "${line%% *}" = ok ] && echo yes)" "$1, $2: ${line#* - }"
            ;;
        1..*) planned=${line#1..} ;;
        '#'*) printf '%s\n' "$line" ;;
        esac
    done <"$logs/$1.$2"
    [ "$planned" = $seen ] || result no "$1, $2: came to the end"
}

tested() {
    local name who
    for name in "${BOOTS[@]}"; do
        if [ "$name" = cleared ] && ! tpm_clear "$scratch/tpm"; then
            sed 's/^/# /' "$logs/clear.log"
            result no "$name: the TPM is cleared"
            return
        fi
        if boot "$name"; then
            result yes "$name: the machine switches itself off"
        else
            tail -n 40 "$logs/$name.console" "$logs/$name.qemu" | tr -d '\r' | sed 's/^/# /'
            result no "$name: the machine switches itself off"
        fi
        for who in driver alice bob; do
            report "$name" $who
        done
        # the boots after it would only fail for the same reason
        [ $failed -eq 0 ] || return
    done
}

main() {
    [ $demand = no ] || [ "${HMSG_VM-}" = 1 ] || skip "a whole system in a virtual machine, some minutes: set HMSG_VM=1"
    mkdir -p "$logs" || skip "no room for logs in $logs"
    scratch=$(mktemp -d /var/tmp/hmsg-vm.XXXXXX) || skip "no room in /var/tmp"
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    prepare
    base
    compile >"$logs/build.log" 2>&1 </dev/null || {
        tail -n 20 "$logs/build.log" | sed 's/^/# /'
        result no "hmsg is built"
        echo "1..$tests"
        exit 1
    }
    : >"$scratch/label"
    "$build/swtpm-ci/vm/attempt" relabel "$scratch/label" system_u:object_r:etc_t:s0 >"$logs/label.log" ||
        skip "files take no security labels here: $(<"$logs/label.log")"
    if bounded $IMAGE_SECONDS image image_make "$scratch/root.img" "$base/base.tar"; then
        tested
    else
        tail -n 20 "$logs/image.log" | sed 's/^/# /'
        result no "the disk of the guest is made"
    fi
    echo "1..$tests"
    [ $failed -eq 0 ]
}

# one line, so that nothing is read after main: the script may be edited meanwhile
main; exit
