#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# QEMU's tools treat our images as they treat those of another QEMU, since the lock bytes are the
# same. They cannot write or recreate an image that a device writes, and read it (qcow2) only with
# -U; they can read, copy and use a frozen image as a backing file, but not write it; a detach or a
# kill releases all locks, and a restart acquires them again.
. "$(dirname "$0")/../lib/functions.sh"

refused() {
    if "$@" >"$TMP/out" 2>&1; then fail "not refused: $*"; fi
    grep -qE 'Failed to get (shared )?"[a-z ]+" lock' "$TMP/out" || fail "$*: $(cat "$TMP/out")"
}

# The bytes of a file that anybody has locked.
locks() {
    python3 - "$1" <<'END'
import fcntl, struct, sys
with open(sys.argv[1], "rb") as image:
    for byte in range(300):
        lock = struct.pack("hhqqi0q", fcntl.F_WRLCK, 0, byte, 1, 0)
        if struct.unpack_from("h", fcntl.fcntl(image, fcntl.F_OFD_GETLK, lock))[0] != fcntl.F_UNLCK:
            print(byte)
END
}

start_daemon
create_device vda qcow2 4M
create_device vdb raw 4M
for device in vda vdb; do qemu-io -f raw -c 'write -q -P 1 0 2M' -c flush "$(nbd_uri "$device")"; done

# One of QEMU's own, for comparison.
qemu-img create -q -f qcow2 "$TMP/base" 4M
qemu-img create -q -f qcow2 -b base -F qcow2 "$TMP/top"
spawn qemu-storage-daemon --pidfile "$TMP/pid" --blockdev "file,node-name=file,filename=$TMP/top" \
    --blockdev qcow2,node-name=top,file=file
wait_until test -s "$TMP/pid"
[ -n "$(locks "$TMP/top")" ] && [ -n "$(locks "$TMP/base")" ] || fail "QEMU holds no locks"

written() { # FORMAT IMAGE
    diff <(locks "$TMP/top") <(locks "$IMAGES/$2") || fail "$2 is not locked as QEMU would"
    qemu-io -r -U -f "$1" -c 'read -q 0 512' "$IMAGES/$2"
    qemu-img info -U -f "$1" "$IMAGES/$2" >"$TMP/out"
    refused qemu-io -f "$1" -c 'write 0 512' "$IMAGES/$2"
    refused qemu-img create -f "$1" "$IMAGES/$2" 4M
    refused qemu-img convert -n -f raw -O "$1" "$TMP/4M" "$IMAGES/$2"
    refused qemu-img resize -f "$1" "$IMAGES/$2" 8M
}
truncate -s 4M "$TMP/4M" "$TMP/wanted"
qemu-io -f raw -c 'write -q -P 1 0 2M' "$TMP/wanted"
written qcow2 vda.qcow2
written raw vdb.raw
refused qemu-img info -f qcow2 "$IMAGES/vda.qcow2"
refused qemu-img check -f qcow2 "$IMAGES/vda.qcow2"

snapshot g vda vdb
frozen() { # FORMAT IMAGE
    diff <(locks "$TMP/base") <(locks "$IMAGES/$2") || fail "$2 is not locked as QEMU's backing file"
    qemu-img info -f "$1" "$IMAGES/$2" >"$TMP/out"
    qemu-img convert -f "$1" -O raw "$IMAGES/$2" "$TMP/copy"
    cmp "$TMP/wanted" "$TMP/copy" || fail "$2 is not what was frozen"
    qemu-img create -q -f qcow2 -b "$IMAGES/$2" -F "$1" "$TMP/clone"
    qemu-io -f qcow2 -c 'write -q -P 3 0 64k' "$TMP/clone"
    refused qemu-io -f "$1" -c 'write 0 512' "$IMAGES/$2"
    refused qemu-img create -f "$1" "$IMAGES/$2" 4M
}
frozen qcow2 vda.qcow2
frozen raw vdb.raw
qemu-img check -q -f qcow2 "$IMAGES/vda.qcow2"
written qcow2 vda+g.qcow2
written qcow2 vdb+g.qcow2

kill_daemon
[ -z "$(locks "$IMAGES/vda.qcow2")$(locks "$IMAGES/vda+g.qcow2")" ] || fail "locked by the dead"
restart_daemon
written qcow2 vda+g.qcow2
frozen raw vdb.raw

for device in vda vdb; do
    api DELETE "/devices/$device"
    expect_status 204
done
for image in vda+g.qcow2 vdb+g.qcow2 vda.qcow2; do
    qemu-io -f qcow2 -c 'write -q 0 512' "$IMAGES/$image"
done
qemu-io -f raw -c 'write -q 0 512' "$IMAGES/vdb.raw"
