#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# --allow-group admits the members of a group to the Unix socket, by their group or a supplementary
# one, up to the scope that it gives; who is in several gets the largest. Others are refused, and
# with one group cannot even connect. All other files stay private.
. "$(dirname "$0")/../lib/functions.sh"
[ "$(id -u)" -eq 0 ] || skip 'only root can become others'
chmod 711 "$TMP"
rmdir "$STATE" "$RUNTIME"

as() { # GROUP GROUPS METHOD PATH [JSON]: the status of the call by nobody in these groups
    local groups=(--clear-groups)
    [ -z "$2" ] || groups=(--groups "$2")
    setpriv --reuid 65534 --regid "$1" "${groups[@]}" curl --silent --show-error --output /dev/null \
        --write-out '%{http_code}' --unix-socket "$RUNTIME/api.sock" --request "$3" \
        --header 'Content-Type: application/json' ${5:+--data-raw "$5"} "http://localhost$4"
}
expect_calls() { # GROUP GROUPS STATUS-OF-GET STATUS-OF-SNAPSHOT STATUS-OF-TOKEN
    local got
    got="$(as "$1" "$2" GET /devices) $(as "$1" "$2" POST /snapshot-groups '{}') $(as "$1" "$2" POST /tokens '{}')"
    [ "$got" = "$3 $4 $5" ] || fail "group $1 and $2: $got instead of $3 $4 $5"
}

start_daemon --allow-group users=read --allow-group staff=snapshot --allow-group games
[ "$(stat -c %a "$RUNTIME/api.sock")" = 666 ] || fail "mode $(stat -c %a "$RUNTIME/api.sock")"
expect_calls nogroup users 200 403 403
expect_calls users '' 200 403 403
expect_calls nogroup staff 200 400 403
expect_calls nogroup users,staff,mail 200 400 403
expect_calls games '' 200 400 400
expect_calls nogroup mail 403 403 403
[ "$(as games '' POST /tokens '{"name":"t","scope":"read"}')" = 201 ] || fail 'the admin makes no token'
api GET '/events?kind=token.created'
expect_json '.items[0].actor == "uid 65534"'
others=$(find "$STATE" "$RUNTIME" ! -name api.sock ! -path "$RUNTIME" -perm /077)
[ -z "$others" ] || fail "open to others: $others"
[ "$(stat -c %a "$RUNTIME")" = 711 ] || fail "mode $(stat -c %a "$RUNTIME")"
stop_daemon

start_daemon --allow-group users=snapshot
[ "$(stat -c '%a %G' "$RUNTIME/api.sock")" = '660 users' ] || fail "$(stat -c '%a %G' "$RUNTIME/api.sock")"
expect_calls nogroup users 200 400 403
as nogroup mail GET /livez >/dev/null 2>&1 && fail 'who is not in the group could connect'
stop_daemon

SNAPGROUPD_ALLOW_GROUP=users=read,staff start_daemon
expect_calls nogroup users 200 403 403
expect_calls nogroup staff 200 400 400
stop_daemon

for wrong in no-such-group users= users=root '=read'; do
    status=0
    "$SNAPGROUPD" --allow-group "$wrong" --check-config 2>"$TMP/err" || status=$?
    [ "$status" = 2 ] || fail "--allow-group $wrong: status $status"
    grep -q -- --allow-group "$TMP/err" || fail "--allow-group $wrong: $(cat "$TMP/err")"
done
