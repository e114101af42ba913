# SPDX-License-Identifier: Apache-2.0
#
# Reads `snapgroupd --help`, and writes a line for each option: its name, its value and its text,
# with tabs between.
function end() { if (name != "") print name "\t" value "\t" text; name = "" }
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
{ end() }
END { end() }
