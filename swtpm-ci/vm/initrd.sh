#!/bin/busybox sh
# shellcheck shell=dash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The first program of the guest: loads what the disk takes, and hands over to systemd.
b=/bin/busybox
$b mkdir -p /proc /sys /dev /disk
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
while read -r module; do
    $b insmod "/lib/$module"
done </modules
until $b mount -t ext4 /dev/vda /disk 2>/dev/null; do
    $b sleep 0.1
done
$b umount /sys
$b umount /proc
$b mount --move /dev /disk/dev
exec $b switch_root /disk /sbin/init
