#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# QEMU's tools open the chain of a group snapshot from anywhere, also when the overlay is in another
# directory than its image: each header names its backing file and that file's format.
. "$(dirname "$0")/../lib/functions.sh"

mkdir "$IMAGES/overlays"
start_daemon
create_device vda raw 1M
api POST /snapshot-groups '{"name":"one","devices":[{"device":"vda","snapshot_file":"overlays/vda.1.qcow2"}]}'
expect_status 201
expect_json '.members[0].backing_file == $f' --arg f "$IMAGES/vda.raw"
qemu-io -f raw -c 'write -q -P 1 0 512k' "$(nbd_uri vda)"
api POST /snapshot-groups '{"name":"two","devices":[{"device":"vda","snapshot_file":"vda.2.qcow2"}]}'
expect_status 201
qemu-io -f raw -c 'write -q -P 2 0 256k' "$(nbd_uri vda)"
stop_daemon

cd /
info=$(qemu-img info --output=json --backing-chain -f qcow2 "$IMAGES/vda.2.qcow2")
BODY=$info
jq -r '.[].filename' <<<"$info" | xargs realpath >"$TMP/chain"
printf '%s\n' "$IMAGES/vda.2.qcow2" "$IMAGES/overlays/vda.1.qcow2" "$IMAGES/vda.raw" | diff - "$TMP/chain"
expect_json '[.[] | .format] == ["qcow2", "qcow2", "raw"]'
expect_json '[.[] | ."backing-filename-format"] == ["qcow2", "raw", null]'
expect_json '.[:2] | all(."backing-filename" | startswith("/") | not)'
qemu-io -r -f qcow2 -c 'read -q -P 2 0 256k' -c 'read -q -P 1 256k 256k' -c 'read -q -P 0 512k 512k' \
    "$IMAGES/vda.2.qcow2"
qcow2_check "$IMAGES/vda.2.qcow2"
qcow2_check "$IMAGES/overlays/vda.1.qcow2"
