#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An image that is renamed, unlinked or replaced under a live device is not frozen under its old
# path: the group is refused and names the image, and I/O continues. A restart serves no other file
# under a recorded path, neither as a device nor as a frozen member, and serves the device again
# once the right file is back. The path of a deleted file is free again. A file system mounted over
# the image directory is reported.
. "$(dirname "$0")/../lib/mounts.sh"

group_is_refused() { # WORDS
    api POST /snapshot-groups '{"name":"no","devices":[{"device":"vda"}]}'
    expect_status 422
    expect_json '.code == "OpenFileFailed" and (.detail | contains($words))' --arg words "$1"
}

start_daemon
create_device vda qcow2 8M
qemu-io -f raw -c 'write -P 1 0 1M' "$(nbd_uri vda)" >/dev/null
mv "$IMAGES/vda.qcow2" "$IMAGES/kept.qcow2"
group_is_refused 'not under this path'
qemu-img create -q -f qcow2 "$IMAGES/vda.qcow2" 8M
group_is_refused 'another file'
qemu-io -f raw -c 'read -P 1 0 1M' -c 'write -P 2 1M 1M' "$(nbd_uri vda)" | grep -qc '^read 1048576' || fail 'the client'

# The same over a restart: the other file is not served, and not touched.
before=$(sha256sum <"$IMAGES/vda.qcow2")
kill_daemon
start_daemon
api GET /devices/vda
expect_json '.state == "failed" and (.reason | contains("not the file that was"))'
[ "$(sha256sum <"$IMAGES/vda.qcow2")" = "$before" ] || fail 'the other file was changed'
mv "$IMAGES/kept.qcow2" "$IMAGES/vda.qcow2"
qemu-io -f raw -c 'read -P 1 0 1M' -c 'read -P 2 1M 1M' "$(nbd_uri vda)" | grep -c '^read 1048576' | grep -qx 2 ||
    fail 'what was acknowledged'

# A frozen member, and what lies beneath the device.
snapshot g vda
mv "$IMAGES/vda.qcow2" "$IMAGES/kept.qcow2"
cp "$IMAGES/kept.qcow2" "$IMAGES/vda.qcow2"
group_is_refused 'another file'
if nbdinfo --size "$(nbd_uri vda@g)" 2>/dev/null; then fail 'vda@g serves another file'; fi
api GET /snapshot-groups/g
expect_json '.members[0].ready_to_use == false'
mv "$IMAGES/kept.qcow2" "$IMAGES/vda.qcow2"
nbdinfo --size "$(nbd_uri vda@g)" >/dev/null || fail 'vda@g is not served'
api GET /snapshot-groups/g
expect_json '.members[0].ready_to_use'
snapshot g2 vda

# Removed for good.
api DELETE /devices/vda
expect_status 204
rm "$IMAGES"/*.qcow2
api GET /snapshot-groups/g
expect_json '.members[0].ready_to_use == false'
create_device vda qcow2 8M
if nbdinfo --size "$(nbd_uri vda@g)" 2>/dev/null; then fail 'vda@g serves a new file'; fi
qemu-io -f raw -c 'write -P 3 0 64k' "$(nbd_uri vda)" >/dev/null
restart_daemon
qemu-io -f raw -c 'read -P 3 0 64k' "$(nbd_uri vda)" | grep -q '^read 65536' || fail 'the new vda'

# Something else in the image directory's place.
nsenter --mount --target "$DAEMON_PID" mount -t tmpfs tmpfs "$IMAGES"
api GET /readyz
expect_status 503
expect_json '.detail | contains("image directory")'
api POST /devices '{"name":"vdb","image":"vdb.qcow2","format":"qcow2","size_bytes":1048576}'
expect_status 422
expect_json '.code == "OpenFileFailed" and (.detail | contains("image directory"))'
group_is_refused 'image directory'
nsenter --mount --target "$DAEMON_PID" umount "$IMAGES"
api GET /readyz
expect_status 200
snapshot g3 vda
