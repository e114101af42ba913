#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Relative backing names of an image that is opened through a symbolic link are relative to the
# directory of the link, as in QEMU: for a link to the top, one in the middle of a chain, one in a
# directory that is itself a link. Overlays, frozen members and a restart find the same files; a
# link out of the image directory is refused.
. "$(dirname "$0")/../lib/functions.sh"
cd "$IMAGES" || exit
mkdir sub sub/deep
base() { truncate -s 1M "$1" && qemu-io -f raw -c "write -P $2 0 1M" "$1" >/dev/null; }
base base.raw 1
base sub/base.raw 2
base sub/deep/base.raw 3
qemu-img create -q -u -f qcow2 -b base.raw -F raw sub/real.qcow2 1M
ln -s sub/real.qcow2 link.qcow2
ln -s sub/deep directory
ln -s ../real.qcow2 sub/deep/far.qcow2
qemu-img create -q -u -f qcow2 -b sub/deep/far.qcow2 -F qcow2 middle.qcow2 1M
qemu-img create -q -u -f qcow2 -b ../base.raw -F raw sub/deep/up.qcow2 1M
mkdir "$TMP/outside"
ln -s ../images/sub/real.qcow2 "$TMP/outside/back.qcow2"
ln -s ../outside/back.qcow2 out.qcow2

chain() { qemu-img info -U --backing-chain --output json "$1" | jq -c 'map(.filename)' |
    sed "s:$IMAGES/::g" | jq -r '.[]' | xargs realpath | jq -R | jq -sc; }
byte() { qemu-io -U -r -f "${2-qcow2}" -c 'read -v 0 1' "$1" | sed -n 's/^00000000:  \(..\).*/\1/p'; }
served() { byte "$(nbd_uri "$1")" raw; }
attach() {
    api POST /devices "{\"name\": \"$1\", \"image\": \"$2\", \"format\": \"qcow2\"}"
    expect_status 201
}
as_qemu_says() { # DEVICE TOP
    api GET "/devices/$1"
    expect_json '.state == "online" and [.chain[].image] == $expected' --argjson expected "$(chain "$2")"
    [ "$(served "$1")" = "$(byte "$2")" ] || fail "$1 reads $(served "$1"), in QEMU $(byte "$2")"
}

start_daemon
for pair in top:link.qcow2:01 middle:middle.qcow2:03 directory:directory/up.qcow2:02; do
    IFS=: read -r name image expected <<<"$pair"
    [ "$(byte "$image")" = "$expected" ] || fail "$image in QEMU: $(byte "$image")"
    attach "$name" "$image"
    as_qemu_says "$name" "$image"
    for group in g h; do
        api POST /snapshot-groups "{\"name\": \"$name-$group\", \"devices\": [{\"device\": \"$name\",
            \"snapshot_file\": \"sub/deep/$name.$group\"}]}"
        expect_status 201
        as_qemu_says "$name" "sub/deep/$name.$group"
    done
    restart_daemon
    as_qemu_says "$name" "sub/deep/$name.h"
    for group in g h; do
        [ "$(served "$name@$name-$group")" = "$expected" ] || fail "frozen member $name@$name-$group"
    done
    kill_daemon
    restart_daemon
    as_qemu_says "$name" "sub/deep/$name.h"
    api DELETE "/devices/$name"
    expect_status 204
done
api POST /devices '{"name": "out", "image": "out.qcow2", "format": "qcow2"}'
expect_status 422
