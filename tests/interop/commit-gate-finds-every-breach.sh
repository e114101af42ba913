#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# The commit gate reports each commit that breaks a rule, and no other: not those before the gate
# was added, not a move without a body. A shallow clone is checked as far as it goes, and an
# exported tree passes.
. "$(dirname "$0")/../lib/functions.sh"

export HOME=$TMP GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b

commit() { # SUBJECT [BODY]
    git -C "$TMP/repo" commit --quiet --allow-empty -m "$1" ${2:+-m "$2"}
}

# Runs the gate on a tree; it must end as named and object N times.
expect_objections() { # pass|refuse N TREE
    local ended=pass
    "$SOURCE_DIR/tests/lib/commit-gate" "$3" >"$TMP/out" 2>&1 || ended=refuse
    [ "$ended" = "$1" ] || fail "the gate says $ended: $(cat "$TMP/out")"
    [ "$(grep -cE '^[0-9a-f]{12}: ' "$TMP/out")" -eq "$2" ] || fail "not $2 objections: $(cat "$TMP/out")"
}

git init --quiet "$TMP/repo"
commit 'Before the gate anything goes, however long the subject may be or become'
mkdir -p "$TMP/repo/tests/lib"
echo gate >"$TMP/repo/tests/lib/commit-gate"
git -C "$TMP/repo" add .
commit 'tests: add the gate' 'Because.'
commit 'block, tests: fix what was wrong' 'Because.'
commit 'nbd: move the listener'
commit 'format: pass, keep and free the driver' 'Because.'
expect_objections pass 0 "$TMP/repo"

commit 'docs: say it in a subject that goes on for longer than sixty' 'Because.'
expect_objections pass 0 "$TMP/repo"
commit 'docs: say it in a subject that goes on for longer than sixty.' 'Because.'
commit 'kitchen: add a stove' 'Because.'
commit 'add a stove' 'Because.'
commit 'store: added a table' 'Because.'
commit 'store: openings are called off' 'Because.'
commit 'store: add a table'
expect_objections refuse 6 "$TMP/repo"

git clone --quiet --depth 3 "file://$TMP/repo" "$TMP/shallow"
expect_objections refuse 2 "$TMP/shallow"
mkdir "$TMP/exported"
git -C "$TMP/repo" archive HEAD | tar -x -C "$TMP/exported"
expect_objections pass 0 "$TMP/exported"
grep -q 'not checked' "$TMP/out" || fail "it does not say that nothing was checked"
