#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# nbdcopy (many connections, many requests under way) and qemu-img convert, into and out of disks of both formats:
# what comes out is what went in, and the image behind holds it too.
. "$(dirname "$0")/../lib/functions.sh"

# Data and holes, some of them ending at no block's end.
truncate -s 48M "$TMP/wanted"
for spot in 0:3000000 5000001:777 20000000:9000000 50331000:648; do
    head -c "${spot#*:}" /dev/urandom |
        dd of="$TMP/wanted" bs=64k oflag=seek_bytes seek="${spot%:*}" conv=notrunc status=none
done

start_daemon
create_device vda raw 48M
create_device vdb qcow2 48M
create_device vdc raw 48M
create_device vdd qcow2 48M

same() {
    cmp "$1" "$TMP/wanted" || fail "$1 is not what was copied"
}

for name in vda vdb; do
    nbdcopy --connections=4 --requests=16 --flush "$TMP/wanted" "$(nbd_uri $name)"
    nbdcopy --connections=4 --requests=16 "$(nbd_uri $name)" "$TMP/$name.nbdcopy"
    same "$TMP/$name.nbdcopy"
    nbdcopy --synchronous "$(nbd_uri $name)" "$TMP/$name.nbdcopy"
    same "$TMP/$name.nbdcopy"
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
