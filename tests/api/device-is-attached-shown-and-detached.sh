#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An existing image is attached, shown with every field, served over NBD and detached; its file
# stays.
. "$(dirname "$0")/../lib/functions.sh"

qemu-img create -q -f qcow2 "$IMAGES/base.qcow2" 8M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 "$IMAGES/disk.qcow2" 16M
qemu-io -f qcow2 -c 'write -P 7 0 64k' "$IMAGES/disk.qcow2" >/dev/null
start_daemon

api POST /devices '{"name":"vda","image":"disk.qcow2","format":"qcow2","labels":{"a/b":"ü \" \\"}}'
expect_status 201
grep -qi '^location: /devices/vda$' <<<"$HEADERS" || fail "Location: $HEADERS"
grep -qi '^content-type: application/json$' <<<"$HEADERS" || fail "Content-Type: $HEADERS"
created=$BODY

api GET /devices/vda
expect_status 200
[ "$BODY" = "$created" ] || fail "GET differs from POST: $BODY"
expect_json 'keys == (["name","engine","image","top","format","size_bytes","read_only","cluster_size_bytes",
    "extended_l2","state","reason","chain","export","clients","origin","labels","allowed_clients",
    "created_at"] | sort)'
expect_json '.name == "vda" and .engine == "native" and .format == "qcow2"'
expect_json '.image == $p and .top == $p' --arg p "$IMAGES/disk.qcow2"
expect_json '.size_bytes == 16777216 and .read_only == false'
expect_json '.state == "online" and .reason == null'
expect_json '[.chain[] | [.image, .format, .size_bytes]] ==
    [[$dir + "/disk.qcow2", "qcow2", 16777216], [$dir + "/base.qcow2", "qcow2", 8388608]]' \
    --arg dir "$IMAGES"
expect_json '.chain[0].allocated_bytes == $n' --argjson n \
    "$(($(stat -c %b "$IMAGES/disk.qcow2") * 512))"
expect_json '.labels == {"a/b": "ü \" \\"}'
expect_json '.created_at | test("^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{6}Z$")'
expect_json '.export.uri == $uri' --arg uri "$(nbd_uri vda)"

qemu-io -f raw -r -c 'read -P 7 0 64k' "$(jq -r .export.uri <<<"$BODY")" |
    grep -q '^read 65536/65536' || fail "the export does not hold the image's data"

api GET /devices
expect_status 200
expect_json '.next == null and (.items | length == 1)'
expect_json '.items[0] == $device' --argjson device "$created"

before=$(checksums "$IMAGES")
delete_device vda
expect_status 204
[ -z "$BODY" ] || fail "204 with a body: $BODY"
api GET /devices/vda
expect_status 404
expect_json '.code == "DeviceNotFound" and .device == "vda" and .status == 404 and .retryable == false'
grep -qi '^content-type: application/problem+json$' <<<"$HEADERS" || fail "Content-Type: $HEADERS"
api DELETE /devices/vda
expect_status 404
[ "$before" = "$(checksums "$IMAGES")" ] || fail "detaching changed the files"

api POST /devices '{"name":"vda","image":"disk.qcow2","format":"qcow2"}'
expect_status 201
