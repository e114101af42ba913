#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Usage: install-packages.sh build|demo|package|test...
#
# Installs what is missing of the named sets from Debian 12; where nothing is, it touches nothing
# and needs no root. What only a test's guest runs is not installed but unpacked under /var/cache:
# another kernel in /boot would be this machine's next one, and mdadm a service. Beside it goes what
# tests need of npm: the linter of api/openapi.yaml and the driver of a browser, pinned by the
# package-lock.json of tests/lib/redocly and tests/lib/dashboard. The one place that names packages
# of Debian:
#   build   to build snapgroupd
#   demo    to use it as deploy/quickstart.sh does
#   package to build Debian's packages as deploy/build-deb.sh does
#   test    to run tests/run.sh and .ci/run
set -euo pipefail

build=(gcc libc6-dev cmake ninja-build pkg-config scdoc libcjson-dev libcurl4-gnutls-dev libinih-dev libsqlite3-dev libsystemd-dev
    uuid-dev xfslibs-dev zlib1g-dev libzstd-dev liburing-dev libgnutls28-dev libcmocka-dev)
demo=(curl jq libnbd-bin qemu-utils util-linux)
packaging=("${build[@]}" build-essential debhelper dh-apparmor fakeroot gnutls-bin jq libnbd-bin lintian qemu-utils
    sqlite3)
test=("${build[@]}" "${demo[@]}" "${packaging[@]}" acl apparmor autopkgtest btrfs-progs busybox-static clang clang-format dpkg-dev libclang-rt-14-dev e2fsprogs fio git gnutls-bin
    iproute2 libnbd-dev mmdebstrap mount nbdkit nodejs piuparts procps python3 python3-apparmor python3-libnbd python3-jsonschema python3-yaml qemu-system-common qemu-system-x86 spin strace
    systemd systemd-container wrk xfsprogs)
test+=(chromium) # for clients/dashboard
test+=(bash-completion libvirt-clients libxml2-utils nbd-client zsh) # for clients/cli
test+=(libgssapi-krb5-2 libicu72 libldap-2.5-0 libreadline8 libxml2 tzdata) # for PostgreSQL
test+=(ansible-core pycodestyle pylint python3-voluptuous yamllint) # for clients/ansible
command -v npm >/dev/null || test+=(npm) # a nodejs that is not Debian's brings its own
guest_kernel=linux-image-cloud-amd64
guest=(mdadm)
postgres=(postgresql-15 postgresql-client-15 libpq5) # installed it would run
cache=/var/cache/snapgroupd-tests
guest_files=$cache/guest           # tests/lib/guest.py looks here
prometheus_files=$cache/prometheus # tests/lib/promtool.py looks here
postgres_files=$cache/postgresql   # tests/lib/postgres.py looks here
redocly_pins=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tests/lib/redocly" 2>/dev/null && pwd || true)
redocly_files=$cache/redocly       # tests/interop/openapi-yaml-is-linted-strictly.sh looks here
dashboard_pins=${redocly_pins%redocly}dashboard
dashboard_files=$cache/dashboard   # tests/lib/browser.py looks here

# Whether what the pins in the directory $1 name is in the directory $2.
has_npm() {
    cmp -s "$1/package-lock.json" "$2/package-lock.json"
}

wanted=()
wants_unpacked=''
for set in "$@"; do
    case $set in
    build) wanted+=("${build[@]}") ;;
    demo) wanted+=("${demo[@]}") ;;
    package) wanted+=("${packaging[@]}") ;;
    test)
        wanted+=("${test[@]}")
        [ -d "$guest_files" ] && [ -d "$prometheus_files" ] && [ -d "$postgres_files" ] && has_npm "$redocly_pins" "$redocly_files" &&
            has_npm "$dashboard_pins" "$dashboard_files" || wants_unpacked=yes
        ;;
    *)
        echo "usage: $0 build|demo|package|test..." >&2
        exit 2
        ;;
    esac
done

missing=()
for package in "${wanted[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || [ "$wants_unpacked" ] || exit 0

echo "Installing: ${missing[*]}${wants_unpacked:+ and unpacking a kernel for guests, promtool, PostgreSQL and packages of npm}"
if [ "$(id -u)" -ne 0 ]; then
    echo "Only root can install packages: run this as root, or install those first" >&2
    exit 1
fi

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends \
        -o Dpkg::Use-Pty=0 "${missing[@]}" </dev/null
}

# Downloads packages into the directory $1.
download() (
    cd "$1" && apt-get download --quiet -o APT::Sandbox::User=root "${@:2}" </dev/null
)

# Unpacks packages into the directory $1. All of them or nothing, whenever this is cut short.
unpack() {
    local new package version
    [ ! -d "$1" ] || return 0
    new=$(mktemp -d "$1.XXXXXX")
    download "$new" "${@:2}" 2>/dev/null || { apt-get update --quiet </dev/null && download "$new" "${@:2}"; }
    for package in "$new"/*.deb; do
        dpkg-deb --extract "$package" "$new/files"
    done
    for version in "$new"/files/lib/modules/*; do
        [ ! -d "$version" ] || busybox depmod -b "$new/files" "${version##*/}"
    done
    mv --no-target-directory "$new/files" "$1"
    rm -r "$new"
}

# Installs into the directory $2 what the pins in the directory $1 name; all of it or nothing.
# Without it the tests that use it fail, and no other.
unpack_npm() {
    local new
    ! has_npm "$1" "$2" || return 0
    new=$(mktemp -d "$2.XXXXXX")
    cp "$1"/package*.json "$new"
    npm ci --prefix "$new" --cache "$new/cache" --ignore-scripts --no-audit --no-fund --no-update-notifier </dev/null || {
        rm -rf "$new"
        echo "npm cannot install what $1/package.json names: its tests will fail" >&2
        return 0
    }
    rm -rf "$new/cache" "$2"
    mv --no-target-directory "$new" "$2"
}

# The package that the one without a version stands for.
kernel() {
    apt-cache depends "$guest_kernel" | sed -n 's/^ *Depends: //p'
}

# The package lists of a fresh machine are missing or old: only then are they fetched.
if [ "${#missing[@]}" -gt 0 ]; then
    { apt-get install --simulate --quiet "${missing[@]}" >/dev/null 2>&1 && install; } || {
        apt-get update --quiet </dev/null
        install
    }
fi
if [ "$wants_unpacked" ]; then
    mkdir -p "$cache"
    [ "$(kernel)" ] || apt-get update --quiet </dev/null
    unpack "$guest_files" "$(kernel)" "${guest[@]}"
    unpack "$prometheus_files" prometheus
    unpack "$postgres_files" "${postgres[@]}"
    unpack_npm "$redocly_pins" "$redocly_files"
    unpack_npm "$dashboard_pins" "$dashboard_files"
fi
