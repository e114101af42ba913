# SPDX-License-Identifier: Apache-2.0
#
# A guest that makes ext4 on RAID 0 of the disks `vda` and `vdb` and writes files to it until it is
# told anything. Every writer has a directory of its own; its order of doing things is what the test
# checks frozen disks against, as tests/lib/guestfiles.py has it. Step n:
#   1 file n-KEEP is removed
#   2 file n is written, and synced with its directory
#   3 a line n is appended to `log`, and synced
#   4 the test is told
WRITERS=2
KEEP=8

write_files() {
    local directory=/mnt/$1 n=0 first
    mkdir "$directory"
    while [ ! -e /tmp/stop ]; do
        n=$((n + 1))
        [ "$n" -le "$KEEP" ] || rm "$directory/$((n - KEEP))"
        first=$(($1 * 10000000 + n * 20000))
        seq "$first" $((first + 2000 + n * 7919 % 16000)) >"$directory/$n"
        sync "$directory/$n" "$directory"
        echo "$n" >>"$directory/log"
        sync "$directory/log" "$directory"
        say "synced $1 $n"
    done
}

/sbin/mdadm --create /dev/md0 --quiet --run --level=0 --chunk=64 --raid-devices=2 "$(disk vda)" "$(disk vdb)"
/sbin/mke2fs -q -F -t ext4 -b 4096 -E discard /dev/md0
mount -t ext4 -o discard /dev/md0 /mnt
say "ready"
writers=''
for writer in $(seq "$WRITERS"); do
    write_files "$writer" &
    writers="$writers $!"
done
read -r _
touch /tmp/stop
for writer in $writers; do
    wait "$writer"
done
umount /mnt
/sbin/mdadm --stop --quiet /dev/md0
say_kernel
