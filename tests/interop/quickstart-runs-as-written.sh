#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# deploy/quickstart.sh freezes two disks and finds the frozen content unchanged; the address and the
# token that it ends with are a dashboard's, and the commands that it names work. Run again, it
# starts over; the last command ends its daemon. A directory of somebody else's is left alone. Here
# what it builds is what the test has; quickstart-builds-what-it-runs.sh lets it build.
. "$(dirname "$0")/../lib/functions.sh"
export SNAPGROUPD_DIR=$TMP/q
tree=$TMP/tree
mkdir "$tree"
(cd "$SOURCE_DIR" && tar --create --exclude=./build --exclude=./.git --exclude=__pycache__ .) | tar --extract --directory "$tree"
if [ ! "${QUICKSTART_BUILDS-}" ]; then
    mkdir "$TMP/bin"
    printf '#!/bin/sh\nmkdir -p build/release && ln -sf "%s" "%s" build/release\n' "$SNAPGROUPD" "$SNAPGROUPCTL" >"$TMP/bin/cmake"
    chmod +x "$TMP/bin/cmake"
    export PATH=$TMP/bin:$PATH
fi

mkdir "$TMP/theirs"
: >"$TMP/theirs/file"
! SNAPGROUPD_DIR=$TMP/theirs "$tree/deploy/quickstart.sh" >"$TMP/said" 2>&1 || fail 'it uses a directory of somebody else'
grep -q 'not empty and not of an earlier run' "$TMP/said" || fail "it says: $(tail -5 "$TMP/said")"
[ "$(ls "$TMP/theirs")" = file ] || fail 'it has changed a directory of somebody else'

expect_quickstart() {
    local rc=0
    "$tree/deploy/quickstart.sh" </dev/null >"$TMP/said" 2>&1 || rc=$?
    SPAWNED_ALL+=("$(cat "$TMP/q/snapgroupd.pid")")
    [ "$rc" = 0 ] || fail "$(tail -40 "$TMP/said")"
    grep -qx 'Both are identical, to the byte.' "$TMP/said" || fail "it says: $(tail -40 "$TMP/said")"
    ! grep -i 'error' "$TMP/said" | grep -vE '^No errors were found|"error": null|^ *SNAPGROUPD_WERROR=' || fail 'there is an error'
}
expect_quickstart
first=$(cat "$TMP/q/snapgroupd.pid")

url=$(sed -n 's|^  In a browser on this machine: \(http://.*/\)ui/, with the token above$|\1|p' "$TMP/said")
token=$(grep -o 'sgt_[A-Za-z0-9_-]*' "$TMP/said")
curl -sf "${url}ui/" | grep -qi '<!doctype html>' || fail "there is no dashboard at ${url}ui/"
[ "$(curl -s -o /dev/null -w '%{http_code}' "${url}devices")" = 401 ] || fail 'a token is not needed'
curl -sf -H "Authorization: Bearer $token" "${url}devices" | jq -e '.items | length == 2' >/dev/null || fail 'the token is not valid'

# What it names to try next, in a shell of its own.
sed -n '/What to try next/,/^To stop it/{/^  [a-z].*/p; /^      -d/p}' "$TMP/said" | sed '/In a browser/d' >"$TMP/next"
[ "$(grep -c '^  [a-z]' "$TMP/next")" -ge 10 ] || fail "it names $(cat "$TMP/next")"
bash -euo pipefail "$TMP/next" >"$TMP/tried" 2>&1 || fail "of what it names: $(tail "$TMP/tried")"
"$SNAPGROUPCTL" --socket "$TMP/q/run/api.sock" group list -o name | sort | tr '\n' ' ' >"$TMP/groups"
[ "$(cat "$TMP/groups")" = 'after-upgrade before-upgrade undo ' ] || fail "the groups are $(cat "$TMP/groups")"

expect_quickstart
grep -q 'Stopping the daemon of an earlier run' "$TMP/said" || fail 'it does not start over'
! kill -0 "$first" 2>/dev/null || fail 'the first daemon is there still'
stop=$(sed -n '/^To stop it/,/^To start over/s/^  \(kill [0-9]*\)$/\1/p' "$TMP/said")
pid=${stop#kill }
$stop
tail --pid="$pid" -f /dev/null
! grep -q 'level=error\|^<3>' "$TMP/q/daemon.log" || fail "$(cat "$TMP/q/daemon.log")"
