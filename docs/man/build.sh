#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Usage: build.sh PROGRAM OPENAPI PAGE.scd >PAGE
#
# Builds a manual page of snapgroupd or snapgroupctl with scdoc. @OPTIONS@ and @SETTINGS@ stand for what
# `snapgroupd --help` lists, @CALLS@ for the operations of OPENAPI, @COMMANDS@ and @GLOBALS@ for what
# `snapgroupctl --help`, and that of each command, lists. So no page lags behind.
set -eu
export LC_ALL=C.UTF-8
program=$1 openapi=$2 page=$3

# Options as a list of definitions; $1: what stands before a name.
options() {
    "$program" --help | awk -f "$(dirname "$0")/../../deploy/options.awk" | awk -F '\t' -v dashes="$1" '
        function plain(text) { gsub(/[_*\\]/, "\\\\&", text); return text }
        dashes == "" && $1 ~ /^(config|check-config|help|version)$/ { next }
        {
            printf "\n*%s%s*%s\n", dashes, plain($1), $2 == "" ? "" : (dashes == "" ? " = " : " ") "_" plain($2) "_"
            if ($3 != "") print "\t" plain($3)
        }'
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

# The options under the title $1, and with "with-text" what stands before them.
help_of() {
    awk -v title="$1" -v has_text="$2" '
        function plain(text) { gsub(/[_*\\]/, "\\\\&", text); return text }
        function end() { if (text != "") print "\t" plain(text); text = "" }
        function begin() {
            end()
            letter = match($0, /^-[a-z], /) ? substr($0, 1, 2) : ""
            sub(/^-[a-z], /, "")
            name = $1
            value = ""
            text = substr($0, length(name) + 1)
            if (match(text, /^ [^ ]+/)) { value = substr(text, 2, RLENGTH - 1); text = substr(text, RLENGTH + 1) }
            sub(/^ +/, "", text)
            printf "\n%s*%s*%s\n", letter == "" ? "" : "*" letter "*, ", plain(name), value == "" ? "" : " _" plain(value) "_"
        }
        /^Usage: / { sub(/^Usage: /, ""); if (has_text) printf "*%s*\n\n", plain($0); next }
        /^(Options|Commands|Options of every command):$/ { end(); inside = $0 == title ":"; is_list = 1; next }
        /^$/ { end(); inside = 0; if (!is_list && has_text) print ""; next }
        inside && /^  (-[a-z], |    )--/ { sub(/^ +/, ""); begin(); next }
        inside && /^ +[^ ]/ { sub(/^ +/, ""); text = text (text == "" ? "" : " ") $0; next }
        !is_list && has_text { $0 = plain($0); sub(/^-/, "\\-"); print }
        END { end() }'
}

commands() {
    "$program" --help | sed -n '/^Commands:/,/^$/s/^  \([^ ]\+\( [^ ]\+\)\{0,1\}\)  .*/\1/p' | while read -r words; do
        printf '\n## %s\n\n' "$words"
        # shellcheck disable=SC2086 # words
        "$program" $words --help | help_of Options with-text
    done
}

while IFS= read -r line; do
    case $line in
    @OPTIONS@) options -- ;;
    @SETTINGS@) options '' ;;
    @CALLS@) calls ;;
    @COMMANDS@) commands ;;
    @GLOBALS@) "$program" --help | help_of 'Options of every command' '' ;;
    *) printf '%s\n' "$line" ;;
    esac
done <"$page" | ${SCDOC:-scdoc}
