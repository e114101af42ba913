#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# SIGHUP and SIGPIPE do not end the daemon; a second SIGTERM and a SIGHUP while it ends change nothing: the call that
# runs is answered and the exit status is 0. strace slows the call down.
. "$(dirname "$0")/../lib/functions.sh"
export ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" # which cannot look into a traced process
start_daemon
kill -HUP "$DAEMON_PID"
kill -PIPE "$DAEMON_PID"
logged() { grep -q 'Hangup' "$DAEMON_LOG"; }
wait_until logged
api GET /readyz
expect_status 200

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
kill -TERM "$DAEMON_PID"
unlinked() { [ ! -e "$RUNTIME/api.sock" ]; }
wait_until unlinked
kill -HUP "$DAEMON_PID"
kill -INT "$DAEMON_PID"
stop_daemon # the second SIGTERM
wait "$SPAWNED" || fail "curl got no answer: status $?"
wait "$tracer" || true
jq --exit-status '.name == "vda" and .state == "online"' "$TMP/body" >/dev/null || fail "answer: $(cat "$TMP/body")"
