#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A database of schema 1 is upgraded when it is opened: its devices are served as before, with
# defaults for new columns. A newer database than the daemon's is refused and stays unchanged.
. "$(dirname "$0")/../lib/functions.sh"

DB=$STATE/snapgroupd.db
newest=$(find "$SOURCE_DIR/store/schema" -name '*.sql' | wc -l)
qemu-img create -q -f qcow2 "$IMAGES/vda.qcow2" 8M
qemu-img create -q -f qcow2 -b vda.qcow2 -F qcow2 "$IMAGES/vda.g.qcow2"
qemu-io -f qcow2 -c 'write -P 5 0 64k' "$IMAGES/vda.g.qcow2" >/dev/null
sqlite3 "$DB" >/dev/null <<SQL
.read $SOURCE_DIR/store/schema/1.sql
PRAGMA application_id = 0x534e4150;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
INSERT INTO devices VALUES ('vda', '6f1c1f5e-8f0a-4c57-9b8e-2a0d6c2f7a10', 'attached', '$IMAGES/vda.qcow2', 'qcow2',
    '$IMAGES/vda.g.qcow2', 'qcow2', 0, '{"a":"b"}', 1767225600000000);
INSERT INTO groups VALUES ('6f1c1f5e-8f0a-4c57-9b8e-2a0d6c2f7a11', 'committed', 'g', '{}', 1767225601000000,
    1767225601000001, 7, 9, NULL, NULL, NULL, NULL);
INSERT INTO groups VALUES ('6f1c1f5e-8f0a-4c57-9b8e-2a0d6c2f7a09', 'aborted', 'later', '{}', 1767225602000000,
    NULL, NULL, NULL, 'DeviceNotFound', 0, 'there is no device', NULL);
INSERT INTO members VALUES ('6f1c1f5e-8f0a-4c57-9b8e-2a0d6c2f7a11', 0, 'vda', '$IMAGES/vda.qcow2', 'qcow2',
    '$IMAGES/vda.g.qcow2', 'qcow2', 7);
SQL

start_daemon
[ "$(sqlite3 "$DB" 'PRAGMA user_version')" = "$newest" ] || fail "the schema's version is not $newest"
for round in 1 2; do
    api GET /devices/vda
    expect_status 200
    expect_json '.image == $i and .top == $t and .labels == {"a": "b"} and .state == "online"' \
        --arg i "$IMAGES/vda.qcow2" --arg t "$IMAGES/vda.g.qcow2"
    expect_json '.cluster_size_bytes == 65536 and .extended_l2 and .created_at == "2026-01-01T00:00:00.000000Z"'
    api GET /snapshot-groups/g
    expect_json '.state == "committed" and .pause_us == 7 and .members[0].snapshot_file == $t' \
        --arg t "$IMAGES/vda.g.qcow2"
    api GET /snapshot-groups?limit=1
    expect_json '[.items[].name] == ["later"]'
    api GET "/snapshot-groups?cursor=$(jq -r .next <<<"$BODY")"
    expect_json '[.items[].name] == ["g"] and .next == null'
    qemu-io -f raw -r -c 'read -P 5 0 64k' "$(nbd_uri vda)" | grep -q '^read 65536' || fail "round $round"
    restart_daemon
done
# The overlay is the group's; what is under its base is found out by the first start.
[ "$(sqlite3 "$DB" "SELECT path, backing, role, made_by, is_complete FROM images ORDER BY path")" = \
    "$IMAGES/vda.g.qcow2|$IMAGES/vda.qcow2|made|6f1c1f5e-8f0a-4c57-9b8e-2a0d6c2f7a11|1
$IMAGES/vda.qcow2||attached||1" ] || fail "$(sqlite3 "$DB" 'SELECT * FROM images')"
snapshot h vda
api GET /snapshot-groups
# The failed attempt is long ago: the next one prunes it.
expect_json '[.items[].name] == ["h", "g"]'
qemu-img info --force-share --output=json "$IMAGES/vda+h.qcow2" |
    jq -e '."cluster-size" == 65536 and ."format-specific".data."extended-l2"' >/dev/null || fail "the overlay"

stop_daemon
sqlite3 "$DB" "PRAGMA user_version = $((newest + 1)); PRAGMA wal_checkpoint(TRUNCATE)" >/dev/null
rc=0
timeout "$DEADLINE_S" "$SNAPGROUPD" --state-dir "$STATE" --image-dir "$IMAGES" --runtime-dir "$RUNTIME" \
    >/dev/null 2>"$TMP/refusal" || rc=$?
[ "$rc" -ne 0 ] && grep -q "schema $((newest + 1)), newer than" "$TMP/refusal" || fail "$rc: $(cat "$TMP/refusal")"
[ "$(sqlite3 "$DB" 'PRAGMA user_version')" = "$((newest + 1))" ] || fail "a newer database was changed"
