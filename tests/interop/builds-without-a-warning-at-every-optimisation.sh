#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: slow
#
# Warnings depend on the optimisation: gcc and clang, at -O2, -O3 and -Os and with the flags of
# Debian's packages, compile the daemon without any. It is compiled, not only parsed, since warnings
# about the flow of values come late. CMake's defaults are those of a packager: no warning is an
# error.
. "$(dirname "$0")/../lib/functions.sh"

# build COMPILER FLAGS: prints the warnings
build() {
    local tree=$TMP/build
    rm -rf "$tree"
    cmake -S "$SOURCE_DIR" -B "$tree" -G Ninja --log-level=WARNING -DCMAKE_C_COMPILER="$1" \
        -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS="$2" >/dev/null
    cmake --build "$tree" --target snapgroupd snapgroupctl 2>&1 | grep -E '(warning|error|FAILED):' || true
}

distribution="$(dpkg-buildflags --get CFLAGS) $(dpkg-buildflags --get CPPFLAGS)"
for compiler in gcc clang; do
    for level in -O2 -O3 -Os; do
        said=$(build "$compiler" "$distribution $level")
        [ -z "$said" ] || fail "$compiler $level: $said"
        grep -q 'SNAPGROUPD_WERROR:BOOL=OFF' "$TMP/build/CMakeCache.txt" ||
            fail 'warnings are errors for a packager too'
    done
done
