#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every option can stand in the configuration file; environment and command line take precedence,
# option by option. A wrong line is refused by its number, also where its option is overridden.
. "$(dirname "$0")/../lib/functions.sh"

CONFIG=$TMP/snapgroupd.conf

refuses() { # MESSAGE LINE...
    local message=$1 status=0
    shift
    printf '%s\n' "$@" >"$CONFIG"
    "$SNAPGROUPD" --config "$CONFIG" --check-config >"$TMP/out" 2>"$TMP/err" </dev/null || status=$?
    [ "$status" -eq 2 ] && grep -qF -- "$message" "$TMP/err" || fail "$*: $status, says $(cat "$TMP/err")"
}

refuses "$CONFIG:2: 'no-such-option' is no option of the file" '[snapgroupd]' 'no-such-option = 1'
refuses "$CONFIG:2: 'config' is no option of the file" '[snapgroupd]' "config = $CONFIG"
refuses "$CONFIG:3: 'index-memory' was given before" '[snapgroupd]' 'index-memory = 1M' 'index-memory = 2M'
refuses "$CONFIG:2: '1X' is no size" '[snapgroupd]' 'index-memory = 1X'
refuses "$CONFIG:2: the value is empty" '[snapgroupd]' 'state-dir ='
refuses "$CONFIG:1: settings belong under [snapgroupd]" 'state-dir = /nowhere'
refuses "$CONFIG:2: settings belong under [snapgroupd]" '[other]' 'state-dir = /nowhere'
refuses "$CONFIG:2: this is neither" '[snapgroupd]' 'state-dir'
refuses "$CONFIG:2: the line is too long" '[snapgroupd]' "state-dir = /$(printf '%0300d' 0)"
refuses "$CONFIG:3: the line is too long" '[snapgroupd]' '' "# $(printf '%0300d' 0)"
SNAPGROUPD_INDEX_MEMORY=1M refuses "$CONFIG:2: '1X' is no size" '[snapgroupd]' 'index-memory = 1X'
printf '[snapgroupd]\nstate-dir = /a\0b\n' >"$CONFIG"
if "$SNAPGROUPD" --config "$CONFIG" --check-config 2>"$TMP/err"; then fail "a NUL byte was accepted"; fi
grep -qF "$CONFIG:2: the line holds a NUL byte" "$TMP/err" || fail "says $(cat "$TMP/err")"
for path in "$TMP/missing.conf" "$TMP"; do
    status=0
    "$SNAPGROUPD" --config "$path" --check-config 2>"$TMP/err" || status=$?
    [ "$status" -eq 2 ] && grep -qF "$path" "$TMP/err" || fail "$path: $status, says $(cat "$TMP/err")"
done

mkfifo "$TMP/lines"
cat >"$CONFIG" <<INI
; both kinds of
# comments
[snapgroupd]
state-dir = $STATE
image-dir=$IMAGES   ; behind a value
runtime-dir = $TMP/overridden
listen = unix:$TMP/a,unix:$TMP/b
listen = unix:$TMP/c
nbd = unix:$TMP/overridden.sock
nbd-tls = off
INI
SNAPGROUPD_CONFIG=$CONFIG SNAPGROUPD_NBD=unix:$TMP/n setpriv --pdeathsig KILL "$SNAPGROUPD" --runtime-dir "$RUNTIME" \
    >"$TMP/lines" 2>>"$DAEMON_LOG" &
pid=$!
mapfile -t lines < <(sed '/^ready$/q' <"$TMP/lines")
wanted="api unix:$TMP/a api unix:$TMP/b api unix:$TMP/c nbd unix:$TMP/n ready"
[ "${lines[*]}" = "$wanted" ] || fail "said ${lines[*]}"
[ -e "$STATE/snapgroupd.db" ] && [ -d "$RUNTIME/journals" ] && [ ! -e "$TMP/overridden" ] || fail "the directories"
kill "$pid"
wait "$pid" || fail "SIGTERM: ended with $?"
