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

# What only a start would find out: files of TLS, addresses that need it, directories.
check() { # STATUS MESSAGE ARGUMENT...
    local wanted=$1 message=$2 status=0
    shift 2
    "$SNAPGROUPD" --check-config --state-dir "$TMP/none" --runtime-dir "$TMP/none" "$@" >"$TMP/out" 2>"$TMP/err" || status=$?
    [ "$status" -eq "$wanted" ] && { [ -z "$message" ] || grep -qF -- "$message" "$TMP/err"; } ||
        fail "$*: $status, says $(cat "$TMP/err")"
    [ ! -e "$TMP/none" ] || fail "$*: a directory was created"
}
"$SOURCE_DIR/tests/lib/certificates.sh" "$TMP/pki" >/dev/null
check 0 '' --image-dir "$IMAGES" --listen tls:0.0.0.0:0 --tls-cert-dir "$TMP/pki/server" --nbd 0.0.0.0:0 \
    --nbd-tls required --nbd-tls-verify-peer
check 2 'server-cert.pem' --listen tls:127.0.0.1:0 --tls-cert-dir "$TMP/pki/server-expired"
check 2 'server-cert.pem' --nbd-tls required --nbd-tls-cert-dir "$IMAGES"
check 2 "'0.0.0.0:7420' is not a loopback address" --listen 0.0.0.0:7420
check 2 "'0.0.0.0:10809' is not a loopback address" --nbd 0.0.0.0:10809 --nbd-tls required --nbd-tls-cert-dir "$TMP/pki/server"
check 2 "'localhost:1' is no address" --nbd localhost:1
check 2 "cannot open directory '$TMP/none'" --image-dir "$TMP/none"

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
