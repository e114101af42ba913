#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# The commands of devices do what they say, in each form of output: create, attach, list, show,
# update, detach.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon

expect_ctl 0 device create vda --size 64M --label app=db --label 'note=a = b' --cluster-size 128K --extended-l2 no
[ "$(head -n 1 <<<"$OUTPUT" | tr -s ' ')" = 'NAME STATE SIZE FORMAT CHAIN CLIENTS LABELS' ] || fail "titles: $OUTPUT"
api GET /devices/vda
expect_json '.size_bytes == 67108864 and .format == "qcow2" and .cluster_size_bytes == 131072 and .extended_l2 == false and
    .labels == {app: "db", note: "a = b"} and .image == $image' --arg image "$IMAGES/vda.qcow2"
expect_ctl 0 device create vdb --size 1M --format raw --image other.raw -o name
[ "$OUTPUT" = vdb ] || fail "name: $OUTPUT"
truncate -s 2M "$IMAGES/given.raw"
expect_ctl 0 device attach vdc given.raw --format raw --read-only -o json
expect_output '.read_only and .size_bytes == 2097152'

expect_ctl 0 device list -o json
api GET '/devices?limit=1000'
[ "$OUTPUT" = "$BODY" ] || fail "the list is not what came: $OUTPUT"
expect_ctl 0 device list -o name
[ "$OUTPUT" = $'vda\nvdb\nvdc' ] || fail "names: $OUTPUT"
expect_ctl 0 device list --label app=db --state online -o name
[ "$OUTPUT" = vda ] || fail "filtered: $OUTPUT"
expect_ctl 0 device list --limit 2 -o json
expect_output '[.items[].name] == ["vda", "vdb"] and .next != null'
expect_ctl 0 device list
[ "$(grep -c . <<<"$OUTPUT")" = 4 ] && grep -Eq '^vda +online +64M +qcow2 +1 +0 +app=db,note=a = b$' <<<"$OUTPUT" ||
    fail "table: $OUTPUT"
expect_ctl 0 device list -o wide
grep -Eq '^vdc +online +2097152 +raw .* yes ' <<<"$OUTPUT" || fail "wide: $OUTPUT"
expect_ctl 0 device show vda
grep -q '^size_bytes: 67108864$' <<<"$OUTPUT" && grep -q '^  note: a = b$' <<<"$OUTPUT" || fail "shown: $OUTPUT"
expect_ctl 0 device show vda -o json
expect_output '.name == "vda" and .state == "online"'

expect_ctl 0 device update vda --label app=web --unlabel note --unlabel never
api GET /devices/vda
expect_json '.labels == {app: "web"}'
expect_ctl 4 device update vda --label app=x --match '"0-0"'
expect_ctl 2 device update vda
expect_ctl 1 device update vda --allow-client host
expect_ctl 0 device update vda --allow-everybody

expect_ctl 0 device detach vdb
[ -z "$OUTPUT$ERRORS" ] || fail "detach says $OUTPUT$ERRORS"
[ -e "$IMAGES/other.raw" ] || fail 'the image is gone'
expect_ctl 4 device detach vdc --delete-file
expect_ctl 0 device detach vdc --discard-unflushed
expect_ctl 0 device list -o name
[ "$OUTPUT" = vda ] || fail "left: $OUTPUT"

expect_ctl 0 device resize vda 128M -o json
expect_output '.size_bytes == 134217728'
expect_ctl 1 device resize vda 64M
grep -q InvalidValue <<<"$ERRORS" || fail "a smaller size: $ERRORS"
