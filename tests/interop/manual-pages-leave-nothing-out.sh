#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# The manual pages are built, and have every option of --help and every call of openapi.yaml.
. "$(dirname "$0")/../lib/functions.sh"

page() { # NAME: its text, with dashes and formatting taken off
    sed 's/\\f[A-Z]//g; s/\\-/-/g; s/\\&//g; s/\\//g' "$BUILD_DIR/man/$1"
}

page snapgroupd.8 >"$TMP/8"
page snapgroupd.conf.5 >"$TMP/5"
page snapgroupd-api.7 >"$TMP/7"
! grep -n '@[A-Z]' "$TMP/8" "$TMP/5" "$TMP/7" || fail "a placeholder is left"
"$SNAPGROUPD" --help | sed -n 's/^  --\([a-z-]*\).*/\1/p' >"$TMP/options"
[ "$(wc -l <"$TMP/options")" -ge 10 ] || fail "--help lists $(cat "$TMP/options")"
while read -r option; do
    grep -q -e "^--$option\b" "$TMP/8" || fail "snapgroupd.8 lacks --$option"
    case $option in
    config | check-config | help | version) ! grep -q "^$option\b" "$TMP/5" || fail "snapgroupd.conf.5 has $option" ;;
    *) grep -q "^$option\b" "$TMP/5" || fail "snapgroupd.conf.5 lacks $option" ;;
    esac
done <"$TMP/options"
/usr/bin/python3 - "$SOURCE_DIR/api/openapi.yaml" >"$TMP/calls" <<'PYTHON'
import sys, yaml
for path, item in yaml.safe_load(open(sys.argv[1]))["paths"].items():
    for method, operation in item.items():
        if method in ("get", "put", "post", "patch", "delete"):
            print(method.upper(), path)
PYTHON
[ "$(wc -l <"$TMP/calls")" -ge 10 ] || fail "openapi.yaml has $(cat "$TMP/calls")"
while read -r call; do
    grep -qF -e "$call" "$TMP/7" || fail "snapgroupd-api.7 lacks $call"
done <"$TMP/calls"
