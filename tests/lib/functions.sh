# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# The library of shell tests. A test begins with
#
#     #!/usr/bin/env bash
#     . "$(dirname "$0")/../lib/functions.sh"
#
# and then has a strict shell, a directory of its own and these functions:
#
#   start_daemon [ARGUMENT...]   starts snapgroupd on $IMAGES, $STATE, $RUNTIME; waits until ready
#   stop_daemon, kill_daemon     SIGTERM, after which it must exit 0; SIGKILL
#   restart_daemon               stops it if it runs, and starts it with the same arguments
#   api METHOD PATH [JSON [CURL_ARGUMENT...]]   one REST call; sets STATUS, BODY, HEADERS
#   expect_status N              the last call's status
#   expect_json FILTER [JQ_ARGUMENT...]   jq's filter must be true of BODY
#   create_device NAME FORMAT SIZE [JSON]   POST /devices; SIZE as in 64M; JSON adds fields
#   snapshot NAME DEVICE...      POST /snapshot-groups, which must succeed
#   create_token NAME SCOPE       POST /tokens, which must succeed; sets TOKEN, the secret
#   nbd_uri NAME                 prints the export's URI
#   qcow2_check FILE [no-leaks]  qemu-img check finds no error (and no leak)
#   checksums DIRECTORY          prints name, size and SHA-256 of everything in it, sorted
#   ctl ARGUMENT...              runs snapgroupctl; sets RC, OUTPUT and ERRORS, what it has written
#   expect_ctl RC ARGUMENT...    the same, and it must end with that status
#   expect_output FILTER [JQ_ARGUMENT...]       jq's filter must be true of OUTPUT
#   spawn COMMAND...             runs it in the background until the test ends; sets SPAWNED
#   begin_slow_create            POST /devices (vda, raw) in the background, with slow fsyncs
#   expect_slow_create           waits for that call, which must succeed
#   wait_until COMMAND...        repeats it until it succeeds; fails after $DEADLINE_S seconds
#   fail MESSAGE, skip MESSAGE   end the test
#
# When the test ends, its processes are stopped and $TMP is removed. The test fails if the daemon
# died, does not stop cleanly, a sanitizer reported anything, or a reply that api() got is not as
# api/openapi.yaml has it (openapi.py). $SNAPGROUPD, $BUILD_DIR and
# $SOURCE_DIR come from ctest; without it they are those of the dev preset.
# shellcheck disable=SC2034 # for the tests
set -Eeuo pipefail
export LC_ALL=C

SOURCE_DIR=${SOURCE_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
BUILD_DIR=${BUILD_DIR:-$SOURCE_DIR/build/dev}
SNAPGROUPD=${SNAPGROUPD:-$BUILD_DIR/snapgroupd}
SNAPGROUPCTL=${SNAPGROUPCTL:-$BUILD_DIR/snapgroupctl}
DEADLINE_S=${DEADLINE_S:-60}
POLL_S=0.01
# shellcheck source=tests/lib/sanitizers.sh
. "$SOURCE_DIR/tests/lib/sanitizers.sh"

TMP=$(mktemp -d "${TMPDIR:-/tmp}/sg.XXXXXX") # short: a Unix socket's path has at most 107 bytes
IMAGES=$TMP/images STATE=$TMP/state RUNTIME=$TMP/run
DAEMON_LOG=$TMP/daemon.log EXCHANGES=$TMP/exchanges
mkdir "$IMAGES" "$STATE" "$RUNTIME"
: >"$DAEMON_LOG"

DAEMON_PID='' # empty: stopped by the test
DAEMON_ARGUMENTS=() DAEMON_STDOUT='' DAEMON_STATUS=''
SPAWNED='' SPAWNED_ALL=()
STATUS='' BODY='' HEADERS='' TOKEN='' RC='' OUTPUT='' ERRORS=''

fail() {
    trap - ERR
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

skip() {
    printf 'SKIPPED: %s\n' "$*" >&2
    exit 77
}

start_daemon() {
    [ -z "$DAEMON_PID" ] || fail "start_daemon: it is running already"
    DAEMON_ARGUMENTS=("$@")
    rm -f "$TMP/stdout" "$TMP/said" # its output until it is ready
    mkfifo "$TMP/stdout"
    # The daemon dies with this shell, however that ends.
    setpriv --pdeathsig KILL "$SNAPGROUPD" --state-dir "$STATE" --image-dir "$IMAGES" \
        --runtime-dir "$RUNTIME" "$@" >"$TMP/stdout" 2>>"$DAEMON_LOG" &
    DAEMON_PID=$!
    exec {DAEMON_STDOUT}<"$TMP/stdout"
    local line=''
    until [ "$line" = ready ]; do
        read -r -t "$DEADLINE_S" -u "$DAEMON_STDOUT" line || fail "the daemon did not become ready"
        printf '%s\n' "$line" >>"$TMP/said"
    done
}

# Sends the signal, waits for the end of the daemon's standard output, and sets DAEMON_STATUS: its
# exit status, or 124 if it was killed at the deadline.
end_daemon() {
    local rc=0 line
    kill "-$1" "$DAEMON_PID" 2>/dev/null || true # it may have died: its status is checked
    while [ "$rc" -eq 0 ]; do
        read -r -t "$DEADLINE_S" -u "$DAEMON_STDOUT" line || rc=$?
    done
    exec {DAEMON_STDOUT}<&-
    [ "$rc" -eq 1 ] || kill -KILL "$DAEMON_PID"
    DAEMON_STATUS=0
    wait "$DAEMON_PID" 2>/dev/null || DAEMON_STATUS=$?
    [ "$rc" -eq 1 ] || DAEMON_STATUS=124
    DAEMON_PID=''
}

stop_daemon() {
    end_daemon TERM
    [ "$DAEMON_STATUS" -eq 0 ] || fail "the daemon ended with status $DAEMON_STATUS instead of 0"
}

kill_daemon() {
    end_daemon KILL
    [ "$DAEMON_STATUS" -eq 137 ] || fail "the daemon had ended by itself, status $DAEMON_STATUS"
}

restart_daemon() {
    [ -z "$DAEMON_PID" ] || stop_daemon
    start_daemon ${DAEMON_ARGUMENTS[@]+"${DAEMON_ARGUMENTS[@]}"}
}

api() {
    local method=$1 path=$2 json=${3-} headers
    headers=$(mktemp "$TMP/headers.XXXXXX")
    shift "$(($# < 3 ? $# : 3))"
    local request=(--silent --show-error --max-time "$DEADLINE_S" --unix-socket "$RUNTIME/api.sock"
        --request "$method" --dump-header "$headers" --write-out '\n%{http_code}')
    [ "$method" != HEAD ] || request+=(--head --output /dev/null)
    [ -z "$json" ] || request+=(--header 'Content-Type: application/json' --data-raw "$json")
    local answer
    answer=$(curl "${request[@]}" "$@" "http://localhost$path") ||
        fail "$method $path: curl got no answer"
    STATUS=${answer##*$'\n'}
    BODY=${answer%$'\n'*}
    HEADERS=$(tr -d '\r' <"$headers")
    rm -f "$headers"
    printf '%s\0' "$method" "$path" "$STATUS" "$HEADERS" "$BODY" >>"$EXCHANGES"
}

expect_status() {
    [ "$STATUS" = "$1" ] || fail "status $STATUS instead of $1: $BODY"
}

# expect_in JSON FILTER [ARGUMENT OF JQ...]
expect_in() {
    local json=$1 filter=$2
    shift 2
    jq --exit-status "$filter" "$@" >/dev/null <<<"$json" || fail "not true: $filter $* in: $json"
}

expect_json() { expect_in "$BODY" "$@"; }

create_device() {
    local name=$1 format=$2 size=$3 extra=${4-} body
    [ -n "$extra" ] || extra='{}'
    body=$(jq --null-input --compact-output --arg name "$name" --arg format "$format" \
        --argjson size "$(numfmt --from=iec "$size")" --argjson extra "$extra" \
        '{name: $name, image: "\($name).\($format)", format: $format, size_bytes: $size} + $extra')
    api POST /devices "$body"
    expect_status 201
}

has_no_clients() { api GET "/devices/$1" && jq --exit-status '.clients == 0' <<<"$BODY"; }

# Once its clients have gone, which the daemon may see after they have ended.
delete_device() {
    wait_until has_no_clients "$1"
    api DELETE "/devices/$1"
}

snapshot() {
    local name=$1 body
    shift
    body=$(jq --null-input --compact-output --arg name "$name" \
        '{name: $name, devices: [$ARGS.positional[] | {device: .}]}' --args "$@")
    api POST /snapshot-groups "$body"
    expect_status 201
}

create_token() {
    api POST /tokens "{\"name\":\"$1\",\"scope\":\"$2\"}"
    expect_status 201
    TOKEN=$(jq --raw-output .secret <<<"$BODY")
}

ctl() {
    RC=0
    SNAPGROUPCTL_SOCKET=${SNAPGROUPCTL_SOCKET-$RUNTIME/api.sock} HOME=${CTL_HOME-$TMP} "$SNAPGROUPCTL" "$@" \
        >"$TMP/ctl.out" 2>"$TMP/ctl.err" </dev/null || RC=$?
    OUTPUT=$(tr -d '\0' <"$TMP/ctl.out") ERRORS=$(tr -d '\0' <"$TMP/ctl.err")
}

expect_ctl() {
    local rc=$1
    shift
    ctl "$@"
    [ "$RC" = "$rc" ] || fail "snapgroupctl $* ends with $RC instead of $rc: $OUTPUT $ERRORS"
}

expect_output() { expect_in "$OUTPUT" "$@"; }

nbd_uri() {
    printf 'nbd+unix:///%s?socket=%s\n' "$1" "$RUNTIME/nbd.sock"
}

qcow2_check() {
    local rc=0 report
    report=$(qemu-img check --force-share -f qcow2 "$1" 2>&1) || rc=$?
    [ "$rc" -eq 0 ] || { [ "$rc" -eq 3 ] && [ "${2-}" != no-leaks ]; } ||
        fail "qemu-img check $1 ends with $rc: $report"
}

checksums() {
    (
        cd "$1"
        find . -mindepth 1 -printf '%P %y %s %l\n' | sort
        find . -type f -print0 | sort -z | xargs -0 -r sha256sum
    )
}

spawn() {
    setpriv --pdeathsig KILL "$@" &
    SPAWNED=$!
    SPAWNED_ALL+=("$SPAWNED")
}

begin_slow_create() {
    strace -f -qq -o "$TMP/strace" -p "$DAEMON_PID" -e trace=fsync -e inject=fsync:delay_enter=700000 \
        2>"$TMP/strace.err" &
    TRACER=$!
    wait_until is_traced
    spawn curl --silent --unix-socket "$RUNTIME/api.sock" --header 'Content-Type: application/json' \
        --output "$TMP/body" http://localhost/devices \
        --data-raw '{"name":"vda","image":"vda.raw","format":"raw","size_bytes":1048576}'
    wait_until has_images
}

has_images() {
    [ -n "$(ls -A "$IMAGES")" ]
}

is_traced() {
    kill -0 "$TRACER" 2>/dev/null || skip "strace cannot attach here: $(cat "$TMP/strace.err")"
    ! grep -q '^TracerPid:[[:space:]]*0$' "/proc/$DAEMON_PID/status"
}

expect_slow_create() {
    wait "$SPAWNED" || fail "curl got no answer: status $?"
    wait "$TRACER" || true
    jq --exit-status '.name == "vda" and .state == "online"' "$TMP/body" >/dev/null ||
        fail "answer: $(cat "$TMP/body")"
}

wait_until() {
    local end=$((SECONDS + DEADLINE_S))
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "not within $DEADLINE_S s: $*"
        sleep "$POLL_S"
    done
}

# Ends the test: first its helpers, so that no client is connected, then the daemon.
finish() {
    local rc=$? pid
    trap - EXIT ERR
    set +Ee
    for pid in ${SPAWNED_ALL[@]+"${SPAWNED_ALL[@]}"}; do
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    if [ -n "$DAEMON_PID" ] && [ "$rc" -ne 0 ]; then
        end_daemon KILL
    elif [ -n "$DAEMON_PID" ]; then
        end_daemon TERM
        if [ "$DAEMON_STATUS" -ne 0 ]; then
            echo "FAILED: the daemon ended with status $DAEMON_STATUS instead of 0" >&2
            rc=1
        fi
    fi
    if grep -qE "$SANITIZER_REPORT" "$DAEMON_LOG"; then
        echo 'FAILED: a sanitizer reported' >&2
        rc=1
    fi
    if [ "$rc" -eq 0 ] && [ -s "$EXCHANGES" ]; then
        /usr/bin/python3 -B "$SOURCE_DIR/tests/lib/openapi.py" "$EXCHANGES" || rc=1
    fi
    if [ "$rc" -ne 0 ] && [ "$rc" -ne 77 ] && [ -s "$DAEMON_LOG" ]; then
        echo '--- daemon.log' >&2
        tail -n 200 "$DAEMON_LOG" >&2
    fi
    rm -rf "$TMP"
    exit "$rc"
}

trap 'echo "FAILED: ${BASH_SOURCE[0]##*/}:$LINENO: status $?: $BASH_COMMAND" >&2' ERR
trap finish EXIT
trap 'exit 130' INT TERM HUP
