#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An image that is damaged or missing at a restart makes its device failed, with the reason. All
# other devices are served, and the failed ones can be detached. A group of a failed device is worth
# a retry if its image may come back, and not if it is damaged.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon
for device in good damaged gone based; do
    create_device "$device" qcow2 4M
done
snapshot g good based
qemu-io -f raw -c 'write -P 9 0 64k' -c flush "$(nbd_uri good)" >/dev/null
stop_daemon
printf 'JUNK' | dd of="$IMAGES/damaged.qcow2" conv=notrunc status=none
rm "$IMAGES/gone.qcow2"
mv "$IMAGES/based.qcow2" "$TMP/kept"
start_daemon

api GET /readyz
expect_status 200
while read -r device retryable reason; do
    api GET "/devices/$device"
    expect_status 200
    expect_json '.state == "failed" and (.reason | test($reason)) and .chain == [] and .size_bytes == 0' \
        --arg reason "$reason"
    expect_json '.top == $top and .format == "qcow2"' \
        --arg top "$IMAGES/$([ "$device" = based ] && echo based+g.qcow2 || echo "$device.qcow2")"
    ! nbdinfo "$(nbd_uri "$device")" >/dev/null 2>&1 || fail "$device is served"
    api POST /snapshot-groups "{\"devices\":[{\"device\":\"good\"},{\"device\":\"$device\"}]}"
    expect_status 409
    expect_json '.code == "DeviceFailed" and .device == $device and .pointer == "/devices/1"' --arg device "$device"
    expect_json '.retryable == $retryable' --argjson retryable "$retryable"
done <<'TABLE'
damaged false magic|qcow2
gone true gone.qcow2.*No such file
based true based.qcow2.*No such file
TABLE
api GET /devices/good
expect_json '.state == "online" and .reason == null'
qemu-io -f raw -c 'read -P 9 0 64k' "$(nbd_uri good)" | grep -q '^read 65536' || fail "good is not served"
snapshot h good

for device in damaged gone based; do
    api DELETE "/devices/$device"
    expect_status 204
done
mv "$TMP/kept" "$IMAGES/based.qcow2"
api POST /devices '{"name":"based","image":"based+g.qcow2","format":"qcow2"}'
expect_status 201
expect_json '.state == "online"'
