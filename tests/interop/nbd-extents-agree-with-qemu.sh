#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# nbdinfo --map and qemu-img map show the same data, holes, zeros and depths for a chain whether
# snapgroupd or qemu-nbd serves it, and its content agrees. vdc is a chain of ten images with all
# cluster sizes and several lengths, with subclusters and compressed clusters, filled at random
# (SEED repeats a run).
. "$(dirname "$0")/../lib/functions.sh"

size=$((8 << 20))
start_daemon
create_device vda qcow2 $size
qemu-io -f raw -c 'write -P 1 0 1M' -c 'write -P 2 3M 1M' -c 'write -z 4M 512k' "$(nbd_uri vda)" >/dev/null
snapshot first vda
qemu-io -f raw -c 'write -P 3 64k 128k' -c 'write -P 4 6M 256k' -c 'write -z 3M 256k' "$(nbd_uri vda)" >/dev/null
snapshot second vda
qemu-io -f raw -c 'write -P 5 7M 64k' -c 'write -P 6 128k 64k' "$(nbd_uri vda)" >/dev/null
truncate -s $size "$IMAGES/vdb.raw"
qemu-io -f raw -c 'write -P 9 1M 1M' -c 'write -P 9 5M 64k' "$IMAGES/vdb.raw" >/dev/null
api POST /devices '{"name":"vdb","image":"vdb.raw","format":"raw"}'
expect_status 201

RANDOM=${SEED:-1}

# fill IMAGE SIZE: a few dozen requests, of whole and of broken clusters
fill() {
    local verbs=('write -P 7' 'write -P 9' 'write -z' 'write -zu' 'write -c -P 5' discard) commands=() i verb at length
    for ((i = 0; i < 30; i++)); do
        verb=${verbs[RANDOM % 6]}
        at=$((RANDOM * 997 % ($2 / 65536) * 65536 + (RANDOM % 2) * (RANDOM % 128) * 512))
        length=$(((RANDOM % 64 + 1) * (RANDOM % 2 ? 512 : 16384)))
        [ "$verb" != 'write -c -P 5' ] || { at=$((at / 65536 * 65536)) length=65536; }
        [ $((at + length)) -le "$2" ] || length=$(($2 - at))
        commands+=(-c "$verb $at $length")
    done
    qemu-io -f qcow2 -d unmap "${commands[@]}" "$1" >/dev/null 2>&1 || true # QEMU refuses some that are compressed
}

backing=()
options=(cluster_size=64k cluster_size=64k,extended_l2=on cluster_size=2M cluster_size=4k cluster_size=512)
sizes=(64M 64M 48M 80M 64M)
for i in 0 1 2 3 4 5 6 7 8 9; do
    image=$IMAGES/c$i.qcow2 size=${sizes[i % 5]}
    qemu-img create -q -f qcow2 -o "${options[i % 5]}" "${backing[@]}" "$image" "$size"
    fill "$image" $((${size%M} << 20))
    backing=(-b "c$i.qcow2" -F qcow2)
done
api POST /devices '{"name":"vdc","image":"c9.qcow2","format":"qcow2"}'
expect_status 201

# merged CONTEXT URI: its map with neighbours of one kind joined
merged() {
    nbdinfo --map="$1" --json "$2" | jq -c 'reduce .[] as $e ([];
        if length > 0 and .[-1].type == $e.type then .[-1].length += $e.length
        else . + [{offset: $e.offset, length: $e.length, type: $e.type}] end)'
}

top() {
    api GET /devices/"$1"
    jq -r .top <<<"$BODY"
}

compare() { # NAME FORMAT
    local ours theirs context image
    image=$(top "$1")
    spawn qemu-nbd --read-only --persistent --shared=8 --allocation-depth -k "$TMP/$1.sock" --pid-file "$TMP/$1.pid" \
        --image-opts "driver=$2,force-share=on,file.driver=file,file.filename=$image"
    wait_until test -f "$TMP/$1.pid"
    theirs="nbd+unix:///?socket=$TMP/$1.sock"
    for context in base:allocation qemu:allocation-depth; do
        ours=$(merged $context "$(nbd_uri "$1")")
        [ "$ours" = "$(merged $context "$theirs")" ] ||
            fail "$1: $context is $ours here, $(merged $context "$theirs") with qemu-nbd"
    done
    qemu-img map --output=json -f raw "$(nbd_uri "$1")" | jq -c 'map({start, length, zero, data})' >"$TMP/ours"
    qemu-img map --output=json -f raw "$theirs" | jq -c 'map({start, length, zero, data})' >"$TMP/theirs"
    cmp "$TMP/ours" "$TMP/theirs" || fail "$1: $(cat "$TMP/ours") is not $(cat "$TMP/theirs")"
}

qemu-io -f raw -c flush "$(nbd_uri vda)"
compare vda qcow2
compare vdb raw
compare vdc qcow2

# A copy of holes takes no space, whoever copies.
qemu-img convert -f raw -O raw "$(nbd_uri vdb)" "$TMP/convert"
nbdcopy "$(nbd_uri vdb)" "$TMP/nbdcopy"
for copy in convert nbdcopy; do
    cmp "$TMP/$copy" "$IMAGES/vdb.raw"
    [ "$(stat -c %b "$TMP/$copy")" -le $(((1 << 20 | 65536) / 512 + 256)) ] || fail "$copy is not sparse"
done
stop_daemon
