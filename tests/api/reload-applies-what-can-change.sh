#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# SIGHUP reads the options again: the log's level and form change, connections stay, options that
# need a restart are named, and a wrong option leaves everything as it was.
. "$(dirname "$0")/../lib/functions.sh"

CONFIG=$TMP/snapgroupd.conf
export SNAPGROUPD_CONFIG=$CONFIG

configure() { # LINE...
    { echo '[snapgroupd]'; printf '%s\n' "$@"; } >"$CONFIG"
}

reload() { # PATTERN...: the new lines of the log that the reload and one call leave
    local before
    before=$(wc -l <"$DAEMON_LOG")
    new_lines() { tail -n "+$((before + 1))" "$DAEMON_LOG"; }
    kill -HUP "$DAEMON_PID"
    reloaded() { new_lines | grep -qE 'reloaded'; }
    wait_until reloaded
    api GET /devices
    expect_status 200
    for pattern in "$@"; do
        logged() { new_lines | grep -qE -- "$pattern"; }
        wait_until logged
    done
}

configure
start_daemon
create_device vda raw 1048576
client=$(nbd_uri vda)
mkfifo "$TMP/commands"
/usr/bin/python3 -c '
import nbd, sys
handle = nbd.NBD()
handle.connect_uri(sys.argv[1])
print("connected", flush=True)
sys.stdin.readline()
handle.pread(512, 0)
' "$client" <"$TMP/commands" >"$TMP/said" &
reader=$!
exec 3>"$TMP/commands"
connected() { grep -q connected "$TMP/said"; }
wait_until connected

reload '<6>reloaded$'
! grep -q 'GET /devices' "$DAEMON_LOG" || fail "reads are logged"
configure 'log-level = debug'
reload '<6>reloaded: changed --log-level$' '<7>GET /devices: 200'
configure 'log-level = debug' 'log-format = json'
reload '"message":"reloaded: changed --log-format"' '"target":"/devices"'
configure 'log-level = loud'
reload "nothing was reloaded: $CONFIG:2: 'loud' is not one of" '"target":"/devices"'
configure 'index-memory = 64M' "nbd = unix:$TMP/other.sock"
reload '<4>reloaded: changed --index-memory, --log-format, --log-level; a restart is needed for --nbd$'
reload '<4>reloaded; a restart is needed for --nbd$'
[ ! -e "$TMP/other.sock" ] || fail "an address was served"
echo >&3
wait "$reader" || fail "the connection did not stay"
