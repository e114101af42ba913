#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A device with allowed_clients, with libnbd's and QEMU's clients: those whose certificate or
# pre-shared key has one of the names open its export and those of its frozen members; others, and
# clients without TLS, do not, and are told why. A PATCH holds at once for who connects then, also
# after a restart, and for frozen members after a detach, whoever has the name then.
. "$(dirname "$0")/../lib/functions.sh"

"$SOURCE_DIR/tests/lib/certificates.sh" "$TMP/pki" >/dev/null
mkdir "$TMP/keys"
cp "$TMP/pki/psk" "$TMP/keys/keys.psk"

start() {
    start_daemon --nbd 127.0.0.1:0 --nbd "unix:$RUNTIME/nbd.sock" --nbd-tls optional \
        --nbd-tls-cert-dir "$TMP/pki/server" --nbd-tls-verify-peer --nbd-tls-psk "$TMP/pki/psk"
    PORT=$(sed -n 's/^nbd 127.0.0.1://p' "$TMP/said")
}

clients=(certificate alice bob plain)

libnbd() { # CLIENT EXPORT
    case $1 in
        certificate) nbdinfo --size "nbds+unix:///$2?socket=$RUNTIME/nbd.sock&tls-certificates=$TMP/pki/client" ;;
        plain) nbdinfo --size "nbd+unix:///$2?socket=$RUNTIME/nbd.sock" ;;
        *) nbdinfo --size "nbds://$1@127.0.0.1:$PORT/$2?tls-psk-file=$TMP/pki/psk" ;;
    esac >"$TMP/out" 2>&1
}

qemu() { # CLIENT EXPORT
    local tls=(--object "tls-creds-x509,dir=$TMP/pki/client,id=tls,endpoint=client") creds=,tls-creds=tls
    case $1 in
        plain) tls=() creds= ;;
        alice | bob) tls=(--object "tls-creds-psk,dir=$TMP/keys,username=$1,id=tls,endpoint=client") ;;
    esac
    qemu-img info "${tls[@]}" --image-opts "driver=nbd,host=127.0.0.1,port=$PORT,export=$2$creds" >"$TMP/out" 2>&1
}

expect_admitted() { # EXPORT CLIENT...: these get in, and no others
    local client tool export=$1
    shift
    for client in "${clients[@]}"; do
        for tool in libnbd qemu; do
            if [[ " $* " = *" $client "* ]]; then
                $tool "$client" "$export" || fail "$tool: $client is refused $export: $(cat "$TMP/out")"
            elif $tool "$client" "$export"; then
                fail "$tool: $client opens $export"
            else
                grep -qiE 'policy|denied|limited to|not permitted' "$TMP/out" ||
                    fail "$tool: $client is told of $export: $(cat "$TMP/out")"
            fi
        done
    done
}

allow() { # JSON
    api PATCH /devices/vda '' --header 'Content-Type: application/merge-patch+json' \
        --data-raw "{\"allowed_clients\":$1}"
    expect_status 200
}

start
create_device vda qcow2 1M
snapshot first vda
expect_admitted vda "${clients[@]}"
allow '["alice","client"]'
expect_admitted vda certificate alice
expect_admitted vda@first certificate alice
snapshot second vda
expect_admitted vda@second certificate alice
grep -q "limited to other clients than 'bob'" "$DAEMON_LOG" || fail "the log does not tell of bob"

nbdinfo --list "nbd+unix:///?socket=$RUNTIME/nbd.sock" >"$TMP/list" 2>&1 || fail "a list: $(cat "$TMP/list")"
! grep -q vda "$TMP/list" || fail "plain clients see vda: $(cat "$TMP/list")"
nbdinfo --list "nbds://alice@127.0.0.1:$PORT/?tls-psk-file=$TMP/pki/psk" >"$TMP/list"
grep -q 'export="vda@second"' "$TMP/list" || fail "alice does not see all: $(cat "$TMP/list")"

# Who is connected stays, whatever the list becomes.
mkfifo "$TMP/commands"
stdbuf -oL qemu-io --object "tls-creds-psk,dir=$TMP/keys,username=alice,id=tls,endpoint=client" --image-opts \
    "driver=nbd,host=127.0.0.1,port=$PORT,export=vda,tls-creds=tls" <"$TMP/commands" >"$TMP/io" 2>&1 &
guest=$!
exec 9>"$TMP/commands"
echo 'write 0 64k' >&9
wait_until grep -q 'wrote 65536/65536' "$TMP/io"
allow '["bob","localhost"]' # the certificate's DNS name
expect_admitted vda certificate bob
echo 'read 0 64k' >&9
wait_until grep -q 'read 65536/65536' "$TMP/io"
exec 9>&-
wait "$guest" || fail "the connected guest: $(cat "$TMP/io")"
expect_admitted vda@first certificate bob

kill_daemon
start
expect_admitted vda certificate bob
expect_admitted vda@first certificate bob
allow null
expect_admitted vda "${clients[@]}"
expect_admitted vda@second "${clients[@]}"

# A detached device's frozen members keep the last list, also against a new device of the name.
allow '["alice"]'
api DELETE /devices/vda
expect_status 204
expect_admitted vda@first alice
create_device vda raw 1M
expect_admitted vda "${clients[@]}"
expect_admitted vda@first alice
kill_daemon
start
expect_admitted vda "${clients[@]}"
expect_admitted vda@first alice
