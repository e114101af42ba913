#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# After a clean restart and after a kill the daemon returns what it did before: devices with chains
# and labels, groups, frozen exports, and the data.
. "$(dirname "$0")/../lib/functions.sh"

qemu-img create -q -f raw "$IMAGES/ro.raw" 1M
start_daemon
create_device vda qcow2 16M '{"labels":{"a":"b"}}'
create_device vdb raw 8M
api POST /devices '{"name":"ro","image":"ro.raw","format":"raw","read_only":true}'
expect_status 201
for i in 1 2 3; do
    qemu-io -f raw -c "write -P $i 0 1M" -c flush "$(nbd_uri vda)" >/dev/null
    qemu-io -f raw -c "write -P $i 1M 64k" -c flush "$(nbd_uri vdb)" >/dev/null
    snapshot "g$i" vda vdb
done
qemu-io -f raw -c 'write -P 4 0 1M' -c flush "$(nbd_uri vda)" >/dev/null

state() {
    api GET /devices
    # What a file takes on disk may change as it is closed.
    jq -S 'del(.items[].chain[].allocated_bytes)' <<<"$BODY"
    api GET /snapshot-groups
    jq -S . <<<"$BODY"
}
check_data() {
    local i
    for i in 1 2 3; do
        qemu-io -f raw -r -c "read -P $i 0 1M" "$(nbd_uri "vda@g$i")" | grep -q '^read 1048576' || fail "vda@g$i"
        qemu-io -f raw -r -c "read -P $i 1M 64k" "$(nbd_uri "vdb@g$i")" | grep -q '^read 65536' || fail "vdb@g$i"
    done
    qemu-io -f raw -c 'read -P 4 0 1M' "$(nbd_uri vda)" | grep -q '^read 1048576' || fail vda
    qemu-io -f raw -c 'read -P 3 1M 64k' "$(nbd_uri vdb)" | grep -q '^read 65536' || fail vdb
}

check_data
before=$(state)
restart_daemon
[ "$before" = "$(state)" ] || fail "differs after a restart: $(diff <(echo "$before") <(state))"
check_data
kill_daemon
restart_daemon
[ "$before" = "$(state)" ] || fail "differs after a kill: $(diff <(echo "$before") <(state))"
check_data
snapshot g4 vda vdb
api DELETE /devices/vdb
expect_status 204
restart_daemon
api GET /devices
expect_json '[.items[].name] == ["ro", "vda"]'
qemu-io -f raw -r -c 'read -P 3 1M 64k' "$(nbd_uri vdb@g4)" | grep -q '^read 65536' ||
    fail "a frozen member went with its device"
