#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# TLS with libnbd's and QEMU's clients: valid certificates and keys are accepted, over TCP and Unix
# sockets; plain text, other issuers, no certificate, and revoked and expired ones are not. With
# --nbd-tls optional plain text is accepted too, but not from beyond loopback. A server without TLS
# cannot make a client that requires it use plain text.
. "$(dirname "$0")/../lib/functions.sh"

"$SOURCE_DIR/tests/lib/certificates.sh" "$TMP/pki" >/dev/null
mkdir "$TMP/keys"
cp "$TMP/pki/psk" "$TMP/keys/keys.psk"
start_daemon
create_device vda raw 1M
stop_daemon

serve() { # ADDRESS ARGUMENT...: starts the daemon there and on its Unix socket; sets PORT
    local address=$1
    shift
    start_daemon --nbd "$address" --nbd "unix:$RUNTIME/nbd.sock" --nbd-tls-cert-dir "$TMP/pki/server-crl" "$@"
    api GET /devices/vda
    URI=$(jq -r .export.uri <<<"$BODY")
    PORT=$(sed -n "s/^nbd ${address%:*}://p" "$TMP/said")
}

libnbd() { nbdinfo --size "$1" >"$TMP/out" 2>&1; }

qemu() { # OBJECT [PORT]
    qemu-io --object "$1,id=tls,endpoint=client" -r -c 'read 0 64k' --image-opts \
        "driver=nbd,host=127.0.0.1,port=${2-$PORT},export=vda,tls-creds=tls" >"$TMP/out" 2>&1 &&
        grep -q '^read 65536/65536' "$TMP/out"
}

admitted() { "$@" || fail "not admitted: $*: $(cat "$TMP/out")"; }
refused() { ! "$@" || fail "admitted: $*"; }

x509() { # FOLDER: what libnbd's URI needs of it
    echo "tls-certificates=$TMP/pki/$1"
}

check_clients() { # what holds in either mode
    local bad
    admitted libnbd "nbds://127.0.0.1:$PORT/vda?$(x509 client)"
    admitted libnbd "nbds+unix:///vda?socket=$RUNTIME/nbd.sock&$(x509 client)"
    admitted qemu "tls-creds-x509,dir=$TMP/pki/client"
    admitted libnbd "nbds://alice@127.0.0.1:$PORT/vda?tls-psk-file=$TMP/pki/psk"
    admitted qemu "tls-creds-psk,dir=$TMP/keys,username=bob"
    for bad in revoked expired early purpose stranger none wrong-ca; do
        refused libnbd "nbds://127.0.0.1:$PORT/vda?$(x509 client-$bad)"
    done
    for bad in revoked purpose none wrong-ca; do # the others it does not even try
        refused qemu "tls-creds-x509,dir=$TMP/pki/client-$bad"
    done
    refused libnbd "nbds://alice@127.0.0.1:$PORT/vda?tls-psk-file=$TMP/pki/psk-mallory"
}

both=(--nbd-tls-verify-peer --nbd-tls-psk "$TMP/pki/psk")
serve 127.0.0.1:0 --nbd-tls required "${both[@]}"
[[ $URI = nbds+unix://* ]] || fail "the export's URI is $URI"
check_clients
refused libnbd "nbd://127.0.0.1:$PORT/vda"
grep -q 'requires TLS' "$TMP/out" || fail "a plain client is told $(cat "$TMP/out")"
refused libnbd "nbd+unix:///vda?socket=$RUNTIME/nbd.sock"
refused qemu-img info "nbd://127.0.0.1:$PORT/vda"
nbdinfo --json "nbds://127.0.0.1:$PORT/vda?$(x509 client)" | jq -e .TLS >/dev/null || fail "no TLS is seen"
grep -q 'chain is revoked' "$DAEMON_LOG" || fail "the log does not tell of a revoked certificate"
stop_daemon

serve 127.0.0.1:0 --nbd-tls optional "${both[@]}"
[[ $URI = nbd+unix://* ]] || fail "the export's URI is $URI"
check_clients
admitted libnbd "nbd://127.0.0.1:$PORT/vda"
admitted libnbd "nbd+unix:///vda?socket=$RUNTIME/nbd.sock"
stop_daemon

serve 0.0.0.0:0 --nbd-tls optional "${both[@]}"
check_clients
refused libnbd "nbd://127.0.0.1:$PORT/vda"
admitted libnbd "nbd+unix:///vda?socket=$RUNTIME/nbd.sock"
stop_daemon

# Nothing is asked of clients: the server alone shows who it is.
serve 127.0.0.1:0 --nbd-tls required
admitted libnbd "nbds://127.0.0.1:$PORT/vda?$(x509 client-none)"
refused libnbd "nbds://127.0.0.1:$PORT/vda?$(x509 client-wrong-ca)"
stop_daemon

start_daemon --nbd 127.0.0.1:0 # no TLS
api GET /devices/vda
URI=$(jq -r .export.uri <<<"$BODY")
refused libnbd "${URI/nbd:/nbds:}?$(x509 client)"
refused qemu "tls-creds-x509,dir=$TMP/pki/client" "$(grep -oE '[0-9]+/' <<<"$URI" | tr -d /)"
