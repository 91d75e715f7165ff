# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2154 # variables of run.sh
# Sourced by run.sh: the guest's disk, made afresh in each run.
#   $here, $scratch, $build    this folder; where to work; a build folder of hmsg with the prefix /usr

IMAGE_SIZE=1536M

# image_libraries: the guest has all that hmsg is linked against.
image_libraries() {
    local missing
    missing=$(chroot "$1" sh -c 'ldd /usr/bin/hmsgctl /usr/bin/hmsg-relay /usr/libexec/hmsg/hmsg-*' | grep 'not found')
    [ -z "$missing" ] || {
        echo "libraries are not in packages.txt: $missing"
        return 1
    }
}

# image_users: an account for each, who may not become another.
image_users() {
    local root=$1 user
    for user in alice bob; do
        chroot "$root" useradd --create-home --shell /bin/bash "$user" || return
    done
    cp "$here/guest/profile.sh" "$root/home/alice/.profile"
    cp "$here/guest/profile.sh" "$root/home/bob/.profile"
    mkdir -p "$root/home/alice/.config/hmsg"
    printf '[lock]\nscreen = lock\nsuspend = lock\n' >"$root/home/alice/.config/hmsg/agent.conf"
    chroot "$root" sh -c "cd /home && chown -R alice:alice alice && chown -R bob:bob bob"
}

# image_units: what runs in the guest, and what would only take time there.
image_units() {
    local root=$1 units=$1/etc/systemd/system unit name
    install -d "$root/usr/libexec/hmsg-vm"
    install -m 755 "$here"/guest/*.sh "$root/usr/libexec/hmsg-vm/"
    for name in attempt attempt-agent attempt-courier; do
        install -m 755 "$build/swtpm-ci/vm/attempt" "$root/usr/libexec/hmsg-vm/$name"
    done
    install -m 644 "$here"/guest/*.service "$units/"
    ln -sf /usr/lib/systemd/system/multi-user.target "$units/default.target"
    mkdir -p "$units/multi-user.target.wants" "$units/sockets.target.wants"
    for unit in hmsg-vm-relay hmsg-vm-driver hmsg-vm-login-alice hmsg-vm-login-bob; do
        ln -s "/etc/systemd/system/$unit.service" "$units/multi-user.target.wants/$unit.service"
    done
    for unit in getty.target getty@tty1.service serial-getty@ttyS0.service systemd-timesyncd.service \
        systemd-networkd.service systemd-networkd.socket systemd-random-seed.service systemd-hwdb-update.service \
        systemd-firstboot.service systemd-update-done.service e2scrub_reap.service timers.target; do
        ln -sf /dev/null "$units/$unit"
    done
    install -D -m 644 /dev/stdin "$root/etc/systemd/journald.conf.d/hmsg-vm.conf" <<<$'[Journal]\nStorage=volatile\nAudit=yes\nRateLimitBurst=0'
}

# image_policy: the policy is built and the files are labelled here, since both take a minute in the guest. The copies
# of attempt are what is in a domain of hmsg's.
image_policy() {
    local root=$1 store=$1/var/lib/selinux/default/active module=/usr/share/selinux/packages/hmsg
    printf 'SELINUX=enforcing\nSELINUXTYPE=default\n' >"$root/etc/selinux/config"
    printf '%s\n' 'alice:user_u:s0-s0' 'bob:staff_u:s0-s0' >"$store/seusers.local"
    chroot "$root" semodule -n -i $module/hmsg-class.cil -i $module/hmsg.pp || return
    install -m 644 "$root$module/hmsg-bus.conf" "$root/etc/dbus-1/session.d/" || return
    setfiles -F -r "$root" "$root/etc/selinux/default/contexts/files/file_contexts" "$root" || return
    "$build/swtpm-ci/vm/attempt" relabel "$root/usr/libexec/hmsg-vm/attempt-agent" system_u:object_r:hmsg_agent_exec_t:s0 &&
        "$build/swtpm-ci/vm/attempt" relabel "$root/usr/libexec/hmsg-vm/attempt-courier" system_u:object_r:hmsg_courier_exec_t:s0
}

# image_make FILE ARCHIVE
image_make() {
    local image=$1 root=$scratch/root
    mkdir "$root"
    tar -xf "$2" -C "$root" --xattrs || return
    DESTDIR=$root meson install --no-rebuild -C "$build" || return
    image_libraries "$root" || return
    echo hmsg-vm >"$root/etc/hostname"
    printf '127.0.0.1 localhost hmsg-vm\n::1 localhost\n' >"$root/etc/hosts"
    printf '/dev/vda / ext4 defaults 0 1\n' >"$root/etc/fstab"
    : >"$root/etc/machine-id"
    image_users "$root" && image_units "$root" && image_policy "$root" || return
    truncate -s $IMAGE_SIZE "$image"
    mke2fs -q -t ext4 -O ^metadata_csum -d "$root" "$image" || return
    rm -rf "$root"
}
