#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A failed attempt is recorded with its problem; its name is free; none of its files stays. Invalid
# lists are not recorded.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon
create_device vda qcow2 16M
create_device vdb qcow2 16M
echo precious >"$IMAGES/taken"
before=$(checksums "$IMAGES")

api POST /snapshot-groups '{"name":"g","devices":[{"device":"vda"},
    {"device":"vdb","snapshot_file":"taken"},{"device":"nope"}],"labels":{"k":"v"}}'
expect_status 422
expect_json '.code == "OpenFileFailed" and .device == "vdb" and .pointer == "/devices/1/snapshot_file"'
expect_json '.snapshot_file == $f and (.detail | contains("File exists"))' --arg f "$IMAGES/taken"
problem=$(jq --compact-output 'del(.request_id)' <<<"$BODY")

api GET /snapshot-groups
expect_json '.next == null and (.items | length) == 1'
expect_json '.items[0] | .state == "aborted" and .name == "g" and .cut_at == null and .pause_us == null
    and .labels == {k:"v"} and .error == $problem' --argjson problem "$problem"
expect_json '[.items[0].members[] | [.device, .backing_file, .snapshot_file, .pause_us]] ==
    [["vda", null, $d + "/vda+g.qcow2", null], ["vdb", null, $d + "/taken", null],
     ["nope", null, $d + "/nope+g.qcow2", null]]' --arg d "$IMAGES"
id=$(jq -r '.items[0].id' <<<"$BODY")
api GET "/snapshot-groups/$id"
expect_status 200
api GET /snapshot-groups/g
expect_status 404

api POST /snapshot-groups '{"name":"g","devices":[]}'
expect_status 422
api POST /snapshot-groups '{"name":"g","devices":[{"device":"vda"},{"device":"vda"}]}'
expect_status 422
expect_json '.code == "DuplicateDevice" and .device == "vda" and (.detail | test("\\b0\\b.*\\b1\\b"))'
api GET '/snapshot-groups?state=aborted'
expect_json '[.items[].id] == [$id]' --arg id "$id"
[ "$before" = "$(checksums "$IMAGES")" ] || fail "files changed"

restart_daemon
api GET "/snapshot-groups/$id"
expect_json '.error == $problem' --argjson problem "$problem"
snapshot g vda vdb
api GET /snapshot-groups/g
expect_json '.state == "committed"'
api GET '/snapshot-groups?state=aborted'
expect_json '[.items[].id] == [$id]' --arg id "$id"
