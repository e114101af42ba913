#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# With nbdfuse a disk is a file: a file system is created in it and filled, a group is taken
# meanwhile, and the frozen member has the content of that moment. nbdsh reads the same bytes, and
# nbdfuse sees its writes.
. "$(dirname "$0")/../lib/mounts.sh"
[ -c /dev/fuse ] || skip 'there is no /dev/fuse'

# Mounts an export as $TMP/NAME.mount/disk.
mount_export() {
    local name=$1 export=$2
    shift 2
    mkdir "$TMP/$name.mount"
    spawn nbdfuse "$@" --pidfile "$TMP/$name.pid" "$TMP/$name.mount/disk" "$(nbd_uri "$export")"
    MOUNTED+=("$TMP/$name.mount")
    wait_until test -s "$TMP/$name.pid"
}

tree=$TMP/tree
mkdir "$tree"
for i in 1 2 3 4 5 6 7 8; do
    head -c "$((i * 300001))" /dev/urandom >"$tree/$i"
done

start_daemon
create_device vda qcow2 64M
mount_export vda vda --connections=4
disk=$TMP/vda.mount/disk
[ "$(stat -c %s "$disk")" -eq $((64 << 20)) ] || fail "the file has $(stat -c %s "$disk") bytes"
mke2fs -q -t ext4 -d "$tree" "$disk"
sync "$disk"
e2fsck -fn "$disk" &>"$TMP/e2fsck" || fail "the disk: $(cat "$TMP/e2fsck")"
cp --sparse=always "$disk" "$TMP/before"

snapshot before vda
dd if=/dev/urandom of="$disk" bs=1M count=8 seek=20 conv=notrunc,fsync status=none
if cmp -s "$disk" "$TMP/before"; then
    fail 'what was written after the group is not there'
fi
mount_export frozen vda@before --readonly
cmp "$TMP/frozen.mount/disk" "$TMP/before"
e2fsck -fn "$TMP/frozen.mount/disk" &>"$TMP/e2fsck" || fail "the frozen disk: $(cat "$TMP/e2fsck")"

# Debian's Python is the one that has libnbd.
debian_nbdsh() {
    PATH=/usr/bin:/bin nbdsh --uri "$(nbd_uri "$1")" --command "$2"
}
debian_nbdsh vda@before "
assert h.get_size() == 64 << 20 and h.is_read_only()
assert h.pread(1 << 20, 1 << 20) == open('$TMP/before', 'rb').read()[1 << 20:2 << 20]"
debian_nbdsh vda '
assert h.can_multi_conn() and not h.is_read_only()
h.pwrite(b"nbdsh" * 100, 12345)
h.flush()
assert h.pread(500, 12345) == b"nbdsh" * 100'
nbdcopy "$(nbd_uri vda)" "$TMP/after"
[ "$(tail -c +12346 "$TMP/after" | head -c 500 | sed 's/nbdsh/./g' | wc -c)" -eq 100 ] ||
    fail 'what nbdsh wrote is not there'

umount "$TMP/vda.mount" "$TMP/frozen.mount"
MOUNTED=()
stop_daemon
for image in "$IMAGES"/*.qcow2; do
    qcow2_check "$image"
done
