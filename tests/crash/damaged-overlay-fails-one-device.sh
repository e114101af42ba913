#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# After a kill one overlay has lost its header and another one is missing. Those two devices are
# `failed`, with the reason, and can be detached; the daemon is ready, the third device is served,
# and no file is written or replaced.
. "$(dirname "$0")/../lib/functions.sh"

start_daemon
for name in vda vdb vdc; do
    create_device "$name" qcow2 1M
    qemu-io -f raw -c 'write -q -P 1 0 1M' -c flush "$(nbd_uri "$name")"
done
snapshot before vda vdb vdc
qemu-io -f raw -c 'write -q -P 2 0 64k' -c flush "$(nbd_uri vdc)"
kill_daemon

overlay() {
    api GET "/devices/$1"
    jq -r .top <<<"$BODY"
}
start_daemon
damaged=$(overlay vda) missing=$(overlay vdb)
stop_daemon
dd if=/dev/zero of="$damaged" bs=4 count=1 conv=notrunc status=none
rm "$missing"
checksums "$IMAGES" >"$TMP/sums"

start_daemon
api GET /readyz
expect_status 200
for name in vda vdb; do
    api GET "/devices/$name"
    expect_status 200
    expect_json '.state == "failed" and (.reason | length > 0)'
    if nbdinfo --size "$(nbd_uri "$name")" 2>"$TMP/nbdinfo"; then
        fail "the failed device $name is offered"
    fi
done
api POST /snapshot-groups '{"name":"after","devices":[{"device":"vdc"},{"device":"vda"}]}'
expect_status 409
expect_json '.code == "DeviceFailed" and .device == "vda"'

api GET /devices/vdc
expect_json '.state == "online" and .reason == null'
qemu-io -f raw -c 'read -q -P 2 0 64k' -c 'read -q -P 1 64k 960k' "$(nbd_uri vdc)"
snapshot after vdc

for name in vda vdb; do
    api DELETE "/devices/$name"
    expect_status 204
done
stop_daemon
checksums "$IMAGES" >"$TMP/sums.after"
for image in vda.qcow2 vdb.qcow2 "$(basename "$damaged")"; do
    diff <(grep "$image" "$TMP/sums") <(grep "$image" "$TMP/sums.after")
done
[ ! -e "$missing" ] || fail "$missing was put back"
