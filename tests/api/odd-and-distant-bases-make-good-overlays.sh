#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A raw base of 1,000,001 bytes is rounded up, and its tail reads as zeros. A base in another
# directory is named so that the chain resolves from the directory of the overlay. A base whose name
# does not fit into a header is refused.
. "$(dirname "$0")/../lib/functions.sh"

head -c 1000001 /dev/urandom >"$IMAGES/odd.raw"
mkdir -p "$IMAGES/a/b" "$IMAGES/c"
cp "$IMAGES/odd.raw" "$IMAGES/a/b/deep.raw"
start_daemon
api POST /devices '{"name":"odd","image":"odd.raw","format":"raw"}'
expect_json '.size_bytes == 1000448'
api POST /devices '{"name":"deep","image":"a/b/deep.raw","format":"raw"}'
expect_status 201
api POST /snapshot-groups '{"name":"g","devices":[{"device":"odd"},
    {"device":"deep","snapshot_file":"c/deep.qcow2"}]}'
expect_status 201

{ cat "$IMAGES/odd.raw" && head -c 447 /dev/zero; } >"$TMP/wanted"
for image in odd+g.qcow2 c/deep.qcow2; do
    (cd / && qemu-img convert --force-share -f qcow2 -O raw "$IMAGES/$image" "$TMP/got")
    cmp "$TMP/wanted" "$TMP/got" || fail "$image differs from its base"
done
for name in odd deep odd@g deep@g; do
    nbdcopy "$(nbd_uri "$name")" "$TMP/got"
    cmp "$TMP/wanted" "$TMP/got" || fail "export $name differs"
done
[ "$(stat -c %s "$IMAGES/odd.raw")" = 1000001 ] || fail "the base has grown"

# Moved as a whole, the tree still holds together: the header's name is relative.
stop_daemon
cp -r "$IMAGES" "$TMP/moved"
qemu-img convert -f qcow2 -O raw "$TMP/moved/c/deep.qcow2" "$TMP/got"
cmp "$TMP/wanted" "$TMP/got" || fail "the moved chain does not resolve"
start_daemon

# 5 x 250 bytes of directories: more than the 1023 that a header can hold.
part=$(printf 'p%.0s' $(seq 249))
far=far/$part/$part/$part/$part/$part
(cd "$IMAGES" && mkdir -p "$far" && cd far && cd "$part/$part" && cd "$part/$part" && cd "$part" && truncate -s 1M base.raw)
api POST /devices "{\"name\":\"far\",\"image\":\"$far/base.raw\",\"format\":\"raw\"}"
expect_status 201
before=$(checksums "$IMAGES")
api POST /snapshot-groups '{"devices":[{"device":"odd"},{"device":"far"}]}'
expect_status 422
expect_json '.code == "OpenFileFailed" and .device == "far" and .pointer == "/devices/1/snapshot_file"'
expect_json '.detail | contains("1023")'
[ "$before" = "$(checksums "$IMAGES")" ] || fail "the refused overlay left something"
api POST /snapshot-groups "{\"devices\":[{\"device\":\"far\",\"snapshot_file\":\"$far/near.qcow2\"}]}"
expect_status 201
