#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Usage: tests/run.sh [LABEL...]
#
# Installs what is missing, builds with warnings as errors, and runs every test but `slow` and
# `bench`, or those with one of the labels named: unit, api, cli, interop, crash, static, once,
# fuzz, slow, bench. Ends with ctest's summary; the exit status is 0 only if everything passed.
#
# SNAPGROUPD_PRESET=dev|asan|tsan|fuzz selects the build under test, dev by default. With dev the
# code must also build with clang and without asserts, and be formatted as .clang-format says, and
# the commits must pass tests/lib/commit-gate; `static` tests, which judge the tree and not what was
# built, and those to be run `once`, whose time goes to other programs, run with dev alone unless
# they are named; those of `one-thread` not with tsan. In a chroot, /proc must be mounted.
#
# JOBS=N runs N tests at a time; by default two for each core, since most of them wait half of the
# time: for disks, deadlines and each other.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/lib/sanitizers.sh
preset=${SNAPGROUPD_PRESET:-dev}

step() {
    printf '\n== %s\n' "$*"
}

build() {
    step "building the $1 preset"
    cmake --preset "$1" --log-level=WARNING
    # Of the fuzz preset only the targets are run: what else there is, asan has built.
    [ "$1" = fuzz ] && set -- fuzz --target fuzz-targets
    cmake --build "build/$1" "${@:2}"
}

check_format() {
    step 'clang-format'
    find base block store service clients tests -name '*.[ch]' -print0 |
        xargs -0 clang-format --dry-run --Werror
}

check_commits() {
    step 'commits'
    tests/lib/commit-gate
}

run_tests() {
    local only=() without=() label
    for label in slow bench; do
        [[ " $* " == *" $label "* ]] || without+=("$label")
    done
    for label in static once; do
        [ "$preset" = dev ] || [[ " $* " == *" $label "* ]] || without+=("$label")
    done
    [ "$preset" != tsan ] || without+=(one-thread)
    [ $# -eq 0 ] || only=(--label-regex "^($(IFS='|' && echo "$*"))\$")
    [ "${#without[@]}" -eq 0 ] ||
        only+=(--label-exclude "^($(IFS='|' && echo "${without[*]}"))\$")
    local command=(ctest --test-dir "build/$preset" --parallel "${JOBS:-$((2 * $(nproc)))}" --output-on-failure
        --no-tests=error "${only[@]}")
    # ThreadSanitizer of this compiler cannot place its shadow where addresses are fully random.
    [ "$preset" != tsan ] || ! setarch -R true 2>/dev/null || command=(setarch -R "${command[@]}")
    step "testing the $preset preset"
    "${command[@]}"
}

# Where every call takes longer, the crash tests walk over a part of the calls, and fewer malformed
# requests are sent; each build takes another part, and others.
case $preset in
asan) export CRASH_STRIDE=${CRASH_STRIDE:-12} CRASH_FIRST=${CRASH_FIRST:-2} MALFORMED_SEED=${MALFORMED_SEED:-11} ;;
tsan) export CRASH_STRIDE=${CRASH_STRIDE:-12} CRASH_FIRST=${CRASH_FIRST:-6} MALFORMED_SEED=${MALFORMED_SEED:-12} ;;
esac
[ "$preset" = dev ] || export MALFORMED_REQUESTS=${MALFORMED_REQUESTS:-3000}

step 'packages'
deploy/install-packages.sh test
[ -r /proc/self/status ] || {
    echo '/proc is not mounted: mount it first (mount -t proc proc /proc)' >&2
    exit 1
}
if [ "$preset" = dev ]; then
    check_format
    check_commits
fi
build "$preset"
[ "$preset" != dev ] || build clang
run_tests "$@"
