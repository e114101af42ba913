#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# REST over TLS, with curl: every call is served, on loopback and beyond; the client checks the
# server; a certificate has the scope that its name is mapped to, none without a mapping, and a bad
# one gets no connection. Plain HTTP, TLS 1.1, and options and files that are wrong are refused.
. "$(dirname "$0")/../lib/functions.sh"

pki=$TMP/pki
"$SOURCE_DIR/tests/lib/certificates.sh" "$pki" >/dev/null

https() { # CLIENT METHOD PATH [JSON [CURL_ARGUMENT...]]: as api(); CLIENT: a folder, or none
    local client=$1 method=$2 path=$3 json=${4-}
    shift "$(($# < 4 ? $# : 4))"
    local request=(--silent --show-error --max-time "$DEADLINE_S" --cacert "$pki/ca-cert.pem"
        --request "$method" --write-out '\n%{http_code}')
    [ "$client" = none ] || request+=(--cert "$pki/$client/client-cert.pem" --key "$pki/$client/client-key.pem")
    [ -z "$json" ] || request+=(--header 'Content-Type: application/json' --data-raw "$json")
    local answer
    answer=$(curl "${request[@]}" "$@" "https://localhost:$PORT$path" 2>"$TMP/curl") || return 1
    STATUS=${answer##*$'\n'}
    BODY=${answer%$'\n'*}
}

serve() { # ADDRESS ARGUMENT...: sets PORT
    start_daemon --listen "unix:$RUNTIME/api.sock" --listen "tls:$1" --tls-cert-dir "$pki/server-crl" "${@:2}"
    PORT=$(sed -n 's/^api tls:.*://p' "$TMP/said")
}

refused() { # STATUS REGEX ARGUMENT...: the daemon must not start
    local wanted=$1 regex=$2 status=0
    timeout "$DEADLINE_S" "$SNAPGROUPD" --state-dir "$TMP/state2" --image-dir "$IMAGES" --runtime-dir "$TMP/run2" \
        "${@:3}" >"$TMP/out" 2>"$TMP/err" </dev/null || status=$?
    [ "$status" -eq "$wanted" ] || fail "${*:3}: ended with $status: $(cat "$TMP/err")"
    grep -qE -- "$regex" "$TMP/err" || fail "${*:3}: says $(cat "$TMP/err")"
}

serve 127.0.0.1:0 --tls-client-scope client=admin --tls-client-scope nobody=admin
https none GET /livez || fail "no certificate: $(cat "$TMP/curl")"
expect_status 200
https none GET /devices
expect_status 401
https client POST /devices '{"name":"vda","image":"vda.raw","format":"raw","size_bytes":1048576}'
expect_status 201
https client POST /snapshot-groups '{"name":"one","devices":[{"device":"vda"}]}'
expect_status 201
https client GET /snapshot-groups/one
expect_status 200
https client GET '/events'
expect_json '[.items[].actor] | any(. == "certificate client")'
https client DELETE /devices/vda
expect_status 204
spawn curl --silent --no-buffer --cacert "$pki/ca-cert.pem" --cert "$pki/client/client-cert.pem" \
    --key "$pki/client/client-key.pem" --header 'Accept: text/event-stream' --output "$TMP/stream" \
    "https://localhost:$PORT/events?after=0"
wait_until grep -q 'device.detached' "$TMP/stream" # what was before
https client POST /devices '{"name":"later","image":"later.raw","format":"raw","size_bytes":1048576}'
expect_status 201
wait_until grep -q '"later"' "$TMP/stream"
https client GET /nowhere '' --header 'Host: daemon.example'
expect_status 404
curl --silent --max-time "$DEADLINE_S" "http://127.0.0.1:$PORT/livez" >"$TMP/out" || fail "plain HTTP gets no answer"
jq -e '.status == 400 and .code == "MalformedRequest" and (.detail | contains("https://"))' "$TMP/out" >/dev/null ||
    fail "plain HTTP gets $(cat "$TMP/out")"
! curl --silent --max-time "$DEADLINE_S" --cacert "$pki/other-cert.pem" "https://localhost:$PORT/livez" ||
    fail "another CA's client trusts the server"
for bad in stranger revoked expired early purpose; do
    ! https "client-$bad" GET /livez || fail "a certificate of client-$bad is taken"
done
grep -q 'REST client refused: TLS: .*revoked' "$DAEMON_LOG" || fail "the log does not tell of a revoked certificate"
! gnutls-cli --priority 'NORMAL:-VERS-ALL:+VERS-TLS1.1' --x509cafile "$pki/ca-cert.pem" --port "$PORT" localhost \
    </dev/null >"$TMP/out" 2>&1 || fail "TLS 1.1 is served"
https client GET /readyz
expect_status 200
stop_daemon

# A lesser scope; of two mappings the highest counts, and names may be DNS names.
serve 127.0.0.1:0 --tls-client-scope client=read
https client GET /devices
expect_status 200
https client DELETE /devices/vda
expect_status 403
stop_daemon
# On every interface.
serve 0.0.0.0:0 --tls-client-scope client=read --tls-client-scope localhost=snapshot
https client POST /snapshot-groups '{"name":"two","devices":[{"device":"gone"}]}'
expect_status 404
https client DELETE /devices/vda
expect_status 403
stop_daemon
serve 127.0.0.1:0
https client GET /devices
expect_status 401
stop_daemon

refused 1 'loopback address: .*tls:' --listen 0.0.0.0:0
refused 1 'loopback address: .*tls:' --listen 0.0.0.0:0 --listen tls:127.0.0.1:0 --tls-cert-dir "$pki/server"
refused 2 'needs --tls-cert-dir' --listen tls:127.0.0.1:0
refused 2 'is for TCP' --listen "tls:unix:$TMP/x" --tls-cert-dir "$pki/server"
refused 2 'needs --listen tls:' --tls-cert-dir "$pki/server"
refused 2 'needs --listen tls:' --tls-client-scope a=read
refused 2 'NAME=read' --listen tls:127.0.0.1:0 --tls-cert-dir "$pki/server" --tls-client-scope a=root
refused 1 'server-expired/server-cert.pem. has expired' --listen tls:127.0.0.1:0 --tls-cert-dir "$pki/server-expired"
refused 1 'nowhere/server-cert.pem' --listen tls:127.0.0.1:0 --tls-cert-dir "$pki/nowhere"
chmod o+r "$pki/server/server-key.pem"
refused 1 'server/server-key.pem.*0604.*chmod' --listen tls:127.0.0.1:0 --tls-cert-dir "$pki/server"
