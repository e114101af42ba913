#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# SIGTERM while a disk is being created: the call is finished and answered, new calls find nobody, the daemon exits
# 0, and the disk is there after the next start. strace slows the creation's fsync down.
. "$(dirname "$0")/../lib/functions.sh"
export ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" # which cannot look into a traced process
start_daemon
strace -f -qq -o "$TMP/strace" -p "$DAEMON_PID" -e trace=fsync -e inject=fsync:delay_enter=700000 2>"$TMP/strace.err" &
tracer=$!
traced() {
    kill -0 "$tracer" 2>/dev/null || skip "strace cannot attach here: $(cat "$TMP/strace.err")"
    ! grep -q '^TracerPid:[[:space:]]*0$' "/proc/$DAEMON_PID/status"
}
wait_until traced

spawn curl --silent --unix-socket "$RUNTIME/api.sock" --header 'Content-Type: application/json' --output "$TMP/body" \
    --data-raw '{"name":"vda","image":"vda.raw","format":"raw","size_bytes":1048576}' http://localhost/devices
staged() { [ -n "$(ls -A "$IMAGES")" ]; }
wait_until staged
[ ! -s "$TMP/body" ] || fail "the call was answered too soon to be a test"
stop_daemon
wait "$SPAWNED" || fail "curl got no answer: status $?"
wait "$tracer" || true
jq --exit-status '.name == "vda" and .state == "online"' "$TMP/body" >/dev/null || fail "answer: $(cat "$TMP/body")"
[ ! -e "$RUNTIME/api.sock" ] || fail "the socket is still there"

start_daemon
api GET /devices/vda
expect_status 200
[ "$(ls -A "$IMAGES")" = vda.raw ] || fail "left behind: $(ls -A "$IMAGES")"
