#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Of the names of a certificate the first 16 count, and none with more than 127 bytes: a client has
# the scope of such a name, and none of another. GET /limits: tls_client_names,
# tls_client_name_bytes.
. "$(dirname "$0")/../lib/functions.sh"

pki=$TMP/pki
"$SOURCE_DIR/tests/lib/certificates.sh" "$pki" >/dev/null

issue() { # NAME LINE...: a certificate of a client, of that common name
    printf '%s\n' "cn = \"$1\"" 'expiration_days = 30' signing_key tls_www_client "${@:2}" >"$TMP/template"
    certtool --generate-certificate --load-ca-privkey "$pki/ca-key.pem" --load-ca-certificate "$pki/ca-cert.pem" \
        --load-privkey "$pki/client/client-key.pem" --template "$TMP/template" --no-text --outfile "$TMP/$1.pem" 2>"$TMP/certtool"
}

expect_call() { # NAME SCOPED STATUS: with NAME's certificate, where the name SCOPED may read
    start_daemon --listen "unix:$RUNTIME/api.sock" --listen tls:127.0.0.1:0 --tls-cert-dir "$pki/server" \
        --tls-client-scope "$2=read"
    local got
    got=$(curl --silent --show-error --max-time "$DEADLINE_S" --cacert "$pki/ca-cert.pem" --cert "$TMP/$1.pem" \
        --key "$pki/client/client-key.pem" --output /dev/null --write-out '%{http_code}' \
        "https://localhost:$(sed -n 's/^api tls:.*://p' "$TMP/said")/devices")
    [ "$got" = "$3" ] || fail "$1 as $2: $got"
    stop_daemon
}

mapfile -t lines < <(printf 'dns_name = "n%d"\n' {2..17})
issue many "${lines[@]}"
expect_call many n16 200
expect_call many n17 401
name=urn:$(printf 'x%.0s' {1..123})
issue long "uri = \"$name\""
expect_call long "$name" 200
issue longer "uri = \"${name}x\""
expect_call longer "${name}x" 401
