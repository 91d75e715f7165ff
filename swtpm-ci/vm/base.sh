# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2154 # variables of run.sh
# Sourced by run.sh: what is made from Debian's packages alone, and kept from run to run, for a week.
#   $here, $scratch    this folder; where to work

# base_sources: the machine's own sources of Debian packages, one a line.
base_sources() {
    # shellcheck disable=SC2016 # apt-get replaces them
    apt-get indextargets --format 'deb $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' | sort -u
}

base_suite() {
    sed -n 's/^VERSION_CODENAME=//p' /etc/os-release
}

# base_tar FILE: an archive of the guest's files.
base_tar() {
    local names
    names=$(grep -v '^#' "$here/packages.txt" | paste -sd,)
    base_sources >"$scratch/sources"
    [ -s "$scratch/sources" ] || {
        echo "this machine has no source of Debian packages"
        return 1
    }
    TMPDIR=$scratch mmdebstrap --quiet --format=tar --variant=apt --mode=root --include="$names" \
        --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$(base_suite)" "$1" <"$scratch/sources"
}

# base_kernel FOLDER: Debian's kernel, and an initrd that mounts the disk, as vmlinuz and initrd; ARCHIVE is base_tar's.
base_kernel() {
    local folder=$1 archive=$2 name unpacked=$scratch/kernel initrd=$scratch/initrd version path
    name=$(apt-cache depends linux-image-amd64 | sed -n 's/^  Depends: //p' | head -n 1)
    mkdir -p "$unpacked" "$initrd/bin" "$initrd/lib" "$folder"
    (cd "$scratch" && apt-get -q download "${name:?no kernel is known here}") || return
    dpkg-deb -x "$scratch/$name"_*.deb "$unpacked" || return
    version=$(basename "$unpacked"/lib/modules/*)
    depmod -b "$unpacked" "$version" || return
    tar -xf "$archive" -C "$initrd" --strip-components=2 ./bin/busybox 2>/dev/null ||
        tar -xf "$archive" -C "$initrd" --strip-components=3 ./usr/bin/busybox || return
    mv "$initrd/busybox" "$initrd/bin/busybox"
    for name in virtio_pci virtio_blk crc32c_generic ext4; do
        modprobe -d "$unpacked" -S "$version" --show-depends "$name" || return
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' >"$scratch/modules" || return
    while read -r path; do
        cp "$path" "$initrd/lib/" && basename "$path" >>"$initrd/modules" || return
    done <"$scratch/modules"
    install -m 755 "$here/initrd.sh" "$initrd/init"
    (cd "$initrd" && find . | cpio --quiet -o -H newc | gzip -1) >"$folder/initrd" || return
    cp "$unpacked/boot/vmlinuz-$version" "$folder/vmlinuz"
}
