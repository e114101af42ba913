#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Only loopback addresses are served. A socket that is in use and a file that is not a socket stay
# untouched; a stale socket is replaced; two daemons never share a state directory.
. "$(dirname "$0")/../lib/functions.sh"

refused() { # STATUS REGEX ARGUMENT...: the daemon must not start
    local wanted=$1 regex=$2 status=0
    shift 2
    timeout "$DEADLINE_S" "$SNAPGROUPD" --state-dir "$TMP/state2" --image-dir "$IMAGES" \
        --runtime-dir "$TMP/run2" "$@" >"$TMP/out" 2>"$TMP/err" </dev/null || status=$?
    [ "$status" -eq "$wanted" ] || fail "$*: ended with $status: $(cat "$TMP/err")"
    grep -qE "$regex" "$TMP/err" || fail "$*: says $(cat "$TMP/err")"
    ! grep -q '^ready$' "$TMP/out" || fail "$*: was ready"
}

for address in 0.0.0.0:0 8.8.8.8:0 '[::]:0' '[fe80::1]:0'; do
    refused 1 'loopback' --listen "$address"
done
for address in localhost:1 127.0.0.1 127.0.0.1: 127.0.0.1:x 127.0.0.1:65536 ::1:80 '[::1]' :1 '[]:1' x; do
    refused 1 'is no address' --listen "$address"
done
refused 1 'path has 1 to 107 bytes' --listen "unix:$TMP/$(printf '%0120d' 0)"
refused 1 'path has 1 to 107 bytes' --listen unix:

echo precious >"$TMP/file"
refused 1 'is not a socket' --listen "unix:$TMP/file"
[ "$(cat "$TMP/file")" = precious ] || fail "the file was touched"

start_daemon
refused 1 'Address already in use' --listen "unix:$RUNTIME/api.sock"
refused 1 'another snapgroupd' --state-dir "$STATE"
api GET /readyz
expect_status 200

# After a kill the sockets are left over, and the next daemon takes them.
kill_daemon
[ -S "$RUNTIME/api.sock" ] || fail "a killed daemon cannot have removed its socket"
start_daemon
api GET /readyz
expect_status 200
stop_daemon
[ ! -e "$RUNTIME/api.sock" ] || fail "the socket stayed after a clean end"

mkdir "$TMP/file.d"
refused 1 "cannot open directory '$TMP/none'" --image-dir "$TMP/none"
refused 1 'Not a directory' --image-dir "$TMP/file"
refused 1 'cannot make directory' --state-dir "$TMP/file/state"

# Directories that are missing are made, for the daemon's user alone.
start_daemon --state-dir "$TMP/new/deep/state"
[ "$(stat -c %a "$TMP/new/deep/state" "$TMP/new" | sort -u)" = 700 ] || fail "modes of new directories"
[ -f "$TMP/new/deep/state/snapgroupd.db" ] || fail "no database"
