#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The long repair of a dirty image delays nobody who does not need it: a DELETE of the device that
# is being attached ends the attach, unless it has a condition, which no device meets yet; and
# SIGTERM ends the daemon, while it serves and while it starts.
#
# The image: 8 TiB of holes with 4096 refcount blocks, each count of which is looked at.
. "$(dirname "$0")/../lib/functions.sh"

image_make() {
    qemu-img create -q -f qcow2 "$IMAGES/slow" 1G
    python3 - "$IMAGES/slow" <<'PYTHON'
import struct, sys
CLUSTER, BLOCKS = 65536, 4096
with open(sys.argv[1], "r+b") as image:
    image.truncate(BLOCKS * 32768 * CLUSTER)
    image.seek(CLUSTER + 8)
    image.write(b"".join(struct.pack(">Q", (16 + i) * CLUSTER) for i in range(1, BLOCKS)))
PYTHON
}

dirty() {
    printf '\1' | dd of="$IMAGES/slow" bs=1 seek=79 conv=notrunc status=none
}

is_open() {
    [ -n "$(find "/proc/$DAEMON_PID/fd" -lname '*/slow')" ]
}

attach() { # in the background; its answer goes to $TMP/attached
    spawn curl --silent --max-time "$DEADLINE_S" --unix-socket "$RUNTIME/api.sock" --output "$TMP/attached" \
        --header 'Content-Type: application/json' --data '{"name":"a","image":"slow","format":"qcow2"}' \
        http://localhost/devices
}

# Much less than the repair takes.
within_seconds() { # SECONDS START
    local took=$((SECONDS - $2))
    [ "$took" -le "$1" ] || fail "it took $took s"
}

image_make
start_daemon
api POST /devices '{"name":"a","image":"slow","format":"qcow2"}'
expect_status 201
api DELETE /devices/a
expect_status 204

dirty
attach
attaching=$SPAWNED
wait_until is_open
start=$SECONDS
for condition in '"another"' '*'; do
    api DELETE /devices/a '' --header "If-Match: $condition"
    expect_status 404
done
is_open || fail "a DELETE with a condition has ended the attach"
api DELETE /devices/a
expect_status 204
wait "$attaching"
within_seconds 3 "$start"
[ "$(jq --raw-output .code "$TMP/attached")" = NotReady ] || fail "$(cat "$TMP/attached")"
api GET /devices
expect_json '.items == []'

attach
wait_until is_open
start=$SECONDS
stop_daemon
within_seconds 3 "$start"

# The device is recorded before its image becomes dirty, and its repair meets the start.
printf '\0' | dd of="$IMAGES/slow" bs=1 seek=79 conv=notrunc status=none
start_daemon
api POST /devices '{"name":"a","image":"slow","format":"qcow2"}'
expect_status 201
stop_daemon
dirty
"$SNAPGROUPD" --state-dir "$STATE" --image-dir "$IMAGES" --runtime-dir "$RUNTIME" 2>>"$DAEMON_LOG" \
    >"$TMP/out" &
DAEMON_PID=$!
wait_until is_open
start=$SECONDS
kill -TERM "$DAEMON_PID"
status=0
wait "$DAEMON_PID" || status=$?
DAEMON_PID=''
[ "$status" -eq 0 ] || fail "status $status"
within_seconds 3 "$start"
