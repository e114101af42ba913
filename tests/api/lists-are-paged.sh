#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Pages of any size, put together, are the whole list: devices by name, groups newest first.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon

for i in 3 1 5 2 4; do
    create_device "d$i" qcow2 1M
done
for i in 1 2 3 4 5; do
    snapshot "g$i" "d$i"
    api POST /snapshot-groups "{\"name\":\"bad$i\",\"devices\":[{\"device\":\"nope\"}]}"
    expect_status 404
done

all() { # PATH QUERY LIMIT: the names on all pages, in order
    local next='' names='' pages=0
    while :; do
        api GET "$1?limit=$3$2${next:+&cursor=$next}"
        expect_status 200
        expect_json '(.items | length) <= $limit and keys == ["items", "next"]' --argjson limit "$3"
        names+=$(jq -r '[.items[].name + " "] | add // ""' <<<"$BODY")
        next=$(jq -r '.next // ""' <<<"$BODY")
        pages=$((pages + 1))
        [ -n "$next" ] || break
        [ "$pages" -lt 20 ] || fail "the pages do not end"
    done
    NAMES=${names% } PAGES=$pages
}

for limit in 1 2 3 4 5 6 1000; do
    all /devices '' "$limit"
    [ "$NAMES" = 'd1 d2 d3 d4 d5' ] || fail "devices by $limit: $NAMES"
    [ "$PAGES" -eq $(((5 + limit - 1) / limit)) ] || fail "devices by $limit: $PAGES pages"
    all /snapshot-groups '' "$limit"
    [ "$NAMES" = 'bad5 g5 bad4 g4 bad3 g3 bad2 g2 bad1 g1' ] || fail "groups by $limit: $NAMES"
    [ "$PAGES" -eq $(((10 + limit - 1) / limit)) ] || fail "groups by $limit: $PAGES pages"
    all /snapshot-groups '&state=committed' "$limit"
    [ "$NAMES" = 'g5 g4 g3 g2 g1' ] || fail "committed groups by $limit: $NAMES"
    all /snapshot-groups '&state=preparing' "$limit"
    [ "$NAMES" = '' ] || fail "preparing groups: $NAMES"
done

# A page stays what it was while older pages' items go and newer ones come.
api GET '/devices?limit=2'
next=$(jq -r .next <<<"$BODY")
api DELETE /devices/d2
expect_status 204
create_device d0 raw 1M
api GET "/devices?limit=2&cursor=$next"
expect_json '[.items[].name] == ["d3", "d4"]'
