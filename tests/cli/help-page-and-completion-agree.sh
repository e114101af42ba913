#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# Commands and options are the same in --help, in the manual page, and in what is completed. The
# commands of coverage.yaml are among them, with their options.
. "$(dirname "$0")/../lib/functions.sh"
CTL_HOME=$TMP

expect_ctl 0 --help
sed -n '/^Commands:/,/^$/s/^  \([^ ]*\( [^ ]\+\)\?\)  .*/\1/p' <<<"$OUTPUT" >"$TMP/commands"
[ "$(wc -l <"$TMP/commands")" -ge 30 ] || fail "--help lists $(cat "$TMP/commands")"

# What completion offers: the words of commands, and the options of each.
offered() {
    expect_ctl 0 __complete -- "$@" ''
    printf '%s\n' "$OUTPUT"
}
offered | while read -r word; do
    if grep -qx -e "$word" "$TMP/commands"; then
        printf '%s\n' "$word"
    else
        offered "$word" | sed "s/^/$word /"
    fi
done | sort >"$TMP/completed"
sort "$TMP/commands" | diff - "$TMP/completed" || fail 'help and completion have other commands'

page() { # NAME: its text, with dashes and formatting taken off
    sed 's/\\f[A-Z]//g; s/\\-/-/g; s/\\&//g; s/\\//g' "$BUILD_DIR/man/$1"
}
page snapgroupctl.1 >"$TMP/page"
! grep -nx '@[A-Z]*@' "$TMP/page" || fail 'a placeholder is left'
sed -n 's/^\.SS //p' "$TMP/page" | sed 's/"//g' | diff "$TMP/commands" - || fail 'the page has other commands'

# Each option of each command, and of all: in the page; in --help; as completed.
awk '/^\.S[SH] / { sub(/^\.S[SH] /, ""); gsub(/"/, ""); part = $0 }
    part ~ /^([a-z]|OPTIONS OF)/ && match($0, /^(-[a-z], )?--[a-z0-9-]+( [^ ]+)?$/) { sub(/^-[a-z], /, ""); sub(/ .*/, ""); print part " " $0 }' "$TMP/page" |
    sed 's/^OPTIONS OF EVERY COMMAND/all/' | sort >"$TMP/in-page"
while read -r command; do
    read -r -a words <<<"$command"
    expect_ctl 0 "${words[@]}" --help
    awk -v command="$command" '/^Options of every/ { command = "all" }
        match($0, /^  (-[a-z], |    )--[a-z0-9-]+/) { sub(/^  (-[a-z], |    )/, ""); print command " " $1 }' <<<"$OUTPUT"
    expect_ctl 0 __complete -- "${words[@]}" --
    sed "s/^/$command /" <<<"$OUTPUT" >>"$TMP/completed-options"
done <"$TMP/commands" | sort -u >"$TMP/in-help"
diff "$TMP/in-help" "$TMP/in-page" || fail 'help and page have other options'
[ "$(grep -c '^all ' "$TMP/in-help")" = 12 ] || fail "options of all: $(grep '^all ' "$TMP/in-help")"
while read -r command; do
    sed -n "s/^\(all\|$command\) --/$command --/p" "$TMP/in-help"
done <"$TMP/commands" | sort >"$TMP/expected-options"
sort "$TMP/completed-options" | diff "$TMP/expected-options" - || fail 'help and completion have other options'

for setting in socket url token token-file ca-file cert-file key-file output timeout; do
    tr '\n' ' ' <"$TMP/page" | grep -q -e "--$setting" || fail "the page lacks --$setting"
done

/usr/bin/python3 - "$SOURCE_DIR/clients/cli/coverage.yaml" >"$TMP/covering" <<'PYTHON'
import sys, yaml
for entry in yaml.safe_load(open(sys.argv[1])).values():
    for text in [] if isinstance(entry, dict) else entry if isinstance(entry, list) else [entry]:
        print(text)
PYTHON
while read -r text; do
    command=${text%% --*}
    grep -qxF -e "$command" "$TMP/commands" || fail "coverage.yaml: there is no command '$command'"
    [ "$command" = "$text" ] && continue
    read -r -a words <<<"$command"
    expect_ctl 0 __complete -- "${words[@]}" --
    grep -qxF -e "--${text##* --}" <<<"$OUTPUT" || fail "coverage.yaml: '$command' has no '--${text##* --}'"
done <"$TMP/covering"
[ "$(wc -l <"$TMP/covering")" -ge 20 ] || fail "coverage.yaml names $(cat "$TMP/covering")"
