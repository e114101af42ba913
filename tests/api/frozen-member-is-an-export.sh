#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# device@group and device@id are served read-only without a further call, with the content that
# qemu-img finds in the frozen file, whatever is written to the device afterwards.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon
create_device vda qcow2 8M
create_device vdb raw 4M

for i in 1 2; do
    for device in vda vdb; do
        qemu-io -f raw -c "write -P $i 0 2M" -c "write -P 1$i ${i}M 64k" "$(nbd_uri "$device")" >/dev/null
    done
    snapshot "g$i" vda vdb
    ids[i]=$(jq -r .id <<<"$BODY")
done
qemu-io -f raw -c 'write -P 99 0 4M' "$(nbd_uri vda)" >/dev/null

frozen() { # DEVICE GROUP FORMAT FILE
    local name
    qemu-img convert --force-share -f "$3" -O raw "$IMAGES/$4" "$TMP/wanted"
    for name in "$1@g$2" "$1@${ids[$2]}"; do
        nbdcopy "$(nbd_uri "$name")" "$TMP/got"
        cmp "$TMP/wanted" "$TMP/got" || fail "$name is not $4"
        nbdinfo --json "$(nbd_uri "$name")" | jq --exit-status '.exports[0].is_read_only' >/dev/null ||
            fail "$name can be written"
        ! qemu-io -f raw -c 'write 0 512' "$(nbd_uri "$name")" >/dev/null 2>&1 || fail "$name was written"
    done
}
frozen vda 1 qcow2 vda.qcow2
frozen vda 2 qcow2 vda+g1.qcow2
frozen vdb 1 raw vdb.raw
frozen vdb 2 qcow2 vdb+g1.qcow2

listed=$(nbdinfo --list --json "nbd+unix:///?socket=$RUNTIME/nbd.sock" | jq -c '[.exports[]."export-name"] | sort')
for name in vda vdb vda@g1 vda@g2 vdb@g1 vdb@g2; do
    jq --exit-status --arg e "$name" 'index($e)' <<<"$listed" >/dev/null || fail "$name is not in $listed"
done
api GET /devices/vda@g1
expect_status 404
