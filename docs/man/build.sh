#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Usage: build.sh SNAPGROUPD OPENAPI PAGE.scd >PAGE
#
# Builds a manual page with scdoc. @OPTIONS@ and @SETTINGS@ stand for what `SNAPGROUPD --help` lists,
# @CALLS@ for the operations of OPENAPI, so that no page lags behind.
set -eu
export LC_ALL=C.UTF-8
snapgroupd=$1 openapi=$2 page=$3

# Options as a list of definitions; $1: what stands before a name.
options() {
    "$snapgroupd" --help | awk -v dashes="$1" '
        function plain(text) { gsub(/[_*\\]/, "\\\\&", text); return text }
        function end() { if (text != "") print "\t" plain(text); text = "" }
        /^  --/ {
            end()
            sub(/^  --/, "")
            name = $1
            value = ""
            text = substr($0, length(name) + 1)
            if (match(text, /^ [^ ]+/)) { value = substr(text, 2, RLENGTH - 1); text = substr(text, RLENGTH + 1) }
            sub(/^ +/, "", text)
            inside = dashes != "" || name !~ /^(config|check-config|help|version)$/
            if (!inside) text = ""
            else printf "\n*%s%s*%s\n", dashes, plain(name), \
                    value == "" ? "" : (dashes == "" ? " = " : " ") "_" plain(value) "_"
            next
        }
        /^                          / && inside { sub(/^ +/, ""); text = text (text == "" ? "" : " ") $0; next }
        { end(); inside = 0 }
        END { end() }'
}

calls() {
    awk '
        function plain(text) { gsub(/[_*\\]/, "\\\\&", text); return text }
        /^[a-z]/ { inside = $1 == "paths:" }
        inside && /^  \// { path = $1; sub(/:$/, "", path) }
        inside && /^    [a-z]+:$/ { method = toupper($1); sub(/:$/, "", method) }
        inside && /^      summary: / { sub(/^ *summary: /, ""); printf "\n*%s %s*\n\t%s\n", method, plain(path), plain($0) }
    ' "$openapi"
}

while IFS= read -r line; do
    case $line in
    @OPTIONS@) options -- ;;
    @SETTINGS@) options '' ;;
    @CALLS@) calls ;;
    *) printf '%s\n' "$line" ;;
    esac
done <"$page" | ${SCDOC:-scdoc}
