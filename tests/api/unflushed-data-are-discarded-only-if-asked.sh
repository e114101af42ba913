#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Acknowledged data that exist only in a journal, because the image is missing or was changed since
# the daemon was killed, are discarded only by a DELETE or POST /devices whose body has
# "discard_unflushed"; other calls are refused with the name of the field.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon

# write_and_kill DEVICE...: 64 KiB of 9 on each, acknowledged and not flushed
write_and_kill() {
    local device
    for device in "$@"; do
        PATH=/usr/bin:$PATH nbdsh -u "$(nbd_uri "$device")" -c 'h.pwrite(b"\x09" * 65536, 0)'
    done
    kill_daemon
}

# expect_content DEVICE VALUE
expect_content() {
    qemu-io -f raw -c "read -P $2 0 64k" "$(nbd_uri "$1")" | grep -q '^read 65536' || fail "$1 does not hold $2"
}

journals() {
    find "$RUNTIME/journals" -type f | wc -l
}

create_device away qcow2 4M
create_device changed qcow2 4M
snapshot g changed
write_and_kill away changed
mv "$IMAGES/away.qcow2" "$TMP/away"
qemu-io -f qcow2 -c 'write -P 5 1M 64k' "$IMAGES/changed+g.qcow2" >/dev/null
before=$(sha256sum "$IMAGES/changed+g.qcow2")
start_daemon

for device in away changed; do
    api GET "/devices/$device"
    expect_json '.state == "failed"'
    for body in '' '{}' '{"discard_unflushed":false}'; do
        api DELETE "/devices/$device" "$body"
        expect_status 409
        expect_json '.code == "UnflushedData" and .device == $device and .retryable == false' --arg device "$device"
        expect_json '.detail | test("\"discard_unflushed\": true")'
    done
    api GET "/devices/$device"
    expect_json '.state == "failed"'
done
restart_daemon
[ "$(journals)" = 2 ] || fail "not 2 journals: $(ls "$RUNTIME/journals")"
[ "$(sha256sum "$IMAGES/changed+g.qcow2")" = "$before" ] || fail "the image was written"

# What is not asked for in this way is refused.
api DELETE /devices/away '{"discard":true}'
expect_status 400
expect_json '.code == "UnknownField" and .pointer == "/discard"'
api DELETE /devices/away '{"discard_unflushed":1}'
expect_json '.code == "WrongType"'
api DELETE /devices/away '{'
expect_json '.code == "MalformedJSON"'
api POST /devices '{"name":"n","image":"n.raw","format":"raw","size_bytes":512,"discard_unflushed":true}'
expect_status 422
expect_json '.code == "InvalidValue" and .pointer == "/discard_unflushed"'

# A device is deleted with it, and what the image holds is as of its last flush.
api DELETE /devices/away '{"discard_unflushed":true}'
expect_status 204
[ "$(journals)" = 1 ] || fail "not 1 journal: $(ls "$RUNTIME/journals")"
mv "$TMP/away" "$IMAGES/away.qcow2"
api POST /devices '{"name":"away","image":"away.qcow2","format":"qcow2"}'
expect_status 201
expect_content away 0

# Without a device, here because the state is lost, attaching is what refuses, and what takes it.
stop_daemon
rm -r "${STATE:?}"/*
start_daemon
api POST /devices '{"name":"changed","image":"changed+g.qcow2","format":"qcow2"}'
expect_status 409
expect_json '.code == "UnflushedData" and .pointer == "/image" and (.detail | test("\"discard_unflushed\": true"))'
[ "$(sha256sum "$IMAGES/changed+g.qcow2")" = "$before" ] || fail "the image was written"
api POST /devices '{"name":"changed","image":"changed+g.qcow2","format":"qcow2","discard_unflushed":true}'
expect_status 201
expect_content changed 0
delete_device changed
expect_status 204
[ "$(journals)" = 0 ] || fail "a journal: $(ls "$RUNTIME/journals")"
