#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# SIGTERM while a disk is being created (strace delays its fsync): the call is finished and
# answered, new connections fail, the daemon exits 0, and the disk exists after the next start.
. "$(dirname "$0")/../lib/functions.sh"
export ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" # which cannot look into a traced process
start_daemon
begin_slow_create
[ ! -s "$TMP/body" ] || fail "the call was answered too soon to be a test"
stop_daemon
expect_slow_create
[ ! -e "$RUNTIME/api.sock" ] || fail "the socket is still there"

start_daemon
api GET /devices/vda
expect_status 200
[ "$(ls -A "$IMAGES")" = vda.raw ] || fail "left behind: $(ls -A "$IMAGES")"
