#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The benchmarks of group snapshots, of many devices and of what a change pays run in their smallest
# size and report every row. Nothing is measured.
. "$(dirname "$0")/../lib/functions.sh"

expect_rows() { # OUTPUT ROW...
    local output=$1 row
    for row in "${@:2}"; do
        grep -qE "$row" <<<"$output" || fail "no row '$row' in: $output"
    done
}

output=$("$BUILD_DIR/tests/bench-change-cost" --smoke)
expect_rows "$output" '^bracket +1 ' '^write +2 '
output=$("$SOURCE_DIR/tests/bench/group-pause.py" --smoke)
expect_rows "$output" '^ +2 ours ' '^ +2 qemu sync ' '^ +2 qemu prepared ' 'pause_us'
output=$("$SOURCE_DIR/tests/bench/many-devices.py" --smoke)
expect_rows "$output" '^ +2  attach: ' '^ +2  create: ' '^ +2  group: ' '^ +2  memory a frozen image' '^ +2  restart '
