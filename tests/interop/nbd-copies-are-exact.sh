#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Copies by nbdcopy (many connections and requests) and qemu-img convert, to and from disks of both
# formats, are exact, and so are the images.
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/copies.sh"

# Data and holes, some of them ending at no block's end.
make_wanted 48M 0:3000000 5000001:777 20000000:9000000 50331000:648

start_daemon
create_device vda raw 48M
create_device vdb qcow2 48M
create_device vdc raw 48M
create_device vdd qcow2 48M

for name in vda vdb; do
    copy_there_and_back "$(nbd_uri $name)"
done
for name in vdc vdd; do
    qemu-img convert -n -f raw -O raw "$TMP/wanted" "$(nbd_uri $name)"
    qemu-img convert -m 16 -W -f raw -O raw "$(nbd_uri $name)" "$TMP/$name.convert"
    same "$TMP/$name.convert"
    qemu-img compare -f raw -F raw "$TMP/wanted" "$(nbd_uri $name)"
done
nbdcopy "$(nbd_uri vda)" "$(nbd_uri vdd)"
qemu-img compare -f raw -F raw "$(nbd_uri vdb)" "$(nbd_uri vdd)"

stop_daemon
for image in "$IMAGES"/*.raw "$IMAGES"/*.qcow2; do
    qemu-img compare -f raw -F "${image##*.}" "$TMP/wanted" "$image"
done
qcow2_check "$IMAGES/vdb.qcow2"
qcow2_check "$IMAGES/vdd.qcow2"
