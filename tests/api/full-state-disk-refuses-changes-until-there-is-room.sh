#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# While the database cannot grow, changes fail (507 StoreFailed) and are undone, and I/O continues.
# Once there is space, everything works without a restart, and the same after one.
. "$(dirname "$0")/../lib/mounts.sh"
mount_tmpfs "$STATE" size=2m
start_daemon
create_device vda raw 1M
create_device vdb raw 1M
head -c 4194304 /dev/zero >"$STATE/filler" 2>/dev/null || true # as much as there is room for

created=()
refusals=0
for n in $(seq 300); do
    api POST /devices "{\"name\":\"d$n\",\"image\":\"d$n\",\"format\":\"raw\",\"size_bytes\":512}"
    case $STATUS in
    201) created+=("d$n") ;;
    507 | 503)
        expect_json '.code == "StoreFailed" and .retryable == true'
        refusals=$((refusals + 1))
        ;;
    *) fail "status $STATUS: $BODY" ;;
    esac
    [ "$refusals" -lt 5 ] || break
done
[ "$refusals" -eq 5 ] || fail "the disk never was full"
api POST /snapshot-groups '{"name":"g","devices":[{"device":"vda"},{"device":"vdb"}]}'
[[ $STATUS =~ ^50[37]$ ]] || fail "a group on a full state disk: $STATUS: $BODY"
expect_json '.code == "StoreFailed"'
qemu-io -f raw -c 'write -P 5 0 64k' -c flush "$(nbd_uri vda)" | grep -q '^wrote 65536' || fail "I/O stopped"

agree() { # Devices are those that were told to be created, files are their images.
    api GET '/devices?limit=1000'
    expect_status 200
    expect_json '[.items[].name] == ([$ARGS.positional[]] + ["vda", "vdb"] | sort)' --args ${created[@]+"${created[@]}"}
    expect_json 'all(.items[]; .state == "online")'
    diff <(jq -r '.items[].image' <<<"$BODY" | sort) <(find "$IMAGES" -type f | sort) || fail "files and devices differ"
}
rm "$STATE/filler"
api GET /readyz
expect_status 200
agree
api GET /snapshot-groups
expect_json 'all(.items[]; .state == "aborted")'
create_device later raw 1M
created+=(later)
agree
restart_daemon
agree
