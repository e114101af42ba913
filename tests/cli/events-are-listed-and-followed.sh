#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# Events are listed over pages as one list, and followed: those to come, or all after an id, each
# once, across a restart and a kill of the daemon; a reader that has enough ends it.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon
expect_ctl 0 device create vda --size 1M
for i in $(seq 8); do
    expect_ctl 0 device update vda --label "n=$i"
done

expect_ctl 0 events -o json
expect_output '[.items[].kind] == ["recovery.done", "device.attached"] + [range(8) | "device.updated"] and .next == null'
expect_ctl 0 events --kind device.attached
[ "$(grep -c . <<<"$OUTPUT")" = 2 ] || fail "table: $OUTPUT"
expect_ctl 0 events --after 3 --limit 2 -o name
[ "$OUTPUT" = $'4\n5' ] || fail "names: $OUTPUT"
expect_ctl 0 events --follow --after 1 --limit 9 -o json
[ "$(jq -s 'map(.id) | tostring' -r <<<"$OUTPUT")" = '[2,3,4,5,6,7,8,9,10]' ] || fail "followed: $OUTPUT"
expect_ctl 0 events --follow --timeout 3
[ -z "$OUTPUT" ] || fail "old events: $OUTPUT"
expect_ctl 1 events --follow --kind nothing

"$SNAPGROUPCTL" --socket "$RUNTIME/api.sock" events --follow --after 10 -o json >"$TMP/followed" 2>"$TMP/errors" &
follower=$!
# All that the daemon has recorded by now.
has_seen_all() {
    api GET '/events?after=10'
    [ "$(jq -s 'map(.id)' -c "$TMP/followed")" = "$(jq '.items | map(.id)' -c <<<"$BODY")" ]
}
expect_ctl 0 device update vda --label n=9
wait_until has_seen_all
restart_daemon
expect_ctl 0 device update vda --label n=10
wait_until has_seen_all
kill_daemon
start_daemon
expect_ctl 0 device update vda --label n=11
wait_until has_seen_all
kill "$follower"
wait "$follower" || true
[ "$(wc -l <"$TMP/followed")" = 5 ] || fail "followed: $(cat "$TMP/followed")"

# A reader that ends: after what it wants, and while nothing happens.
"$SNAPGROUPCTL" --socket "$RUNTIME/api.sock" events --follow --after 0 | head -n 1 >/dev/null
"$SNAPGROUPCTL" --socket "$RUNTIME/api.sock" events --follow | true
