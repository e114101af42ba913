#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A detach that is interrupted by a kill is finished by the next start: the row in state `detaching`
# is deleted, the image keeps all acknowledged data, and the name is free.
. "$(dirname "$0")/../lib/functions.sh"
DB=$STATE/snapgroupd.db
start_daemon
create_device vda qcow2 1M
create_device vdb qcow2 1M
qemu-io -f raw -c 'write -P 5 0 64k' "$(nbd_uri vda)" | grep -q '^wrote 65536' || fail write
kill_daemon
sqlite3 "$DB" "UPDATE devices SET state = 'detaching' WHERE name = 'vda'"
start_daemon
api GET /devices/vda
expect_status 404
api GET /devices
expect_json '[.items[].name] == ["vdb"]'
[ "$(sqlite3 -readonly "$DB" 'SELECT group_concat(name) FROM devices')" = vdb ] || fail "the row is still there"
qemu-io -f qcow2 -r -c 'read -P 5 0 64k' "$IMAGES/vda.qcow2" | grep -q '^read 65536' || fail "acknowledged data is lost"
api POST /devices '{"name":"vda","image":"vda.qcow2","format":"qcow2"}'
expect_status 201
