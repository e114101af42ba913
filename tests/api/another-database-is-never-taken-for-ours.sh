#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A database that is moved away under the daemon is not replaced by an empty one: changes and reads
# fail until it is back. The daemon does not start with a database that is missing, of another
# daemon, of another program or with invalid rows, and reports which. An older database without an
# id file gets one.
. "$(dirname "$0")/../lib/functions.sh"
db=$STATE/snapgroupd.db

refuses_to_start() { # WORDS
    local said
    said=$(timeout "$DEADLINE_S" "$SNAPGROUPD" --state-dir "$STATE" --image-dir "$IMAGES" --runtime-dir "$RUNTIME" 2>&1) &&
        fail 'the daemon started'
    grep -qF "$1" <<<"$said" || fail "instead of '$1': $said"
}

start_daemon
create_device vda qcow2 8M
snapshot g1 vda
mkdir "$TMP/away"
mv "$db"* "$TMP/away"
api POST /snapshot-groups '{"name":"g2","devices":[{"device":"vda"}]}'
expect_status 503
expect_json '.code == "StoreFailed" and .retryable'
api GET /readyz
expect_status 503
[ ! -e "$db" ] || fail 'a new database was made'
mv "$TMP/away"/* "$STATE"
wait_until sh -c "curl -sf --unix-socket '$RUNTIME/api.sock' http://localhost/readyz >/dev/null"
snapshot g2 vda
api GET /devices/vda
expect_json '.chain | length == 3'
stop_daemon

[ "$(cat "$db.id")" = "$(sqlite3 "$db" 'SELECT id FROM store_meta')" ] || fail 'the id beside it is another'
cp "$db" "$TMP/good.db"
mv "$db" "$TMP/away"
refuses_to_start 'is missing'
sqlite3 "$db" 'CREATE TABLE t (a)'
refuses_to_start 'not of snapgroupd'
cp "$TMP/good.db" "$db"
sqlite3 "$db" "UPDATE store_meta SET id = '0123456789abcdef0123456789abcdef'"
refuses_to_start 'another one'
cp "$TMP/good.db" "$db"
sqlite3 "$db" "PRAGMA writable_schema = 1; PRAGMA ignore_check_constraints = 1; UPDATE devices SET state = 'lent'"
refuses_to_start 'state of table devices'
cp "$TMP/good.db" "$db"
sqlite3 "$db" "PRAGMA writable_schema = 1;
    UPDATE sqlite_schema SET sql = replace(sql, 'path TEXT NOT NULL', 'path TEXT') WHERE name = 'frozen_files'"
sqlite3 "$db" 'UPDATE frozen_files SET path = NULL'
refuses_to_start 'path of table frozen_files'
cp "$TMP/good.db" "$db"
rm "$db.id"
start_daemon
api GET /devices/vda
expect_json '.state == "online" and (.chain | length == 3)'
[ "$(cat "$db.id")" = "$(sqlite3 "$db" 'SELECT id FROM store_meta')" ] || fail 'no id was written'
