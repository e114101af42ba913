#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The kernel's table of the daemon's open files is made large while the daemon has one thread. If
# it grew later, some calls would wait for every processor.
. "$(dirname "$0")/../lib/functions.sh"

table_size() { awk '$1 == "FDSize:" { print $2 }' "/proc/$DAEMON_PID/status"; }

starts_with() { # FILES
    start_daemon
    [ "$(table_size)" -ge "$1" ] || fail "a table of $(table_size) files, not $1"
    stop_daemon
}

hard=$(ulimit -H -n)
[ "$hard" != unlimited ] && [ "$hard" -lt 65536 ] || hard=65536
ulimit -S -n 256
starts_with "$hard"
ulimit -H -n 512
starts_with 512
