#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# A reader that closes the pipe is no failure, a full disk is one; closed standard output and input
# do no harm. In the C locale, without HOME and without a terminal everything works, and other
# characters are escaped. Lists whose pages are bounded by their bytes come whole, in every form.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon
labels=$(jq -n --arg text "$(head -c 200 /dev/zero | tr '\0' x)" '[range(60) | {key: "label-\(.)", value: $text}] | from_entries | .["schlüssel"] = "wert-é"')
for i in $(seq 110 190); do
    create_device "d$i" raw 4K "{\"labels\":$labels}"
done
export SNAPGROUPCTL_SOCKET=$RUNTIME/api.sock HOME=$TMP

# The daemon's own page ends before its limit.
api GET '/devices?limit=1000'
expect_json '.next != null and (.items | length) < 81'
expect_ctl 0 device list -o json
[ "$(jq -r '.items[].name' <<<"$OUTPUT")" = "$(seq -f 'd%g' 110 190)" ] || fail 'JSON of several pages has other items'
expect_output '.next == null and (.items[80].labels | length) == 61'
expect_ctl 0 device list -o name
[ "$OUTPUT" = "$(seq -f 'd%g' 110 190)" ] || fail "names: $OUTPUT"
expect_ctl 0 device list
[ "$(wc -l <<<"$OUTPUT")" = 82 ] || fail 'the table has other rows'
for list in 'device list' 'group list' 'job list' 'token list' 'events' 'events --limit 3'; do
    # shellcheck disable=SC2086 # words
    "$SNAPGROUPCTL" $list -o json | jq --exit-status '.items | type == "array"' >/dev/null
done

"$SNAPGROUPCTL" device list -o wide | head -n 1 >/dev/null
"$SNAPGROUPCTL" device list -o json | head -c 100 >/dev/null
"$SNAPGROUPCTL" api GET /metrics | true
"$SNAPGROUPCTL" --help | true
for form in table json name; do
    rc=0
    "$SNAPGROUPCTL" device list -o "$form" >/dev/full 2>"$TMP/errors" || rc=$?
    [ "$rc" = 1 ] && grep -q 'No space left' "$TMP/errors" || fail "a full disk: $rc $(cat "$TMP/errors")"
done
rc=0
"$SNAPGROUPCTL" device show d110 <&- >&- 2>&- || rc=$?
[ "$rc" -le 1 ] || fail "closed descriptors: $rc"

for locale in C POSIX C.UTF-8 nothing; do
    env -i LC_ALL="$locale" "$SNAPGROUPCTL" --socket "$RUNTIME/api.sock" device list -o wide >"$TMP/said" 2>"$TMP/errors" </dev/null
    [ ! -s "$TMP/errors" ] || fail "$locale: $(cat "$TMP/errors")"
    case $locale in
    C.UTF-8) grep -q 'schlüssel=wert-é' "$TMP/said" || fail 'characters are missing' ;;
    *) grep -qF 'schl\u{fc}ssel=wert-\u{e9}' "$TMP/said" || fail "$locale: $(tail -n 1 "$TMP/said" | tail -c 100)" ;;
    esac
done
