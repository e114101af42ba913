#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A token is made with a secret that only that reply has: it is not in the list, nor in the log, nor
# in any file of the daemon. Names are unique, times are checked, a restart keeps tokens, and each
# change is an event with its actor.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon

api POST /tokens '{"name":"ops","scope":"admin"}'
expect_status 201
expect_json '.name == "ops" and .scope == "admin" and .expires_at == null'
id=$(jq --raw-output .id <<<"$BODY")
secret=$(jq --raw-output .secret <<<"$BODY")
[[ $secret =~ ^sgt_[A-Za-z0-9_-]{43}$ ]] || fail "secret: $secret"
grep -qix "location: /tokens/$id" <<<"$HEADERS" || fail "$HEADERS"
api POST /tokens '{"name":"grafana","scope":"read","expires_at":"2099-01-31T12:00:00.25+02:00"}'
expect_status 201
expect_json '.expires_at == "2099-01-31T10:00:00.250000Z"'
[ "$(jq --raw-output .secret <<<"$BODY")" != "$secret" ] || fail "two tokens have one secret"

refused() { # STATUS CODE POINTER BODY
    api POST /tokens "$4"
    expect_status "$1"
    expect_json '.code == $code and .pointer == $pointer' --arg code "$2" --arg pointer "$3"
}
refused 409 TokenExists /name '{"name":"ops","scope":"read"}'
refused 422 InvalidValue /name '{"name":"-","scope":"read"}'
refused 422 InvalidValue /name "{\"name\":\"$id\",\"scope\":\"read\"}"
refused 422 InvalidValue /scope '{"name":"x","scope":"none"}'
refused 422 InvalidValue /scope '{"name":"x","scope":"root"}'
refused 400 UnknownField /secret '{"name":"x","scope":"read","secret":"s"}'
refused 400 MissingField /scope '{"name":"x"}'
for time in 2020-01-01T00:00:00Z 2099-02-29T00:00:00Z 2099-01-01 2099-01-01T24:00:00Z 2099-01-01T00:00:00 \
    2099-01-01T00:00:00.Z 2099-01-01T00:00:00+2400 2099-01-01T00:00:00Zx 1969-12-31T23:59:59Z tomorrow; do
    refused 422 InvalidValue /expires_at "{\"name\":\"x\",\"scope\":\"read\",\"expires_at\":\"$time\"}"
done

restart_daemon
api GET /tokens
expect_status 200
expect_json '[.items[].name] == ["grafana", "ops"] and .next == null and ([.items[] | has("secret", "hash")] | any | not)'
api GET '/tokens?limit=1'
expect_json '[.items[].name] == ["grafana"] and .next == "grafana"'
api GET '/tokens?limit=1&cursor=grafana'
expect_json '[.items[].name] == ["ops"] and .next == null'
api GET "/tokens/${id^^}"
expect_json '.name == "ops" and (has("secret", "hash") | not)'

api DELETE /tokens/ops
expect_status 204
for path in /tokens/ops "/tokens/$id"; do
    api DELETE "$path"
    expect_status 404
    expect_json '.code == "TokenNotFound"'
done
api POST /tokens '{"name":"ops","scope":"read"}'
expect_status 201

stop_daemon
[ "$(sqlite3 "$STATE/snapgroupd.db" "SELECT group_concat(kind || ' ' || actor || ' ' || (detail ->> 'name') || ' ' ||
    (detail ->> 'scope'), ', ') FROM events WHERE kind LIKE 'token.%'")" = \
    "token.created uid $UID ops admin, token.created uid $UID grafana read, token.revoked uid $UID ops admin, token.created uid $UID ops read" ] ||
    fail "events: $(sqlite3 "$STATE/snapgroupd.db" 'SELECT * FROM events')"
found=$(grep -rlF "${secret#sgt_}" "$STATE" "$RUNTIME" "$DAEMON_LOG") && fail "the secret is in $found"
[ -n "$(sqlite3 "$STATE/snapgroupd.db" 'SELECT 1 FROM tokens WHERE length(hash) = 64')" ] || fail 'there is no hash'
