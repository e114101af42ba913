#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A frozen image is never written after its group is committed: not by the disk's users, later
# groups, reads of the frozen member or a restart; and a frozen member cannot be written over NBD.
. "$(dirname "$0")/../lib/functions.sh"

start_daemon
create_device vda raw 4M
create_device vdb qcow2 4M
for name in vda vdb; do
    qemu-io -f raw -c 'write -q -P 1 0 3M' "$(nbd_uri "$name")" # no flush: freezing is to see to that
done
snapshot one vda vdb

frozen_checksums() {
    (cd "$IMAGES" && sha256sum vda.raw vdb.qcow2)
}
before=$(frozen_checksums)
for name in vda vdb; do
    qemu-io -f raw -c 'write -q -P 2 1M 2M' -c 'discard -q 0 1M' -c 'write -q -z 3M 1M' -c flush \
        "$(nbd_uri "$name")"
done
snapshot two vda vdb
for name in vda vdb; do
    qemu-io -r -f raw -c 'read -q -P 1 0 3M' -c 'read -q -P 0 3M 1M' "$(nbd_uri "$name@one")"
    nbdinfo --is read-only "$(nbd_uri "$name@one")" || fail "$name@one is not read-only"
    if qemu-io -f raw -c 'write 0 512' "$(nbd_uri "$name@one")" >"$TMP/qemu-io" 2>&1; then
        fail "$name@one was written: $(cat "$TMP/qemu-io")"
    fi
done
restart_daemon
qemu-io -f raw -c 'write -q -P 3 0 4M' -c flush "$(nbd_uri vda)"
stop_daemon
[ "$(frozen_checksums)" = "$before" ] || fail "a frozen image has changed"
