#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The rooms' arrows never turn back: service -> block, service -> store, all -> base, nothing else; of another room only
# its public header is included; and the libraries that one room alone may know are known there alone:
# cJSON in service/, SQLite in store/, compression and io_uring in block/. The checker
# is first shown a tree with one breach of every kind and must find each.
. "$(dirname "$0")/../lib/functions.sh"

# Which headers a room may include, as extended regular expressions.
declare -A ALLOWED=(
    [base]='"base/|'
    [block]='"(base|block)/|<(zlib|zstd|liburing)\.h>'
    [store]='"(base|store)/|<sqlite3\.h>'
    [service]='"(base|service)/|"block/block\.h"|"store/store\.h"|<cjson/cJSON\.h>'
)
GUARDED='<(sqlite3|cjson/.*|zlib|zstd.*|liburing.*)\.h>'

# Prints every include of the tree $1 that is not allowed: FILE:LINE:TEXT.
breaches() {
    local room
    cd "$1"
    for room in base block store service; do
        grep -rnE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include' "$room" |
            grep -E "include \"|$GUARDED" | grep -vE "include (${ALLOWED[$room]%|})" || true
    done
}

seed() {
    mkdir -p "$(dirname "$TMP/seeded/$1")"
    printf '%s\n' "#include $2" >>"$TMP/seeded/$1"
}
seed base/a.c '"block/block.h"'
seed block/b.c '"store/store.h"'
seed block/format/b.c '"service/http/reply.h"'
seed block/b.c '<cjson/cJSON.h>'
seed store/c.c '"block/block.h"'
seed store/c.h '<zlib.h>'
seed service/d.c '"block/image/node.h"'
seed service/d.c '<sqlite3.h>'
seed service/d.c '<liburing.h>'
seed service/e.c '"../block/node.h"'
seeded=$(breaches "$TMP/seeded" | wc -l)
seed service/f.c '"block/block.h"'
seed service/f.c '<cjson/cJSON.h>'
seed block/format/g.c '"block/image/driver.h"'
seed block/format/g.c '<zlib.h>'
seed base/g.c '<stdio.h>'
[ "$seeded" -eq 10 ] || fail "the checker finds $seeded of 10 seeded breaches"
[ "$(breaches "$TMP/seeded" | wc -l)" -eq 10 ] || fail "the checker objects to what is allowed"

found=$(breaches "$SOURCE_DIR")
[ -z "$found" ] || fail "not allowed:"$'\n'"$found"
