#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
#
# The first and only program of a test's guest (tests/lib/guest.py puts it into the initramfs as
# /init): mounts what a kernel needs, loads the drivers, runs /role.sh and switches the guest off.
# The kernel's messages go to the first serial port; the second one is standard input and output, by
# lines: what `say` says, the test hears.
set -eu
/bin/busybox mkdir -p /proc /sys /dev /run /mnt /tmp
/bin/busybox mount -t devtmpfs devtmpfs /dev
exec </dev/ttyS1 >/dev/ttyS1 2>&1
/bin/busybox --install -s /bin
export PATH=/bin
stty raw -echo
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for module in virtio_pci virtio_blk raid0; do
    modprobe "$module"
done

say() {
    echo "guest: $*"
}

# What the test calls the disks, in the order of their devices.
serials() {
    local block serial
    for block in /sys/block/vd*; do
        read -r serial <"$block/serial" || true # no newline ends it
        echo "$serial"
    done
}

# The device of the disk that the test calls $1.
disk() {
    local block serial
    for block in /sys/block/vd*; do
        read -r serial <"$block/serial" || true
        [ "$serial" != "$1" ] || echo "/dev/${block##*/}"
    done
}

# Whatever the kernel found wrong, or had to do, with disks and file systems.
say_kernel() {
    dmesg | grep -E 'EXT4-fs|JBD2|I/O error|blk_update_request|md/raid|md0' |
        while read -r line; do say "kernel $line"; done
}

# A command that fails ends the role, and with it the guest: the test hears `end` and a status that
# is not 0.
end() {
    say "end $?"
    poweroff -f
}
trap end EXIT
. /role.sh
