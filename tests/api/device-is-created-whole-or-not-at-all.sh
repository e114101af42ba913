#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# size_bytes creates the image, rounded up to 512; a failed creation leaves no file and no device.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon

create() { # FORMAT SIZE
    api POST /devices "{\"name\":\"d-$1-$2\",\"image\":\"d-$1-$2\",\"format\":\"$1\",\"size_bytes\":$2}"
}

while read -r size rounded; do
    for format in raw qcow2; do
        create "$format" "$size"
        expect_status 201
        expect_json '.size_bytes == $n and .read_only == false' --argjson n "$rounded"
        shown=$(qemu-img info --force-share --output=json -f "$format" "$IMAGES/d-$format-$size" |
            jq '."virtual-size"')
        [ "$shown" = "$rounded" ] || fail "$format of $size bytes: qemu-img sees $shown"
    done
done <<'SIZES'
1 512
512 512
1000001 1000448
8388608 8388608
SIZES

api POST /devices '{"name":"ro","image":"ro","format":"raw","size_bytes":512,"read_only":true}'
expect_status 422
expect_json '.code == "InvalidValue" and .pointer == "/read_only"'

echo precious >"$IMAGES/exists"
before=$(checksums "$IMAGES")
while read -r status code pointer body; do
    api POST /devices "$body"
    expect_status "$status"
    expect_json '.code == $code and .pointer == $pointer' --arg code "$code" --arg pointer "$pointer"
    [ "$before" = "$(checksums "$IMAGES")" ] || fail "$body left or changed a file"
    [ "$(jq -r .name <<<"$body")" = d-raw-512 ] && continue
    api GET "/devices/$(jq -r .name <<<"$body")"
    expect_status 404
done <<'TABLE'
422 OpenFileFailed /image {"name":"a","image":"exists","format":"raw","size_bytes":512}
422 OpenFileFailed /image {"name":"a","image":"exists","format":"qcow2","size_bytes":512}
422 OpenFileFailed /image {"name":"a","image":"no/such/directory","format":"raw","size_bytes":512}
422 OpenFileFailed /image {"name":"a","image":"../outside","format":"raw","size_bytes":512}
422 OpenFileFailed /image {"name":"a","image":"/etc/snapgroupd-outside","format":"raw","size_bytes":512}
422 OpenFileFailed /image {"name":"a","image":"","format":"raw","size_bytes":512}
422 InvalidBlockFormat /format {"name":"a","image":"new","format":"vmdk","size_bytes":512}
422 OpenFileFailed /image {"name":"a","image":"absent","format":"raw"}
422 InvalidBlockFormat /image {"name":"a","image":"exists","format":"qcow2"}
422 InvalidBlockFormat /format {"name":"a","image":"exists","format":"RAW"}
409 DeviceExists /name {"name":"d-raw-512","image":"new","format":"raw","size_bytes":512}
409 DeviceExists /name {"name":"d-raw-512","image":"exists","format":"raw"}
409 ImageInUse /image {"name":"a","image":"d-raw-512","format":"raw"}
TABLE
