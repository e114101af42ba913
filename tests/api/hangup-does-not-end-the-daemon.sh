#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# SIGHUP and SIGPIPE do not end the daemon. A second SIGTERM and a SIGHUP during a stop change
# nothing: the running call (strace delays its fsync) is answered, and the exit status is 0.
. "$(dirname "$0")/../lib/functions.sh"
export ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" # which cannot look into a traced process
start_daemon
kill -HUP "$DAEMON_PID"
kill -PIPE "$DAEMON_PID"
logged() { grep -q 'reloaded' "$DAEMON_LOG"; }
wait_until logged
api GET /readyz
expect_status 200

begin_slow_create
kill -TERM "$DAEMON_PID"
unlinked() { [ ! -e "$RUNTIME/api.sock" ]; }
wait_until unlinked
kill -HUP "$DAEMON_PID"
kill -INT "$DAEMON_PID"
stop_daemon # the second SIGTERM
expect_slow_create
