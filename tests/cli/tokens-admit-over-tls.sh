#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# Tokens are made, listed and revoked. With --url, --token-file and --ca-file the daemon is reached
# over TLS; settings come from the command line, the environment and the file, in this order.
. "$(dirname "$0")/../lib/functions.sh"
"$SOURCE_DIR/tests/lib/certificates.sh" "$TMP/pki" >/dev/null 2>&1
start_daemon --listen "unix:$RUNTIME/api.sock" --listen tls:127.0.0.1:0 --listen 127.0.0.1:0 \
    --tls-cert-dir "$TMP/pki/server" --tls-client-scope client=read
tls=https://$(sed -n 's/^api tls:\(.*\)/\1/p' "$TMP/said")
plain=http://$(sed -n 's/^api \(127\..*\)/\1/p' "$TMP/said")
expect_ctl 0 device create vda --size 1M

(umask 077 && expect_ctl 0 token create look --scope read -o name && printf '%s\n' "$OUTPUT" >"$TMP/secret")
grep -Eqx 'sgt_[A-Za-z0-9_-]{43}' "$TMP/secret" || fail 'this is no secret'
expect_ctl 0 token create later --scope admin --expires-at 2099-12-31T00:00:00Z
grep -Eq '^later +admin +2099-12-31T00:00:00Z +sgt_' <<<"$OUTPUT" || fail "made: $OUTPUT"
expect_ctl 4 token create look --scope read
expect_ctl 0 token list -o json
expect_output '[.items[].name] == ["later", "look"]'
expect_ctl 0 token show look -o json
expect_output '.scope == "read" and (has("secret") | not)'

export SNAPGROUPCTL_SOCKET=
expect_ctl 0 device list --url "$tls" --ca-file "$TMP/pki/client/ca-cert.pem" --token-file "$TMP/secret" -o name
[ "$OUTPUT" = vda ] || fail "over TLS: $OUTPUT"
expect_ctl 1 device create vdb --size 1M --url "$tls" --ca-file "$TMP/pki/client/ca-cert.pem" --token-file "$TMP/secret"
grep -q InsufficientScope <<<"$ERRORS" || fail "says $ERRORS"
expect_ctl 0 device list --url "$plain/" --token "$(cat "$TMP/secret")"
expect_ctl 1 device list --url "$plain"
expect_ctl 5 device list --url "$tls" --token-file "$TMP/secret" --timeout 5
grep -qi certificate <<<"$ERRORS" || fail "an unknown server: $ERRORS"
expect_ctl 0 device list --url "$tls" --ca-file "$TMP/pki/client/ca-cert.pem" \
    --cert-file "$TMP/pki/client/client-cert.pem" --key-file "$TMP/pki/client/client-key.pem"

mkdir -p "$TMP/home/.config"
cat >"$TMP/home/.config/snapgroupctl.conf" <<CONF
[snapgroupctl]
url = $tls ; the test's
token-file = $TMP/secret
ca-file = $TMP/pki/client/ca-cert.pem
output = name
CONF
CTL_HOME=$TMP/home
expect_ctl 0 device list
[ "$OUTPUT" = vda ] || fail "by the file: $OUTPUT"
SNAPGROUPCTL_OUTPUT=json expect_ctl 0 device list
expect_output '.items[0].name == "vda"'
SNAPGROUPCTL_OUTPUT=json expect_ctl 0 device list -o wide
grep -q '^NAME' <<<"$OUTPUT" || fail "by the command line: $OUTPUT"
SNAPGROUPCTL_SOCKET=$RUNTIME/api.sock expect_ctl 0 status -o table
grep -q "unix:$RUNTIME/api.sock" <<<"$OUTPUT" || fail "the variable takes the place of url: $OUTPUT"
expect_ctl 0 device list --token "$(cat "$TMP/secret")"
expect_ctl 1 device list --token wrong
for wrong in 'nothing = 1' 'label = a=b' 'url' $'[other]\nurl = x' "url = $(head -c 300 /dev/zero | tr '\0' x)" $'output = json\noutput = wide' \
    "socket = $RUNTIME/api.sock"; do
    printf '[snapgroupctl]\nurl = %s\n%s\n' "$plain" "$wrong" >"$TMP/wrong.conf"
    expect_ctl 2 device list --config "$TMP/wrong.conf"
done

SNAPGROUPCTL_SOCKET=$RUNTIME/api.sock SNAPGROUPCTL_TOKEN= CTL_HOME=$TMP expect_ctl 0 token revoke look
SNAPGROUPCTL_SOCKET=$RUNTIME/api.sock CTL_HOME=$TMP expect_ctl 3 token revoke look
expect_ctl 1 device list
