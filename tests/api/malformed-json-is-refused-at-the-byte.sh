#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Texts that are not JSON by RFC 8259, or hold what we do not take, are MalformedJSON, and the detail names the
# byte. Bodies are given as printf formats, so that any byte can be in them.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon

while read -r byte format; do
    # shellcheck disable=SC2059 # it is a format
    printf "$format" >"$TMP/body"
    api POST /devices '' --header 'Content-Type: application/json' --data-binary "@$TMP/body"
    [ "$STATUS" = 400 ] || fail "$format: status $STATUS: $BODY"
    expect_json '.code == "MalformedJSON" and (has("pointer") | not) and
        (.detail | startswith("byte " + $byte + ": "))' --arg byte "$byte"
done <<'TABLE'
0
1 {
0 }
7 {"name"}
8 {"name":}
12 {"name":"a",}
12 {"name":"a" "image":"a"}
3 {} {}
2 {}\000
1 {\000}
0 \357\273\277{}
0 \f{}
1 {name:1}
1 {'name':1}
9 {"name":01}
9 {"name":-}
10 {"name":1.}
10 {"name":1e}
8 {"name":.5}
8 {"name":+1}
8 {"name":NaN}
8 {"name":Infinity}
8 {"name":tru}
12 {"name":nullx}
10 {"name":"a\nb"}
10 {"name":"a\tb"}
10 {"name":"a\000b"}
15 {"name":"\\u0000"}
13 {"name":"\\u12x4"}
15 {"name":"\\ud800"}
15 {"name":"\\udc00"}
21 {"name":"\\ud800\\u0041"}
10 {"name":"\\x41"}
9 {"name":"\377"}
9 {"name":"\300\200"}
9 {"name":"\355\240\200"}
9 {"name":"\364\220\200\200"}
9 {"name":"\303"}
10 {"name":"a
3 [1]]
TABLE

nested() { # DEPTH: that many arrays in the field name
    printf '{"name":%s%s}' "$(printf '[%.0s' $(seq "$1"))" "$(printf ']%.0s' $(seq "$1"))"
}
api POST /devices "$(nested 15)"
expect_json '.code == "WrongType" and .pointer == "/name"'
api POST /devices "$(nested 16)"
expect_json '.code == "MalformedJSON" and (.detail | test("^byte 24: .*nested"))'
nested 20000 >"$TMP/body"
api POST /devices '' --header 'Content-Type: application/json' --data-binary "@$TMP/body"
expect_status 400
expect_json '.code == "MalformedJSON"'

api POST /devices '{"name":"\ud83d\ude00","image":"a","format":"raw"}'
expect_json '.code == "InvalidValue" and .pointer == "/name"'
