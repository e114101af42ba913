#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# While the database's disk is full, a detach fails and changes nothing: the device is listed,
# exported and writable, also after a restart. Once there is space, it can be detached.
. "$(dirname "$0")/../lib/mounts.sh"
mount_tmpfs "$STATE" size=2m
start_daemon
for n in $(seq 20); do
    create_device "d$n" raw 64K
done
head -c 4194304 /dev/zero >"$STATE/filler" 2>/dev/null || true # as much as there is room for

refused='' detached=0
for n in $(seq 20); do
    api DELETE "/devices/d$n"
    case $STATUS in
    204) detached=$((detached + 1)) ;;
    503 | 507)
        expect_json '.code == "StoreFailed"'
        refused=d$n
        break
        ;;
    *) fail "status $STATUS: $BODY" ;;
    esac
    head -c 4194304 /dev/zero >>"$STATE/filler" 2>/dev/null || true
done
[ -n "$refused" ] || fail "the disk never was full"

served() {
    api GET "/devices/$refused"
    expect_status 200
    expect_json '.state == "online"'
    qemu-io -f raw -c 'write -P 5 0 64k' -c flush "$(nbd_uri "$refused")" | grep -q '^wrote 65536' || fail "I/O stopped"
}
served
delete_device "$refused"
[[ $STATUS =~ ^50[37]$ ]] || fail "a second time: $STATUS: $BODY"
served
rm "$STATE/filler"
wait_until eval 'api GET /readyz && [ "$STATUS" = 200 ]'
restart_daemon
served
delete_device "$refused"
expect_status 204
api GET '/devices?limit=1000'
expect_json '.items | length == $left' --argjson left $((19 - detached))
