#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Usage: deploy/make-conf.sh SNAPGROUPD >snapgroupd.conf
#
# Writes the configuration file that is installed: every option that `SNAPGROUPD --help` lists, its
# text and its default, as a comment. So it changes nothing, and lacks nothing.
set -eu

cat <<'HEAD'
# Options of snapgroupd: see snapgroupd.conf(5). A line here is an option's default, or, where it
# has none, the form of its value. `snapgroupd --check-config` checks this file; `systemctl reload
# snapgroupd` applies the options that are reloadable.
[snapgroupd]
HEAD
"$1" --help | awk -f "$(dirname "$0")/options.awk" | awk -F '\t' '
    $1 ~ /^(config|check-config|help|version)$/ { next }
    {
        value = $2
        text = $3
        initial = ""
        if (match(text, /  \[[^\]]*\]$/)) {
            initial = substr(text, RSTART + 3, RLENGTH - 4)
            text = substr(text, 1, RSTART - 1)
        }
        printf "\n"
        line = "#"
        count = split(text, words, / +/)
        for (i = 1; i <= count; i++) {
            if (length(line) + length(words[i]) > 95) { print line; line = "#" }
            line = line " " words[i]
        }
        print line
        if (value ~ /\|/) print "# (" value ")"
        print "#" $1 " = " (initial != "" ? initial : value != "" ? value : "0")
    }'
