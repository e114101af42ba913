#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# cluster_size_bytes and extended_l2 determine the clusters of a created qcow2 image and of every
# overlay of the device, also after a restart. By default overlays have subclusters and created
# images have none. qemu-img confirms it.
. "$(dirname "$0")/../lib/functions.sh"

expect_image() {
    local found
    found=$(qemu-img info --force-share --output=json "$IMAGES/$1" |
        jq -c '[."cluster-size", ."format-specific".data."extended-l2"]')
    [ "$found" = "$2" ] || fail "$1: $found instead of $2"
    qcow2_check "$IMAGES/$1" no-leaks
}

# name | format | fields | the image, if it is qcow2 | the overlays
table='
none|qcow2|{}|[65536,false]|[65536,true]
raw|raw|{}||[65536,true]
plain|qcow2|{"extended_l2":false}|[65536,false]|[65536,false]
extended|qcow2|{"extended_l2":true}|[65536,true]|[65536,true]
large|qcow2|{"cluster_size_bytes":2097152}|[2097152,false]|[2097152,true]
small|qcow2|{"cluster_size_bytes":8192}|[8192,false]|[8192,false]
least|qcow2|{"cluster_size_bytes":512,"extended_l2":false}|[512,false]|[512,false]
rawlike|raw|{"cluster_size_bytes":16384,"extended_l2":true}||[16384,true]
full|qcow2|{"cluster_size_bytes":65536,"extended_l2":true}|[65536,true]|[65536,true]'
rows=$(tail -n +2 <<<"$table")

start_daemon
while IFS='|' read -r name format fields image _; do
    create_device "$name" "$format" 8M "$fields"
    [ -z "$image" ] || expect_image "$name.$format" "$image"
done <<<"$rows"
# Attaching takes the fields too; the image stays as it is.
qemu-img create -q -f qcow2 -o cluster_size=4k "$IMAGES/there.qcow2" 8M
api POST /devices '{"name":"there","image":"there.qcow2","format":"qcow2","cluster_size_bytes":32768}'
expect_status 201
rows+=$'\n''there|qcow2||[4096,false]|[32768,true]'
# Clusters of 512 bytes reach to 128 GiB: larger disks get larger ones.
create_device huge raw 1T '{"cluster_size_bytes":512}'
rows+=$'\n''huge|raw|||[2048,false]'
mapfile -t names < <(cut -d'|' -f1 <<<"$rows")

for round in 1 2; do
    snapshot "g$round" "${names[@]}"
    while IFS='|' read -r name format _ image overlay; do
        api GET "/devices/$name"
        expect_json '[.cluster_size_bytes, .extended_l2] == $overlay' --argjson overlay "$overlay"
        expect_image "$name+g$round.qcow2" "$overlay"
        [ -z "$image" ] || expect_image "$name.$format" "$image"
        [ "$name" = huge ] || qemu-io -f raw -c "write -P $round 70000 3000" "$(nbd_uri "$name")" >/dev/null
    done <<<"$rows"
    restart_daemon
done
for name in "${names[@]}"; do
    [ "$name" = huge ] || qemu-io -f raw -r -c 'read -P 2 70000 3000' -c 'read -P 0 73000 3000' "$(nbd_uri "$name")" |
        grep -c '^read 3000/3000' | grep -qx 2 || fail "$name holds something else"
done
