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
"$1" --help | awk '
    function end() {
        if (name == "" || name ~ /^(config|check-config|help|version)$/) return
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
        print "#" name " = " (initial != "" ? initial : value != "" ? value : "0")
    }
    /^  --/ {
        end()
        sub(/^  --/, "")
        name = $1
        value = ""
        text = substr($0, length(name) + 1)
        if (match(text, /^ [^ ]+/)) { value = substr(text, 2, RLENGTH - 1); text = substr(text, RLENGTH + 1) }
        sub(/^ +/, "", text)
        next
    }
    /^                          / { sub(/^ +/, ""); text = text (text == "" ? "" : " ") $0; next }
    { end(); name = "" }
    END { end() }'
