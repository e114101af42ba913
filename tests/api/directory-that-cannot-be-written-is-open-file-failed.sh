#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# On a read-only file system and on a full one (507) a group fails with OpenFileFailed, the text of
# the errno and the member. No file is left, and afterwards the devices can be frozen.
. "$(dirname "$0")/../lib/mounts.sh"
mount_tmpfs "$IMAGES/readonly" ro
mount_tmpfs "$IMAGES/full" size=64k
head -c 65536 /dev/zero >"$IMAGES/full/filler"
start_daemon
create_device vda qcow2 16M
create_device vdb qcow2 16M
before=$(checksums "$IMAGES")

refused() { # STATUS TEXT SNAPSHOT_FILE
    api POST /snapshot-groups "{\"devices\":[{\"device\":\"vda\"},{\"device\":\"vdb\",\"snapshot_file\":\"$3\"}]}"
    [ "$STATUS" = "$1" ] || fail "$3: status $STATUS: $BODY"
    expect_json '.code == "OpenFileFailed" and .pointer == "/devices/1/snapshot_file" and .device == "vdb"'
    expect_json '.detail | contains($text)' --arg text "$2"
    [ "$before" = "$(checksums "$IMAGES")" ] || fail "$3: something was left"
}
refused 422 'Read-only file system' readonly/x
refused 507 'No space left on device' full/x
expect_json '.status == 507 and .title == "Insufficient Storage" and .retryable'

api POST /devices '{"name":"vdc","image":"full/c","format":"qcow2","size_bytes":1048576}'
expect_status 507
expect_json '.code == "OpenFileFailed" and .pointer == "/image" and .device == "vdc"'
[ "$before" = "$(checksums "$IMAGES")" ] || fail "a disk that was not created left something"

api GET /snapshot-groups
expect_json '[.items[].error.status] == [507, 422]'
rm "$IMAGES/full/filler"
mkdir "$IMAGES/writable"
api POST /snapshot-groups '{"devices":[{"device":"vda"},{"device":"vdb","snapshot_file":"writable/x"}]}'
expect_status 201
