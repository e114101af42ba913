#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Usage: install-packages.sh build|demo|test...
#
# Installs what is missing of the named sets from Debian 12; where nothing is, it touches nothing and needs no root.
# The one place that names packages:
#   build   to build snapgroupd
#   demo    to use it as deploy/quickstart.sh does
#   test    to run tests/run.sh and .ci/run
set -euo pipefail

build=(gcc libc6-dev cmake ninja-build pkg-config libmicrohttpd-dev libcjson-dev libsqlite3-dev
    uuid-dev zlib1g-dev libzstd-dev liburing-dev libcmocka-dev)
demo=(curl jq libnbd-bin qemu-utils util-linux)
test=("${build[@]}" "${demo[@]}" clang clang-format libclang-rt-14-dev e2fsprogs fio mount procps
    python3 python3-libnbd python3-yaml qemu-system-common sqlite3 strace)

wanted=()
for set in "$@"; do
    case $set in
    build) wanted+=("${build[@]}") ;;
    demo) wanted+=("${demo[@]}") ;;
    test) wanted+=("${test[@]}") ;;
    *)
        echo "usage: $0 build|demo|test..." >&2
        exit 2
        ;;
    esac
done

missing=()
for package in "${wanted[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

echo "Installing: ${missing[*]}"
if [ "$(id -u)" -ne 0 ]; then
    echo "Only root can install packages: run this as root, or install those first" >&2
    exit 1
fi
install() {
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends \
        -o Dpkg::Use-Pty=0 "${missing[@]}" </dev/null
}
# The package lists of a fresh machine are missing or old: only then are they fetched.
apt-get install --simulate --quiet "${missing[@]}" >/dev/null 2>&1 && install && exit 0
apt-get update --quiet </dev/null
install
