#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Under any umask no other user can read or write the daemon's directories, database with its log,
# sockets and journals. At its end the daemon removes its own socket, not one that replaced it.
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
