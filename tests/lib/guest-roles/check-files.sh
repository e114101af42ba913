# SPDX-License-Identifier: Apache-2.0
#
# A guest that is given pairs of disks, `vda@NAME` and `vdb@NAME`, each writable but thrown away. It
# assembles every pair in turn, mounts it (the kernel replays the journal, as after a crash), tells
# every file's checksum and how many lines each log has, and has e2fsck look for any fault. What
# cannot be read or is not sound is told as `broken`.
check_files() {
    local file name lines
    for file in /mnt/[0-9]*/*; do
        name=${file#/mnt/}
        if [ "${name#*/}" = log ]; then
            lines=$(wc -l <"$file")
            seq "$lines" | cmp -s - "$file" || say "broken $name does not hold 1 to $lines"
            say "log $name $lines"
        else
            say "file $name $(sha256sum <"$file")"
        fi
    done
}

check_pair() {
    local status=0
    say "pair $1"
    /sbin/mdadm --assemble --quiet --run /dev/md0 "$(disk "vda@$1")" "$(disk "vdb@$1")"
    if mount -t ext4 /dev/md0 /mnt; then
        check_files || say "broken file"
        umount /mnt
    else
        say "broken mount"
    fi
    /sbin/e2fsck -fn /dev/md0 >/tmp/e2fsck 2>&1 || status=$?
    [ "$status" -eq 0 ] || say "broken e2fsck ends with $status"
    [ "$status" -eq 0 ] || while read -r line; do say "broken $line"; done </tmp/e2fsck
    /sbin/mdadm --stop --quiet /dev/md0
}

for serial in $(serials); do
    case $serial in
    vda@*) check_pair "${serial#vda@}" ;;
    esac
done
say_kernel
