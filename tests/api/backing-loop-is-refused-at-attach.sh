#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An attach refuses, by name, images that back one another in a circle, a backing file outside the
# image directory, and a backing format that is not recorded.
. "$(dirname "$0")/../lib/functions.sh"

cd "$IMAGES"
for image in a b c self; do
    qemu-img create -q -f qcow2 "$image" 1M
done
qemu-img rebase -u -f qcow2 -b b -F qcow2 a
qemu-img rebase -u -f qcow2 -b c -F qcow2 b
qemu-img rebase -u -f qcow2 -b a -F qcow2 c
qemu-img rebase -u -f qcow2 -b ./self -F qcow2 self
truncate -s 1M "$TMP/secret"
qemu-img create -q -f qcow2 -b "$TMP/secret" -F raw escape-absolute 1M
qemu-img create -q -f qcow2 -b ../secret -F raw escape-relative 1M
qemu-img create -q -u -f qcow2 -b absent -F raw orphan 1M
before=$(checksums "$IMAGES")
start_daemon

while read -r image code says; do
    api POST /devices "{\"name\":\"vda\",\"image\":\"$image\",\"format\":\"qcow2\"}"
    [ "$STATUS" = 422 ] || fail "$image: status $STATUS: $BODY"
    expect_json '(.code | test($code)) and .pointer == "/image" and .device == "vda"' --arg code "^($code)\$"
    expect_json '.detail | test($says; "i")' --arg says "$says"
done <<'TABLE'
a InvalidBlockFormat|OpenFileFailed loop|itself|circle
c InvalidBlockFormat|OpenFileFailed loop|itself|circle
self InvalidBlockFormat|OpenFileFailed loop|itself|circle
escape-absolute OpenFileFailed secret.*(outside|beneath|out.of)
escape-relative OpenFileFailed secret.*(outside|beneath|out.of)
orphan OpenFileFailed absent
TABLE
api GET /devices
expect_json '.items == []'
[ "$before" = "$(checksums "$IMAGES")" ] || fail "a refused image was changed"
