#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A frozen image, and every image beneath it, is not attached for writing: under its name, through a
# hard link or another name, while its device exists, after a restart, and after the device is
# deleted. It can be attached read-only, and the content of the frozen member does not change.
. "$(dirname "$0")/../lib/functions.sh"

refused() { # IMAGE FORMAT
    api POST /devices "{\"name\":\"w\",\"image\":\"$1\",\"format\":\"$2\"}"
    expect_status 409
    expect_json '.code == "ImageInUse" and (.detail | contains("frozen"))'
}

all_are_refused() {
    refused vda.qcow2 qcow2
    refused link.qcow2 qcow2
    refused base.raw raw
    refused base-link.raw raw
}

start_daemon
qemu-img create -q -f raw "$IMAGES/base.raw" 8M
qemu-io -f raw -c 'write -P 7 0 1M' "$IMAGES/base.raw" >/dev/null
qemu-img create -q -f qcow2 -b base.raw -F raw "$IMAGES/vda.qcow2"
api POST /devices '{"name":"vda","image":"vda.qcow2","format":"qcow2"}'
expect_status 201
qemu-io -f raw -c 'write -P 1 0 64k' "$(nbd_uri vda)" >/dev/null
snapshot g vda
frozen=$(nbdcopy "$(nbd_uri vda@g)" - | sha256sum)
ln "$IMAGES/vda.qcow2" "$IMAGES/link.qcow2"
ln "$IMAGES/base.raw" "$IMAGES/base-link.raw"
api POST /devices '{"name":"w","image":"link.qcow2","format":"qcow2"}'
expect_status 409 # by vda, which reads it

restart_daemon
api DELETE /devices/vda
expect_status 204
all_are_refused
restart_daemon
all_are_refused
mv "$IMAGES/vda.qcow2" "$IMAGES/renamed.qcow2"
refused renamed.qcow2 qcow2
mv "$IMAGES/renamed.qcow2" "$IMAGES/vda.qcow2"

api POST /devices '{"name":"r","image":"link.qcow2","format":"qcow2","read_only":true}'
expect_status 201
[ "$(nbdcopy "$(nbd_uri vda@g)" - | sha256sum)" = "$frozen" ] || fail 'vda@g has changed'
# A copy is another file.
cp "$IMAGES/base.raw" "$IMAGES/copy.raw"
api POST /devices '{"name":"copy","image":"copy.raw","format":"raw"}'
expect_status 201
