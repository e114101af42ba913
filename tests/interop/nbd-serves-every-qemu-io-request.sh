#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The same qemu-io requests to an export and to a plain file give the same content: writes (plain,
# FUA), zeroes (keeping and releasing space), discards and flushes, at unaligned offsets and up to
# the last byte of the disk.
. "$(dirname "$0")/../lib/functions.sh"

start_daemon --nbd "unix:$RUNTIME/nbd.sock" --nbd 127.0.0.1:0
create_device vda raw 8M
create_device vdb qcow2 8M
truncate -s 8M "$TMP/flat"

requests=(
    -c 'write -P 1 0 8M'
    -c 'write -P 2 1 1' -c 'write -P 3 4095 2' -c 'write -P 4 65535 65538'
    -c 'write -f -P 5 1234567 7654' -c 'flush' -c 'read -P 5 1234567 7654'
    -c 'write -z 2000000 300000' -c 'write -z -u 3000000 1000000' -c 'write -z -f 4194303 3'
    -c 'read -P 0 2000000 300000' -c 'read -P 0 3000000 1000000' -c 'read -P 1 4194300 3'
    -c 'aio_write -P 6 5000000 100000' -c 'aio_write -P 7 5100000 100000'
    -c 'aio_write -P 8 5200000 100000' -c 'aio_flush'
    -c 'read -P 6 5000000 100000' -c 'read -P 7 5100000 100000' -c 'read -P 8 5200000 100000'
    -c 'write -P 9 8388607 1' -c 'read -P 9 8388607 1'
)
qemu-io -f raw "${requests[@]}" "$TMP/flat" >"$TMP/out"
for name in vda vdb; do
    qemu-io -f raw "${requests[@]}" "$(nbd_uri $name)" >"$TMP/out" || fail "$(cat "$TMP/out")"
    ! grep -qiE 'fail|error|mismatch' "$TMP/out" || fail "$(cat "$TMP/out")"
    qemu-img compare -f raw -F raw "$TMP/flat" "$(nbd_uri $name)"
done

# What was discarded reads as before or as zeros, and what lies around it as before.
for name in vda vdb; do
    qemu-io -f raw -d unmap -c 'discard 1M 1M' -c 'discard 6000001 99' -c 'read -P 1 6000000 1' \
        -c 'read -P 1 6000100 1' "$(nbd_uri $name)" >"$TMP/out" || fail "$(cat "$TMP/out")"
    ! grep -qiE 'fail|error|mismatch' "$TMP/out" || fail "$(cat "$TMP/out")"
    nbdcopy "$(nbd_uri $name)" "$TMP/after"
    cmp --bytes=1048576 "$TMP/flat" "$TMP/after"
    cmp --ignore-initial=2097152 --bytes=$((6000001 - 2097152)) "$TMP/flat" "$TMP/after"
    cmp --ignore-initial=6000100 "$TMP/flat" "$TMP/after"
done

# Past the end there is nothing, and the connection says so and lives.
rc=0
qemu-io -f raw -c 'write 8388607 2' -c 'read 8M 512' -c 'read -P 9 8388607 1' "$(nbd_uri vda)" \
    >"$TMP/out" 2>&1 || rc=$?
[ "$rc" -eq 1 ] || fail "status $rc: $(cat "$TMP/out")"
grep -q 'read 1/1 bytes' "$TMP/out" || fail "the connection did not live: $(cat "$TMP/out")"
stop_daemon
qcow2_check "$IMAGES/vdb.qcow2"
