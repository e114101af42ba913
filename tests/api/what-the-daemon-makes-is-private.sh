#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Whatever umask the daemon is started with, nobody else can read or write what it makes: directories, the database
# with its log, sockets, journals. And at its end it removes its own socket, not one that has taken its place.
. "$(dirname "$0")/../lib/functions.sh"
rmdir "$STATE" "$RUNTIME"
umask 000
start_daemon
create_device vda qcow2 1M
snapshot g vda
open_to_others() { find "$STATE" "$RUNTIME" -perm /077 -printf '%P %M\n'; }
[ -z "$(open_to_others)" ] || fail "open to others: $(open_to_others)"
[ -n "$(find "$STATE" -name '*-wal')" ] && [ -S "$RUNTIME/nbd.sock" ] || fail "not all is there: $(ls "$STATE" "$RUNTIME")"

rm "$RUNTIME/api.sock"
spawn python3 -c 'import socket, sys, time
peer = socket.socket(socket.AF_UNIX)
peer.bind(sys.argv[1])
time.sleep(3600)' "$RUNTIME/api.sock"
replaced() { [ -S "$RUNTIME/api.sock" ]; }
wait_until replaced
stop_daemon
replaced || fail "the daemon removed a socket of somebody else"
[ -z "$(open_to_others | grep -v '^api.sock ')" ] || fail "open to others: $(open_to_others)"
