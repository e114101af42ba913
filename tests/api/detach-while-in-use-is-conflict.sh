#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A device with a connected client cannot be detached, and the client continues; after it has
# disconnected, the detach succeeds.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon
create_device vda raw 8M

mkfifo "$TMP/commands"
# shellcheck disable=SC2016 # for the inner shell
spawn bash -c 'exec stdbuf -o0 qemu-io -f raw "$1" <"$2" >"$3" 2>&1' - "$(nbd_uri vda)" "$TMP/commands" "$TMP/io"
exec {commands}>"$TMP/commands"
echo 'write -P 1 0 4k' >&"$commands"
wait_until grep -q 'wrote 4096' "$TMP/io"

api DELETE /devices/vda
expect_status 409
expect_json '.code == "DeviceInUse" and .device == "vda" and .retryable == true'
expect_json '.detail | test("client|connect|NBD")'
echo 'write -P 2 4k 4k' >&"$commands" # one line at a time: qemu-io does not look at a second one it has buffered
wait_until grep -q 'wrote 4096/4096 bytes at offset 4096' "$TMP/io"
echo 'read -P 1 0 4k' >&"$commands"
wait_until grep -q 'read 4096' "$TMP/io"
! grep -qi -e error -e fail "$TMP/io" || fail "the client saw: $(cat "$TMP/io")"

exec {commands}>&-
wait "$SPAWNED" || fail "qemu-io ended with $?"
delete_device vda
expect_status 204
qemu-io -f raw -c 'read -P 1 0 4k' -c 'read -P 2 4k 4k' "$IMAGES/vda.raw" | grep -c '^read 4096' |
    grep -qx 2 || fail "the image does not hold what was written"
