#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# Exit statuses: 0 done, 1 refused, 2 usage, 3 not found, 4 conflict, 5 unreachable or may pass.
# Failures are on standard error: as JSON the problem as it came, else a line; standard output has
# nothing then.
. "$(dirname "$0")/../lib/functions.sh"

expect_failure() { # RC PATTERN ARGUMENT...
    local pattern=$2
    expect_ctl "$1" "${@:3}"
    [ -z "$OUTPUT" ] || fail "$* has written $OUTPUT"
    grep -Eq -e "$pattern" <<<"$ERRORS" || fail "$* says $ERRORS"
}

expect_failure 5 'cannot connect to unix:.*No such file' status --timeout 0.2
start_daemon
expect_ctl 0 device create vda --size 1M
expect_failure 1 'EmptyGroup|InvalidValue|MissingField' api POST /snapshot-groups --data '{"devices":[]}'
expect_failure 1 'InvalidBlockFormat|InvalidValue' device create vdb --size 1M --format vmdk
expect_failure 3 'DeviceNotFound' device show nothing
expect_failure 4 'DeviceExists' device create vda --size 1M
expect_ctl 3 device show nothing -o json
[ -z "$OUTPUT" ] && jq -e '.code == "DeviceNotFound" and .status == 404' <<<"$ERRORS" >/dev/null ||
    fail "problem: $OUTPUT $ERRORS"

usage=("" 'nothing' 'device' 'device nothing' 'device show' 'device show vda vdb' 'device list --limit'
    'device list --limit 0' 'device list --limit -1' 'device list --limit 1x' 'device list --nothing' 'device list -x'
    'device list --follow' 'device list -o yaml' 'device list --limit 1 --limit 2' 'device show vda --help=x'
    'device create vdx' 'device create vdx --size 1Q' 'device create vdx --size -1' 'device create vdx --size 9999999T'
    'device create vdx --size 1M --label novalue' 'device create vdx --size 1M --label a=b --label a=c'
    'device create vdx --size 1M --extended-l2 maybe' 'device create vdx --size 1M --idempotency-key a"b'
    'device attach vdx' 'device attach vdx x.raw' 'device resize vda big' 'device clone vda new' 'device clone @g new'
    'api' 'api GET' 'api GET devices' 'api G/T /devices' 'api GET /devices#x' 'api POST /devices --data @/nonexistent'
    'status --timeout never' 'status --timeout 1e3' 'status --url ftp://localhost' 'status --url localhost:1?x=y'
    'status --url http://192.0.2.1 --token x' 'status --socket x --url http://localhost' 'status --token-file /nonexistent'
    'status --token a --token-file b' 'status --ca-file /nonexistent' 'status --config /nonexistent' 'completion fish')
for line in "${usage[@]}"; do
    read -r -a words <<<"$line"
    expect_failure 2 'snapgroupctl: ' ${words[@]+"${words[@]}"}
done
expect_failure 2 'is empty' device show ''
expect_failure 2 'holds what no token' status --token $'a\nX-Evil: 1'
expect_ctl 0 device list -o name
[ "$OUTPUT" = vda ] || fail "something was made: $OUTPUT"
