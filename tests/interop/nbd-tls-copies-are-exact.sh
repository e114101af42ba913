#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Copies by nbdcopy and qemu-img convert, and requests of every kind by qemu-io, over TLS with
# certificates and with keys, TCP and Unix sockets, are exact, and so are the images.
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/copies.sh"

"$SOURCE_DIR/tests/lib/certificates.sh" "$TMP/pki" >/dev/null
make_wanted 32M 0:3000000 5000001:777 20000000:9000000 33554000:432

start_daemon --nbd 127.0.0.1:0 --nbd "unix:$RUNTIME/nbd.sock" --nbd-tls required --nbd-tls-verify-peer \
    --nbd-tls-cert-dir "$TMP/pki/server" --nbd-tls-psk "$TMP/pki/psk"
create_device vda raw 32M
create_device vdb qcow2 32M
create_device vdc qcow2 32M
PORT=$(sed -n 's/^nbd 127.0.0.1://p' "$TMP/said")

vda="nbds://127.0.0.1:$PORT/vda?tls-certificates=$TMP/pki/client"
vdb="nbds+unix://alice@/vdb?socket=$RUNTIME/nbd.sock&tls-psk-file=$TMP/pki/psk"
for uri in "$vda" "$vdb"; do
    copy_there_and_back "$uri"
done
vdc="driver=nbd,host=127.0.0.1,port=$PORT,export=vdc,tls-creds=tls"
tls=(--object "tls-creds-x509,id=tls,endpoint=client,dir=$TMP/pki/client")
qemu-img convert "${tls[@]}" -n --target-image-opts -f raw "$TMP/wanted" "$vdc"
qemu-img convert "${tls[@]}" -m 16 -W --image-opts -O raw "$vdc" "$TMP/copy"
same "$TMP/copy"
qemu-io "${tls[@]}" -c 'write -P 7 100 70000' -c 'write -z 20M 1M' -c 'discard 1M 64k' -c flush \
    -c 'read -P 7 100 70000' -c 'read -P 0 20M 1M' --image-opts "$vdc" >"$TMP/out"
! grep -qi 'fail\|error' "$TMP/out" || fail "qemu-io: $(cat "$TMP/out")"

stop_daemon # while nobody waits: all is on disk
for image in vda.raw vdb.qcow2; do
    qemu-img compare -f raw -F "${image##*.}" "$TMP/wanted" "$IMAGES/$image"
done
qcow2_check "$IMAGES/vdb.qcow2"
qcow2_check "$IMAGES/vdc.qcow2"
