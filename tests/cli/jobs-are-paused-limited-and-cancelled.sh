#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# A delete that is paused stays so, --timeout ends the wait for it (status 5) and not the job, and a
# job that is cancelled ends its wait with status 1. On a terminal there is a bar.
. "$(dirname "$0")/../lib/functions.sh"
# A trigger in the database gives each job a rate of one byte a second: after its first piece it
# waits, until its rate is raised.
start_daemon
stop_daemon
sqlite3 "$STATE/snapgroupd.db" 'CREATE TRIGGER slow AFTER INSERT ON jobs BEGIN
    UPDATE jobs SET rate_bytes_per_second = 1 WHERE id = NEW.id; END'
start_daemon
create_device vda qcow2 1G
snapshot one vda
qemu-io -f raw -c 'write -P 1 0 4M' "$(nbd_uri vda)" >/dev/null
snapshot two vda
qemu-io -f raw -c 'write -P 2 0 4M' "$(nbd_uri vda)" >/dev/null

expect_ctl 0 group delete two --no-wait -o name
job=$OUTPUT
expect_ctl 0 job limit "$job" 2K -o json
expect_output '.rate_bytes_per_second == 2048'
expect_ctl 0 job pause "$job" -o json
is_state() { [ "$("$SNAPGROUPCTL" --socket "$RUNTIME/api.sock" -o json job show "$job" | jq -r .state)" = "$1" ]; }
wait_until is_state paused
expect_ctl 5 job watch "$job" --timeout 3
grep -q 'still paused after --timeout' <<<"$ERRORS" || fail "says $ERRORS"
[ "$(tr -dc '\r\033' <<<"$ERRORS" | wc -c)" = 0 ] || fail 'there is a bar without a terminal'
script --quiet --flush --command "'$SNAPGROUPCTL' --socket '$RUNTIME/api.sock' job watch '$job'" \
    "$TMP/typescript" >/dev/null </dev/null &
bar=$!
wait_until grep -q '% .* of .*paused' "$TMP/typescript"

"$SNAPGROUPCTL" --socket "$RUNTIME/api.sock" job watch "$job" >"$TMP/watched" 2>&1 &
watch=$!
expect_ctl 0 job cancel "$job"
rc=0
wait "$watch" || rc=$?
wait "$bar"
[ "$rc" = 1 ] && grep -q 'is cancelled' "$TMP/watched" || fail "the watch ends with $rc: $(cat "$TMP/watched")"
expect_ctl 0 group delete two --no-wait -o name
job=$OUTPUT
expect_ctl 0 job limit "$job" 0
expect_ctl 0 job watch "$job"
expect_ctl 0 group list --state committed -o name
[ "$OUTPUT" = one ] || fail "groups: $OUTPUT"
