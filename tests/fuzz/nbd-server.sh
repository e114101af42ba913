#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# No client, whatever it sends, crashes the NBD server, makes it hang, take memory without bound, or answer with
# what is no reply.
#
# FUZZ_RUNS connections, always the same ones (FUZZ_SEED). An input that fails is kept in $BUILD_DIR/fuzz-failures;
# FUZZ_CORPUS, if set, is a directory where inputs are kept from one run to the next.
set -eu
runs=${FUZZ_RUNS:-100000}
seed=${FUZZ_SEED:-1}
failures=$BUILD_DIR/fuzz-failures
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
corpus=${FUZZ_CORPUS:-$scratch/corpus}
mkdir -p "$failures" "$corpus"

seed_input() { # NAME BYTES: a script, see nbd-server.c
    printf "$2" >"$corpus/$1"
}
# first byte, then options (choice, fields, twist), then requests (choice, flags, offset, length)
seed_input simple '\002\000\000\000\000\003\000\000\000\001\000\000\000\000\006\000\000\000'
seed_input structured '\002\005\000\012\000\002\000\001\000\000\000\000\000\013\000\000\000\000\372'
seed_input extended '\001\007\000\012\001\002\000\001\000\000\000\001\000\003\000\000\000\000\100\013\310\000\000\000\100\002'
# Those that failed once: a payload over the limit after a reply that filled its buffer.
seed_input refused '\371\000\000\004\021\371\000\002\033\173\173\000\011\000\000\001\364\377\377\377\045\007\000\204\204\377\204\204\364\377\377\007\101'

"$BUILD_DIR/tests/fuzz-nbd-server" -runs="$runs" -seed="$seed" -timeout=10 -rss_limit_mb=1024 \
    -malloc_limit_mb=256 -max_len=600 -print_final_stats=1 -error_exitcode=1 -artifact_prefix="$failures/" "$corpus"
