#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An image that a QEMU has open for writing can be attached neither for writing nor for reading, nor
# be a backing file; one that a QEMU only reads can be attached for reading and be a backing file.
# The refusal names the image and the reason. A daemon that finds an image locked at start-up serves
# all its other devices.
. "$(dirname "$0")/../lib/functions.sh"

qemu_opens() { # FORMAT IMAGE [OPTION]: and keeps it open until qemu_closes
    rm -f "$TMP/pid"
    spawn qemu-storage-daemon --pidfile "$TMP/pid" \
        --blockdev "file,node-name=file,filename=$IMAGES/$2${3-}" \
        --blockdev "$1,node-name=top,file=file${3-}" \
        --nbd-server "addr.type=unix,addr.path=$TMP/qemu.sock" \
        --export "nbd,id=e,node-name=top,writable=$([ -n "${3-}" ] && echo off || echo on)"
    wait_until test -s "$TMP/pid"
}
qemu_closes() {
    kill "$SPAWNED"
    wait "$SPAWNED" || true
}

attach() { # NAME IMAGE FORMAT READ_ONLY STATUS [REASON]
    api POST /devices "{\"name\":\"$1\",\"image\":\"$2\",\"format\":\"$3\",\"read_only\":$4}"
    expect_status "$5"
    if [ "$5" = 422 ]; then
        expect_json '.code == "OpenFileFailed" and (.detail | contains($image) and contains($why))' \
            --arg image "'$IMAGES/${7-$2}' is locked by another process, $(cat "$TMP/pid") (qemu-storage-da), which" --arg why "$6"
    else
        api DELETE "/devices/$1"
        expect_status 204
    fi
}

cd "$IMAGES"
qemu-img create -q -f raw base.raw 4M
qemu-img create -q -f qcow2 base.qcow2 4M
for format in raw qcow2; do
    qemu-img create -q -f qcow2 -b "base.$format" -F "$format" "on-$format.qcow2"
done
start_daemon
create_device vdz raw 1M
for format in raw qcow2; do
    qemu_opens "$format" "base.$format"
    attach vda "base.$format" "$format" false 422 'open for writing'
    attach vda "base.$format" "$format" true 422 'open for writing'
    attach vda "on-$format.qcow2" qcow2 false 422 'open for writing' "base.$format"
    qemu_closes
    attach vda "base.$format" "$format" false 201
done

qemu_opens qcow2 base.qcow2 ,read-only=on
attach vda base.qcow2 qcow2 false 422 'lets nobody else write'
attach vda base.qcow2 qcow2 true 201
attach vda on-qcow2.qcow2 qcow2 false 201
qemu_closes

create_device vdy qcow2 1M
stop_daemon
qemu_opens qcow2 vdy.qcow2
start_daemon
api GET /devices/vdy
expect_json '.state == "failed" and (.reason | contains("is locked by another process"))'
api GET /devices/vdz
expect_json '.state == "online"'
qemu_closes
restart_daemon
api GET /devices/vdy
expect_json '.state == "online"'
