#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A daemon removes no socket of another live one, neither at its start nor at its end, for REST and
# NBD: of a server that accepts, of one that has bound and does not listen yet, and of one that
# replaced a removed socket. A stale socket of a killed daemon is replaced, and a clean end leaves
# none.
. "$(dirname "$0")/../lib/functions.sh"

second() { # ARGUMENT...: runs a second daemon on the same sockets until it ends; its status
    local status=0
    timeout "$DEADLINE_S" "$SNAPGROUPD" --state-dir "$TMP/state2" --image-dir "$IMAGES" --runtime-dir "$TMP/run2" \
        "$@" >"$TMP/out" 2>"$TMP/err" </dev/null || status=$?
    return "$status"
}

refused() { # PATH ARGUMENT...
    local path=$1 before
    shift
    before=$(stat -c %i "$path")
    ! second "$@" || fail "a second daemon started with $*"
    grep -qF "socket '$path' has a server" "$TMP/err" || fail "$*: says $(cat "$TMP/err")"
    [ "$(stat -c %i "$path")" = "$before" ] || fail "$path was replaced"
}

start_daemon
refused "$RUNTIME/api.sock" --listen "unix:$RUNTIME/api.sock"
refused "$RUNTIME/nbd.sock" --nbd "unix:$RUNTIME/nbd.sock"

# The instant between bind() and listen(), when connecting is refused as on a dead socket: the lock
# tells.
for kind in listen nbd; do
    spawn python3 -c 'import fcntl, signal, socket, sys
lock = open(sys.argv[1] + ".lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
signal.pause()' "$TMP/$kind.sock"
    wait_until test -S "$TMP/$kind.sock"
    refused "$TMP/$kind.sock" --"$kind" "unix:$TMP/$kind.sock"
done

# Somebody removed the sockets, and another daemon serves there by now: the end of the first one
# leaves them.
rm "$RUNTIME"/*.sock "$RUNTIME"/*.lock
setpriv --pdeathsig KILL "$SNAPGROUPD" --state-dir "$TMP/state2" --image-dir "$IMAGES" --runtime-dir "$TMP/run2" \
    --listen "unix:$RUNTIME/api.sock" --nbd "unix:$RUNTIME/nbd.sock" >"$TMP/out" 2>"$TMP/err" &
other=$!
SPAWNED_ALL+=("$other")
wait_until grep -q '^ready$' "$TMP/out"
stop_daemon
api GET /readyz
expect_status 200
nbdinfo --list "nbd+unix:///?socket=$RUNTIME/nbd.sock" >/dev/null || fail "NBD is not served any more"

kill -KILL "$other"
wait "$other" 2>/dev/null || true
start_daemon
api GET /readyz
expect_status 200
stop_daemon
left=$(find "$RUNTIME" -name '*.sock*')
[ -z "$left" ] || fail "left behind: $left"
