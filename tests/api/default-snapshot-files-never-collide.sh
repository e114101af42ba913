#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Device `a` with group `b.c` and device `a.b` with group `c` get overlays of different names, and
# so does every other pair: no name may contain the separator.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon
create_device a qcow2 1M
create_device a.b qcow2 1M
snapshot b.c a
snapshot c a.b
for pair in a:b.c a.b:c; do
    device=${pair%:*} group=${pair#*:}
    api GET "/devices/$device"
    expect_json '.top == $top' --arg top "$IMAGES/$device+$group.qcow2"
    qemu-img info --force-share "$IMAGES/$device+$group.qcow2" | grep -q "^backing file: $device" ||
        fail "the overlay of $device"
done

for name in a+b a+b.c +; do
    api POST /devices "{\"name\":\"$name\",\"image\":\"x\",\"format\":\"raw\",\"size_bytes\":512}"
    expect_status 422
    expect_json '.code == "InvalidValue" and .pointer == "/name"'
    api POST /snapshot-groups "{\"name\":\"$name\",\"devices\":[{\"device\":\"a\"}]}"
    expect_status 422
    expect_json '.code == "InvalidValue" and .pointer == "/name"'
done
