#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# One call freezes two devices: every field of the reply, the files as qemu-img sees them, and the
# tops of the devices.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon
create_device vda qcow2 64M
create_device vdb raw 32M

api POST /snapshot-groups '{"name":"g1","devices":[{"device":"vda"},
    {"device":"vdb","snapshot_file":"vdb.new","format":"qcow2"}],"labels":{"why":"test"}}'
expect_status 201
group=$BODY
expect_json 'keys == (["id","name","kind","rolled_back_to","state","created_at","cut_at","pause_us","sealed_us","duration_us",
    "consistency","members","holds","labels","error"] | sort)'
expect_json '.kind == "snapshot" and .consistency == {requested:"crash", achieved:"crash"} and .holds == []'
expect_json '.name == "g1" and .state == "committed" and .error == null and .labels == {why:"test"}'
expect_json '.id | test("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")'
expect_json '.cut_at > .created_at and .pause_us == 0 and .sealed_us > 0 and .duration_us >= .sealed_us'
expect_json 'all(.members[]; .pause_us == 0 and .copy_wait_us == 0)'
expect_json '.rolled_back_to == null and all(.members[]; .base_file == null)'
expect_json 'all(.members[]; .state == "committed" and .waiting_for == null)'
expect_json 'all(.members[]; .ready_to_use) and
    [.members[] | del(.pause_us, .copy_wait_us, .ready_to_use, .state, .waiting_for, .base_file)] == [
    {device:"vda", backing_file:($d + "/vda.qcow2"), snapshot_file:($d + "/vda+g1.qcow2"), format:"qcow2",
        size_bytes:67108864, clones:[]},
    {device:"vdb", backing_file:($d + "/vdb.raw"), snapshot_file:($d + "/vdb.new"), format:"qcow2",
        size_bytes:33554432, clones:[]}]' \
    --arg d "$IMAGES"
id=$(jq -r .id <<<"$BODY")
grep -qi "^location: /snapshot-groups/$id\$" <<<"$HEADERS" || fail "Location: $HEADERS"

for key in g1 "$id" "${id^^}"; do
    api GET "/snapshot-groups/$key"
    expect_status 200
    [ "$BODY" = "$group" ] || fail "GET $key differs: $BODY"
done

chain() { qemu-img info --force-share --backing-chain --output=json -f qcow2 "$1" |
    jq -c '[.[] | [.filename, .format, ."virtual-size"]]'; }
[ "$(chain "$IMAGES/vda+g1.qcow2")" = \
    "[[\"$IMAGES/vda+g1.qcow2\",\"qcow2\",67108864],[\"$IMAGES/vda.qcow2\",\"qcow2\",67108864]]" ] ||
    fail "chain of vda: $(chain "$IMAGES/vda+g1.qcow2")"
[ "$(chain "$IMAGES/vdb.new")" = \
    "[[\"$IMAGES/vdb.new\",\"qcow2\",33554432],[\"$IMAGES/vdb.raw\",\"raw\",33554432]]" ] ||
    fail "chain of vdb: $(chain "$IMAGES/vdb.new")"
qcow2_check "$IMAGES/vda+g1.qcow2" no-leaks

api GET /devices/vda
expect_json '.image == $d + "/vda.qcow2" and .top == $d + "/vda+g1.qcow2"' --arg d "$IMAGES"
expect_json '[.chain[].image] == [$d + "/vda+g1.qcow2", $d + "/vda.qcow2"]' --arg d "$IMAGES"
api GET /devices/vdb
expect_json '.format == "qcow2" and [.chain[].format] == ["qcow2", "raw"]'

# The name is taken, the id's text is the name if none is given.
before=$(checksums "$IMAGES")
for more in '' ',"snapshot_file":"other"'; do
    api POST /snapshot-groups "{\"name\":\"g1\",\"devices\":[{\"device\":\"vda\"$more}]}"
    expect_status 409
    expect_json '.code == "GroupExists" and .pointer == "/name" and .retryable == false'
done
[ "$before" = "$(checksums "$IMAGES")" ] || fail "a refused group touched files"
api POST /snapshot-groups '{"devices":[{"device":"vda"}]}'
expect_status 201
expect_json '.name == .id and .members[0].snapshot_file == $d + "/vda+" + .id + ".qcow2"' --arg d "$IMAGES"
