# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What runs a libFuzzer target: FUZZ_RUNS inputs, always the same ones (FUZZ_SEED). An input that
# fails is kept in $BUILD_DIR/fuzz-failures; FUZZ_CORPUS, if set, is a directory where inputs are
# kept from one run to the next.
#
#   $scratch, $corpus        a temporary directory; where the test puts the first inputs
#   run_fuzzer TARGET ARGUMENT...
set -eu
failures=$BUILD_DIR/fuzz-failures
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
corpus=${FUZZ_CORPUS:-$scratch/corpus}
mkdir -p "$failures" "$corpus"

run_fuzzer() {
    "$BUILD_DIR/tests/fuzz-$1" -runs="${FUZZ_RUNS:-100000}" -seed="${FUZZ_SEED:-1}" -timeout=10 -rss_limit_mb=1024 \
        -malloc_limit_mb=256 -print_final_stats=1 -error_exitcode=1 -artifact_prefix="$failures/" "${@:2}" "$corpus"
}
