#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# `snapgroupd token` makes, lists and revokes tokens: in the database while no daemon runs, else
# over the daemon's Unix socket. The secret is all of the standard output and serves over TCP at
# once. A daemon that runs without a Unix socket is not disturbed. Root leaves no file that the
# daemon's user could not open.
. "$(dirname "$0")/../lib/functions.sh"

token() { "$SNAPGROUPD" token "$@" --state-dir "$STATE" --runtime-dir "$RUNTIME" 2>"$TMP/err"; }
refused() { # STATUS TEXT ARGUMENT...
    local status=0
    token "${@:3}" >"$TMP/out" || status=$?
    [ "$status" = "$1" ] || fail "${*:3}: status $status: $(cat "$TMP/err")"
    grep -q -- "$2" "$TMP/err" || fail "${*:3}: $(cat "$TMP/err")"
    [ ! -s "$TMP/out" ] || fail "${*:3}: output: $(cat "$TMP/out")"
}
names() { token list | awk '{ printf "%s:%s:%s ", $1, $2, $3 }'; }
over_tcp() { # SECRET: the status of a call with it
    curl --silent --output "$TMP/answer" --write-out '%{http_code}' --header "Authorization: Bearer $1" \
        "http://$(sed -n 's/^api \(127.*\)/\1/p' "$TMP/said")/devices"
}

# No daemon has ever run.
first=$(token create --name first --scope admin)
[[ $first =~ ^sgt_[A-Za-z0-9_-]{43}$ ]] || fail "the output is $first"
second=$(token create --name=second --scope=read --expires-at=2099-01-01T00:00:00Z)
[ "$(names)" = 'first:admin:never second:read:2099-01-01T00:00:00.000000Z ' ] || fail "list: $(names)"
refused 1 "'first' exists already" create --name first --scope read
refused 1 'scope' create --name x --scope everything
refused 1 'to come' create --name x --scope read --expires-at 2001-01-01T00:00:00Z
refused 1 "no token 'none'" delete --name none
for wrong in '' 'make' 'create' 'create --name x' 'create --scope read' 'list --name x' 'delete' \
    'delete --name x --scope read' 'create --name' 'list --no-such-option'; do
    # shellcheck disable=SC2086 # words
    refused 2 'Usage' $wrong
done
token --help | grep -q 'token create' || fail '--help'

start_daemon --listen "unix:$RUNTIME/api.sock" --listen 127.0.0.1:0
[ "$(over_tcp "$first")" = 200 ] && [ "$(over_tcp "$second")" = 200 ] || fail "$(cat "$TMP/answer")"
third=$(token create --name third --scope snapshot)
[ "$(over_tcp "$third")" = 200 ] || fail "$(cat "$TMP/answer")"
refused 1 "'third' exists already" create --name third --scope read
[ "$(names)" = 'first:admin:never second:read:2099-01-01T00:00:00.000000Z third:snapshot:never ' ] || fail "list: $(names)"
token delete --name third
token delete --name "$(token list | awk '$1 == "first" { print $4 }')"
for secret in "$first" "$third"; do
    [ "$(over_tcp "$secret")" = 401 ] || fail 'a revoked token is served'
done
refused 1 "no token 'third'" delete --name third
stop_daemon

# Offline again; then a daemon that the command cannot reach holds the database.
token delete --name second
[ -z "$(names)" ] || fail "list: $(names)"
kept=$(token create --name kept --scope read)
start_daemon --listen 127.0.0.1:0
refused 1 'in use by another snapgroupd' create --name x --scope read
[ "$(over_tcp "$kept")" = 200 ] || fail "$(cat "$TMP/answer")"
stop_daemon
grep -rlF "${first#sgt_}" "$STATE" "$RUNTIME" "$DAEMON_LOG" && fail 'a secret is there'

if [ "$(id -u)" -eq 0 ]; then
    rm -rf "$STATE"
    install -d -m 700 -o 65534 -g 65534 "$STATE"
    chmod 711 "$TMP"
    token create --name first --scope admin >/dev/null
    [ -n "$(find "$STATE" -name snapgroupd.db)" ] || fail 'there is no database'
    [ -z "$(find "$STATE" ! -user 65534)" ] || fail "not of the owner: $(find "$STATE" ! -user 65534)"
fi
