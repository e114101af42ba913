#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Three disks (raw of 1,000,001 bytes, qcow2 with 64 KiB clusters, qcow2 with 2 MiB clusters over a
# raw base), each written and verified by fio all the time; ten group snapshots in a row. No client
# sees an error, every chain passes qemu-img check, and the content of device@group is what qemu-img
# convert makes of the frozen file.
. "$(dirname "$0")/../lib/functions.sh"

head -c 1000001 /dev/urandom >"$IMAGES/vda.raw"
qemu-img create -q -f qcow2 -o cluster_size=64k "$IMAGES/vdb.qcow2" 8M
head -c 5M /dev/urandom >"$IMAGES/base.raw"
qemu-img create -q -f qcow2 -o cluster_size=2M -b base.raw -F raw "$IMAGES/vdc.qcow2" 8M

start_daemon
for image in vda.raw vdb.qcow2 vdc.qcow2; do
    api POST /devices "$(jq -nc --arg image "$image" \
        '($image / ".") as [$name, $format] | {name: $name, image: $image, format: $format}')"
    expect_status 201
done

# Writes all of a disk in random order and verifies it, again and again until the file `stop`
# appears.
keep_writing() {
    local name=$1
    shift
    until [ -e "$TMP/stop" ]; do
        fio --name="$name" --ioengine=nbd --uri="$(nbd_uri "$name")" --rw=randwrite --iodepth=4 \
            --verify=crc32c --verify_fatal=1 --verify_state_save=0 --randrepeat=0 --loops=3 \
            "$@" >"$TMP/fio.$name" 2>&1 || return 1
        echo >>"$TMP/passes.$name"
    done
}
cd "$TMP"
keep_writing vda --bs=512 --size=1000448 &
clients=($!)
keep_writing vdb --bs=4k --size=4m &
clients+=($!)
keep_writing vdc --bs=16k --size=8m &
clients+=($!)
SPAWNED_ALL+=("${clients[@]}")

# The image has been written to since it was made the top, or a client has given up.
is_written() {
    local top
    top=$(curl -sf --unix-socket "$RUNTIME/api.sock" "http://localhost/devices/$1" | jq -er .top)
    [ "$top" -nt "$TMP/mark" ]
}
for i in {1..10}; do
    touch "$TMP/mark"
    for name in vda vdb vdc; do
        wait_until is_written "$name"
    done
    snapshot "group$i" vda vdb vdc
done
touch "$TMP/stop"
for client in "${clients[@]}"; do
    wait "$client" || fail "a client saw an error: $(cat "$TMP"/fio.*)"
done
wc -l "$TMP"/passes.*

for i in {1..10}; do
    api GET "/snapshot-groups/group$i"
    expect_status 200
    jq -r '.members[] | [.device, .backing_file] | @tsv' <<<"$BODY" >"$TMP/members"
    while IFS=$'\t' read -r device frozen; do
        qemu-img convert -U -f "${frozen##*.}" -O raw "$frozen" "$TMP/expected"
        nbdcopy "$(nbd_uri "$device@group$i")" "$TMP/read"
        cmp "$TMP/expected" "$TMP/read"
    done <"$TMP/members"
done
stop_daemon
for image in "$IMAGES"/*.qcow2; do
    qcow2_check "$image"
done
