#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# The commands of groups do what they say: take, with a dry run, by names and by labels; list, show,
# update, hold, extents, clones and copies of a member, rollback, delete. Copies and deletes wait
# for their jobs.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon
for name in vda vdb; do
    expect_ctl 0 device create "$name" --size 64M --label app=db
done

expect_ctl 0 group take before vda vdb --dry-run -o json
expect_output '[.members[].device] == ["vda", "vdb"]'
api GET /snapshot-groups
expect_json '.items == []'
expect_ctl 0 group take before vda vdb=other.qcow2 --label by=test --idempotency-key once
grep -Eq '^before +committed +snapshot +vda,vdb ' <<<"$OUTPUT" || fail "taken: $OUTPUT"
[ -e "$IMAGES/other.qcow2" ] || fail 'the snapshot file has another name'
expect_ctl 0 group take before vda vdb=other.qcow2 --label by=test --idempotency-key once
expect_ctl 4 group take before vda vdb
expect_ctl 2 group take before
expect_ctl 2 group take before vda --selector app=db
expect_ctl 2 group take before vda --wait --no-wait
expect_ctl 1 group take none --selector app=none
expect_ctl 3 group take none nothing
qemu-io -f raw -c 'write -P 7 1M 64k' "$(nbd_uri vda)" >/dev/null
expect_ctl 0 group take after --selector app=db --deadline 30s --settle 5 -o name
[ "$OUTPUT" = after ] || fail "name: $OUTPUT"
expect_ctl 0 group take later vda --no-wait -o json
expect_output '.name == "later" and (.state | IN("preparing", "committing", "committed"))'
is_committed() { [ "$("$SNAPGROUPCTL" --socket "$RUNTIME/api.sock" api GET "/snapshot-groups/$1" | jq -r .state)" = committed ]; }
wait_until is_committed later

expect_ctl 0 group list -o json
api GET '/snapshot-groups?limit=1000'
[ "$OUTPUT" = "$BODY" ] || fail "the list is not what came: $OUTPUT"
expect_ctl 0 group list --state committed --device vdb -o name
[ "$OUTPUT" = $'after\nbefore' ] || fail "filtered: $OUTPUT"
expect_ctl 0 group list --label by=test --created-after 2020-01-01T00:00:00Z -o wide
[ "$(grep -c . <<<"$OUTPUT")" = 2 ] || fail "wide: $OUTPUT"
expect_ctl 0 group show after
grep -q '^state: committed$' <<<"$OUTPUT" || fail "shown: $OUTPUT"
expect_ctl 0 group update after --label kept=yes -o json
expect_output '.labels == {kept: "yes"}'

expect_ctl 0 group extents after vda --since before
[ "$(tail -n 1 <<<"$OUTPUT" | tr -s ' ')" = '1048576 65536 no' ] || fail "extents: $OUTPUT"
expect_ctl 0 group extents after vda --since before -o json
expect_output '.items == [{offset_bytes: 1048576, length_bytes: 65536, zero: false}] and .size_bytes == 67108864'

expect_ctl 0 device clone vda@before copy --label app=test
api GET /devices/copy
expect_json '.origin.how == "clone" and .labels == {app: "test"}'
expect_ctl 0 group copy after vda alone.raw --format raw --dry-run -o json
expect_output '.copy_bytes == 65536'
expect_ctl 0 group copy after vda alone.raw --format raw
grep -Eq ' copy +done ' <<<"$OUTPUT" || fail "copied: $OUTPUT"
qemu-img compare -f raw -F raw "$IMAGES/alone.raw" "$(nbd_uri vda@after)" >/dev/null
expect_ctl 1 group copy after vda alone.raw --format raw
expect_ctl 3 group copy after nothing other.raw --format raw

expect_ctl 0 group hold after me
expect_ctl 0 group hold after me
expect_ctl 4 group delete after
expect_ctl 0 group hold after me --release
expect_ctl 0 group hold after me --release

expect_ctl 0 group rollback before --name undo --dry-run -o json
expect_output '.kind == "rollback"'
expect_ctl 0 group rollback before --name undo
grep -Eq '^undo +committed +rollback ' <<<"$OUTPUT" || fail "rolled back: $OUTPUT"
qemu-io -r -f raw -c 'read -P 0 1M 64k' "$(nbd_uri vda)" >/dev/null
api GET /devices/vda
expect_json '.origin.how == "rollback"'

expect_ctl 0 group delete after --dry-run -o json
expect_output '.copy_bytes >= 0'
expect_ctl 0 group delete after -o json
expect_output '.kind == "delete" and .state == "done"'
job=$(jq -r .id <<<"$OUTPUT")
expect_ctl 3 group delete after
expect_ctl 0 group delete later --no-wait -o json
expect_output '.kind == "delete"'
expect_ctl 0 job watch "$(jq -r .id <<<"$OUTPUT")"
expect_ctl 0 job list --state=done -o name
grep -qxF "$job" <<<"$OUTPUT" || fail "jobs: $OUTPUT"
expect_ctl 0 job show "$job"
grep -qxF 'state: done' <<<"$OUTPUT" || fail "shown: $OUTPUT"
for change in cancel pause resume; do
    expect_ctl 4 job "$change" "$job"
done
expect_ctl 4 job limit "$job" 1M
expect_ctl 3 job watch 1d0f3b5e-6a6e-4d68-9f0a-2b7c6c1d9a55
