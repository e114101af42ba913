#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A group in state `committing` at a start moves the top of a device only from the image that it
# froze, and only of the device that it froze: the top of a later group stays, and so does a device
# of the same name that was attached since. Several such rows are applied oldest first.
. "$(dirname "$0")/../lib/functions.sh"
DB=$STATE/snapgroupd.db
start_daemon
create_device vda qcow2 1M
create_device vdb raw 1M
put() { qemu-io -f raw -c "write -P $2 0 64k" -c flush "$(nbd_uri "$1")" | grep -q '^wrote 65536' || fail "write $2"; }
holds() { qemu-io -f raw -r -c "read -P $2 0 64k" "$(nbd_uri "$1")" | grep -q '^read 65536' || fail "$1 lost $2"; }
holds_top() { api GET "/devices/$1" && expect_json '.top == $top and .state == "online"' --arg top "$IMAGES/$2"; }
rewrite() {
    stop_daemon
    sqlite3 "$DB" "$1"
    start_daemon
    [ "$(sqlite3 -readonly "$DB" "SELECT group_concat(DISTINCT state) FROM groups")" = committed ] || fail "after: $1"
}
put vda 1
snapshot g1 vda vdb
put vda 2
snapshot g2 vda
put vda 3

COMMITTING="UPDATE members SET is_settled = 0; UPDATE groups SET state = 'committing'"
rewrite "$COMMITTING WHERE name = 'g1'"
holds_top vda vda+g2.qcow2
holds_top vdb vdb+g1.qcow2
holds vda 3

rewrite "$COMMITTING; UPDATE devices SET top = image, top_format = format"
holds_top vda vda+g2.qcow2
holds_top vdb vdb+g1.qcow2
holds vda 3
holds vda@g2 2
holds vda@g1 1

# Another device of the name of the one that was frozen.
delete_device vda
expect_status 204
create_device vda qcow2 1M '{"image":"other.qcow2"}'
put vda 7
rewrite "$COMMITTING WHERE name = 'g1'"
holds_top vda other.qcow2
holds vda 7
