#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# --help and --version answer and exit 0; what is wrong exits 2 with a hint; the start announces
# addresses. The environment sets every option; the command line takes precedence.
. "$(dirname "$0")/../lib/functions.sh"

run() { # STATUS ARGUMENT...
    local wanted=$1 status=0
    shift
    "$SNAPGROUPD" "$@" >"$TMP/out" 2>"$TMP/err" </dev/null || status=$?
    [ "$status" -eq "$wanted" ] || fail "$*: ended with $status: $(cat "$TMP/err")"
}

run 0 --version
grep -qE '^snapgroupd [0-9]+\.[0-9]+\.[0-9]+$' "$TMP/out" || fail "$(cat "$TMP/out")"
run 0 --help
for option in --state-dir --image-dir --runtime-dir --listen --nbd --index-memory --idempotency-retention --tls-cert-dir \
    --tls-client-scope --nbd-tls --nbd-tls-cert-dir \
    --nbd-tls-verify-peer --nbd-tls-psk --help --version; do
    grep -q -- "$option" "$TMP/out" || fail "--help does not tell of $option"
done
for wrong in --nope -x stray --state-dir --listen= --help=1 --index-memory=1X --index-memory=-1 --index-memory=1KB \
    --index-memory=99999999999G --idempotency-retention=59 --idempotency-retention=31536001 \
    --idempotency-retention=-60 --idempotency-retention=1h --idempotency-retention=99999999999999999999; do
    run 2 "$wrong"
    grep -q "Try 'snapgroupd --help'" "$TMP/err" || fail "$wrong: no hint"
done
run 2 --state-dir $'\xff'

variable() { # STATUS NAME=VALUE ARGUMENT...
    export "${2?}"
    run "$1" "${@:3}"
    unset "${2%%=*}"
}

variable 0 SNAPGROUPD_NBD_TLS=sometimes --version
variable 2 SNAPGROUPD_INDEX_MEMORY=1X
grep -q "SNAPGROUPD_INDEX_MEMORY: '1X' is no size" "$TMP/err" || fail "says $(cat "$TMP/err")"
variable 2 SNAPGROUPD_NBD_TLS_VERIFY_PEER=yes
variable 2 SNAPGROUPD_NBD_TLS_VERIFY_PEER=1
variable 2 SNAPGROUPD_LISTEN="unix:$TMP/a,"
variable 2 SNAPGROUPD_LISTEN="$(seq -s, 17)"
variable 2 SNAPGROUPD_STATE_DIR=$'\xff'

# Options of TLS that would have no effect, or none that was wished for.
run 2 --nbd-tls sometimes
run 2 --nbd-tls required
run 2 --nbd-tls-psk "$TMP/psk"
run 2 --nbd-tls off --nbd-tls-cert-dir "$TMP"
run 2 --nbd-tls optional --nbd-tls-verify-peer --nbd-tls-psk "$TMP/psk"
echo 'alice:00112233445566778899aabbccddeeff' >"$TMP/psk"
chmod 644 "$TMP/psk"
run 1 --state-dir "$STATE" --image-dir "$IMAGES" --runtime-dir "$RUNTIME" --nbd-tls required --nbd-tls-psk "$TMP/psk"
grep -q "'$TMP/psk' holds a secret" "$TMP/err" || fail "says $(cat "$TMP/err")"

mkfifo "$TMP/lines"
start() { # ARGUMENT...
    setpriv --pdeathsig KILL "$SNAPGROUPD" "$@" >"$TMP/lines" 2>>"$DAEMON_LOG" &
    pid=$!
    mapfile -t lines < <(sed '/^ready$/q' <"$TMP/lines")
}

start --state-dir "$STATE" --image-dir "$IMAGES" --runtime-dir "$RUNTIME" --index-memory 64M \
    --listen "unix:$TMP/a" --listen 127.0.0.1:0 --nbd "unix:$TMP/n"
[ "${#lines[@]}" -eq 4 ] || fail "said ${lines[*]}"
[ "${lines[0]}" = "api unix:$TMP/a" ] || fail "said ${lines[0]}"
port=${lines[1]#api 127.0.0.1:}
[ "${lines[2]}" = "nbd unix:$TMP/n" ] || fail "said ${lines[2]}"
[ "${lines[3]}" = ready ] || fail "said ${lines[3]}"
[ "$(curl --silent --output /dev/null --write-out '%{http_code}' "http://127.0.0.1:$port/readyz")" = 200 ] ||
    fail "not served at the port announced"
kill -INT "$pid"
wait "$pid" || fail "SIGINT: ended with $?"

# The same by the environment, but for what the command line says; an empty variable is none.
export SNAPGROUPD_STATE_DIR=$STATE SNAPGROUPD_IMAGE_DIR=$IMAGES SNAPGROUPD_RUNTIME_DIR=$RUNTIME SNAPGROUPD_NBD_TLS= \
    SNAPGROUPD_INDEX_MEMORY=1X SNAPGROUPD_LISTEN=unix:$TMP/b,unix:$TMP/c SNAPGROUPD_NBD=unix:$TMP/o,unix:$TMP/p
start --index-memory 64M --nbd "unix:$TMP/q"
wanted="api unix:$TMP/b api unix:$TMP/c nbd unix:$TMP/q ready"
[ "${lines[*]}" = "$wanted" ] || fail "said ${lines[*]}"
kill "$pid"
wait "$pid" || fail "SIGTERM: ended with $?"
