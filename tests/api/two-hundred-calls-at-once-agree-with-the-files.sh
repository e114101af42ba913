#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# 200 concurrent calls create, list and snapshot: each gets a correct reply, and afterwards devices,
# groups and files agree. Several calls race for each name on purpose; exactly one wins.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon
for i in 0 1 2 3; do
    create_device "vd$i" qcow2 1M
done

call() { # N METHOD PATH [JSON]
    local request=(--silent --max-time "$DEADLINE_S" --unix-socket "$RUNTIME/api.sock" --request "$2"
        --output "$TMP/body.$1" --write-out '%{http_code}')
    [ -z "${4-}" ] || request+=(--header 'Content-Type: application/json' --data-raw "$4")
    curl "${request[@]}" "http://localhost$3" >"$TMP/status.$1"
}
pids=()
for n in $(seq 0 199); do
    k=$((n / 5))
    case $((n % 5)) in
    0 | 1) # two calls for each of 40 names
        call "$n" POST /devices \
            "{\"name\":\"new$k\",\"image\":\"new$k\",\"format\":\"qcow2\",\"size_bytes\":1048576}" & ;;
    2) call "$n" GET '/devices?limit=1000' & ;;
    3) call "$n" GET '/snapshot-groups?limit=1000' & ;;
    4) # four devices, each in twenty groups of two
        call "$n" POST /snapshot-groups \
            "{\"name\":\"g$k\",\"devices\":[{\"device\":\"vd$((k % 4))\"},{\"device\":\"vd$(((k + 1) % 4))\"}]}" & ;;
    esac
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || fail "a call got no answer"
done

answers() { # SHIFT...: how often which status and code, over calls N with N % 5 = SHIFT
    local n shift
    for shift in "$@"; do
        for n in $(seq "$shift" 5 199); do
            jq -r --arg s "$(cat "$TMP/status.$n")" '$s + " " + (.code // "-")' "$TMP/body.$n"
        done
    done | sort | uniq -c | awk '{print $1, $2, $3}'
}
[ "$(answers 0 1)" = $'40 201 -\n40 409 DeviceExists' ] || fail "creating: $(answers 0 1)"
[ "$(answers 2 3)" = '80 200 -' ] || fail "listing: $(answers 2 3)"
! answers 4 | grep -vE '^[0-9]+ (201 -|409 DeviceInUse)$' || fail "snapshots: $(answers 4)"
taken=$(answers 4 | sed -n 's/ 201 -//p')
[ "${taken:-0}" -ge 1 ] || fail "no snapshot was taken"

api GET '/devices?limit=1000'
expect_json '[.items[].name] == ([range(40) | "new\(.)"] + [range(4) | "vd\(.)"] | sort)'
expect_json 'all(.items[]; .state == "online")'
jq -r '.items[].chain[].image' <<<"$BODY" | sort -u >"$TMP/chained"
api GET '/snapshot-groups?limit=1000'
expect_json '[.items[].state] | sort | unique - ["aborted", "committed"] == []'
expect_json '[.items[] | select(.state == "committed")] | length == $n' --argjson n "$taken"
expect_json '(.items | length) == 40 and all(.items[] | select(.state == "aborted"); .error.code == "DeviceInUse")'
find "$IMAGES" -type f | sort >"$TMP/files"
diff "$TMP/chained" "$TMP/files" || fail "files and chains differ"
while read -r file; do
    [ "${file%.raw}" != "$file" ] || qcow2_check "$file" no-leaks
done <"$TMP/files"

# Each device's chain is its groups, oldest at the base.
for i in 0 1 2 3; do
    wanted=$(jq -c --arg d "vd$i" '[.items[] | select(.state == "committed") | .members[] |
        select(.device == $d) | .snapshot_file]' <<<"$BODY")
    groups=$BODY
    api GET "/devices/vd$i"
    expect_json '[.chain[].image][:-1] == $wanted' --argjson wanted "$wanted"
    BODY=$groups
done
