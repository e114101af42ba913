#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Over a full base, a write of 4 KiB to a fresh overlay allocates 4 KiB, whatever the base holds
# around it, as qemu-img's map and the file system show. With extended_l2 off a whole cluster is
# copied.
. "$(dirname "$0")/../lib/functions.sh"

OFFSETS='0 4096 135168 1048576 20000768 67104768'

# What of the overlay is its own, as [start,length] lists.
own_extents() {
    qemu-img map --force-share --output=json "$IMAGES/$1" |
        jq -c '[.[] | select(.depth == 0 and .data) | [.start, .length]]'
}

start_daemon
create_device thin qcow2 64M
create_device plain qcow2 64M '{"extended_l2":false}'
for name in thin plain; do
    qemu-io -f raw -c 'write -P 3 0 64M' -c flush "$(nbd_uri "$name")" >/dev/null
done
snapshot g thin plain
for name in thin plain; do
    for offset in $OFFSETS; do
        qemu-io -f raw -c "write -P 9 $offset 4k" -c flush "$(nbd_uri "$name")" >/dev/null
    done
done

# Neighbours in the guest and in one cluster are neighbours in the file: one extent.
[ "$(own_extents thin+g.qcow2)" = \
    '[[0,8192],[135168,4096],[1048576,4096],[20000768,4096],[67104768,4096]]' ] ||
    fail "the overlay holds $(own_extents thin+g.qcow2)"
[ "$(own_extents plain+g.qcow2)" = \
    '[[0,65536],[131072,65536],[1048576,65536],[19988480,65536],[67043328,65536]]' ] ||
    fail "the plain overlay holds $(own_extents plain+g.qcow2)"
# 24 KiB of data, and five clusters of 64 KiB at most for the header and the tables: not the five
# clusters as well that the data lie in.
taken=$(($(stat -c %b "$IMAGES/thin+g.qcow2") * 512))
[ "$taken" -le $((5 * 65536 + 24576)) ] || fail "the overlay took $taken bytes"

for name in thin plain; do
    for offset in $OFFSETS; do
        qemu-io -f raw -r -c "read -P 9 $offset 4k" "$(nbd_uri "$name")" | grep -q '^read 4096' || fail "$name $offset"
    done
    qemu-io -f raw -r -c 'read -P 3 8k 120k' -c 'read -P 3 139264 800k' "$(nbd_uri "$name")" |
        grep -c '^read' | grep -qx 2 || fail "$name: what was not written"
    qcow2_check "$IMAGES/$name+g.qcow2"
done
