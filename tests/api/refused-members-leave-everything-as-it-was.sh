#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every case in which a member cannot be frozen, as the second of three: status, code, device and pointer are right,
# no file appears or changes, and afterwards the three devices can be frozen.
. "$(dirname "$0")/../lib/functions.sh"

cd "$IMAGES"
mkdir sub "$TMP/outside"
qemu-img create -q -f qcow2 base.qcow2 16M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 vdb.qcow2 16M
qemu-img create -q -f raw ro.raw 1M
echo precious >exists
echo precious >"$TMP/outside/precious"
ln -s vdb.qcow2 link-to-active
ln vdb.qcow2 hard-link-to-active
ln -s absent dangling
ln -s "$TMP/outside" out
mkfifo fifo
start_daemon
create_device vda qcow2 16M
create_device vdc raw 8M
api POST /devices '{"name":"vdb","image":"vdb.qcow2","format":"qcow2"}'
expect_status 201
api POST /devices '{"name":"ro","image":"ro.raw","format":"raw","read_only":true}'
expect_status 201
name255=$(printf 'n%.0s' $(seq 255))
before=$(checksums "$IMAGES" && checksums "$TMP/outside")

# STATUS CODE POINTER-BELOW-THE-MEMBER WHAT-DETAIL-SAYS MEMBER
while read -r status code pointer says member; do
    api POST /snapshot-groups "{\"name\":\"g\",\"devices\":[{\"device\":\"vda\"},$member,{\"device\":\"vdc\"}]}"
    [ "$STATUS" = "$status" ] || fail "$member: status $STATUS: $BODY"
    expect_json '.code == $code and .pointer == "/devices/1" + ($pointer | ltrimstr("-"))' \
        --arg code "$code" --arg pointer "$pointer"
    expect_json '.device == $device' --arg device "$(jq -r .device <<<"$member")"
    expect_json '.detail | test($says; "i")' --arg says "${says//_/ }"
    [ "$before" = "$(checksums "$IMAGES" && checksums "$TMP/outside")" ] || fail "$member changed files"
done <<TABLE
404 DeviceNotFound - no_device {"device":"nope"}
404 DeviceNotFound - no_device {"device":"vda@g"}
404 DeviceNotFound - no_device {"device":""}
422 DeviceIsReadOnly - read-only {"device":"ro"}
422 InvalidBlockFormat /format unknown_format {"device":"vdb","format":"vmdk"}
422 InvalidBlockFormat /format unknown_format {"device":"vdb","format":""}
422 InvalidBlockFormat /format backing {"device":"vdb","format":"raw"}
422 OpenFileFailed /snapshot_file file_exists {"device":"vdb","snapshot_file":"exists"}
422 OpenFileFailed /snapshot_file twice {"device":"vdb","snapshot_file":"vda.g.qcow2"}
422 OpenFileFailed /snapshot_file twice {"device":"vdb","snapshot_file":"./sub/../vda.g.qcow2"}
422 OpenFileFailed /snapshot_file active_image {"device":"vdb","snapshot_file":"vdb.qcow2"}
422 OpenFileFailed /snapshot_file active_image {"device":"vdb","snapshot_file":"vda.qcow2"}
422 OpenFileFailed /snapshot_file backing_file {"device":"vdb","snapshot_file":"base.qcow2"}
422 OpenFileFailed /snapshot_file active_image {"device":"vdb","snapshot_file":"link-to-active"}
422 OpenFileFailed /snapshot_file active_image {"device":"vdb","snapshot_file":"hard-link-to-active"}
422 OpenFileFailed /snapshot_file file_exists {"device":"vdb","snapshot_file":"dangling"}
422 OpenFileFailed /snapshot_file file_exists {"device":"vdb","snapshot_file":"fifo"}
422 OpenFileFailed /snapshot_file file_exists {"device":"vdb","snapshot_file":"sub"}
422 OpenFileFailed /snapshot_file no_such_file {"device":"vdb","snapshot_file":"absent/x"}
422 OpenFileFailed /snapshot_file not_a_directory {"device":"vdb","snapshot_file":"exists/x"}
422 OpenFileFailed /snapshot_file name_too_long {"device":"vdb","snapshot_file":"${name255}n"}
422 OpenFileFailed /snapshot_file outside|beneath|out_of {"device":"vdb","snapshot_file":"../x"}
422 OpenFileFailed /snapshot_file outside|beneath|out_of {"device":"vdb","snapshot_file":"sub/../../x"}
422 OpenFileFailed /snapshot_file outside|beneath|out_of {"device":"vdb","snapshot_file":"$TMP/outside/x"}
422 OpenFileFailed /snapshot_file outside|beneath|out_of {"device":"vdb","snapshot_file":"out/x"}
422 OpenFileFailed /snapshot_file outside|beneath|out_of {"device":"vdb","snapshot_file":"/etc/x"}
422 OpenFileFailed /snapshot_file names_no_file {"device":"vdb","snapshot_file":""}
422 OpenFileFailed /snapshot_file names_no_file {"device":"vdb","snapshot_file":"sub/"}
422 OpenFileFailed /snapshot_file names_no_file {"device":"vdb","snapshot_file":"sub/.."}
TABLE

snapshot g vda vdb vdc
api POST /snapshot-groups "{\"name\":\"h\",\"devices\":[{\"device\":\"vda\",\"snapshot_file\":\"$name255\"}]}"
expect_status 201
