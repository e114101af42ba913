#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# fio's checksums hold over NBD: random sizes from 512 bytes to 256 KiB, many requests in flight,
# several connections to one disk, flushes and trims in between, on both formats.
. "$(dirname "$0")/../lib/functions.sh"

start_daemon
create_device vda raw 64M
create_device vdb qcow2 64M

run_fio() { # DEVICE OPTION...
    local name=$1
    shift
    (cd "$TMP" && fio --ioengine=nbd --uri="$(nbd_uri "$name")" --verify=crc32c --verify_fatal=1 \
        --verify_state_save=0 --randrepeat=0 --thread --group_reporting "$@") >"$TMP/out" 2>&1 ||
        fail "$name: fio: $(cat "$TMP/out")"
    ! grep -q 'verify:' "$TMP/out" || fail "$name: $(cat "$TMP/out")"
}

for name in vda vdb; do
    # fio verifies blocks of changing sizes only where none of them overlaps another: in sequential
    # order.
    run_fio "$name" --name=sizes --rw=write --bsrange=512-256k --bs_unaligned=0 --size=48M --iodepth=16
    run_fio "$name" --name=deep --rw=randwrite --bs=4k --size=16M --iodepth=64 --fsync=200
    run_fio "$name" --name=sectors --rw=randwrite --bs=512 --size=2M --offset=32M --iodepth=32
    # Three writers with a connection and a part of the disk each.
    run_fio "$name" --name=a --rw=randwrite --bs=16k --size=8M --iodepth=8 --fsync=100 \
        --name=b --offset=16M --rw=randwrite --bs=64k --size=8M --iodepth=8 \
        --name=c --offset=32M --rw=write --bs=1M --size=32M --iodepth=4
done
stop_daemon
qcow2_check "$IMAGES/vdb.qcow2"
