#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Usage: deploy/build-deb.sh [--version VERSION] [DIRECTORY]
#
# Builds the Debian packages of this tree into DIRECTORY (build/packages), with their source, and
# checks them by lintian; an error or a warning of it is one here. On a fresh Debian 12 machine, as
# root, it first installs what is missing. The build runs in a directory of its own and does not
# touch the tree.
#
# --version   a version other than that of deploy/debian/changelog, such as 0.1.0-1+site2
# DEB_BUILD_OPTIONS is passed on; with nocheck the unit tests are neither built nor run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=''
if [ "${1-}" = --version ]; then
    version=$2
    shift 2
fi
[ $# -le 1 ] && [[ "${1-}" != -* ]] || {
    echo "usage: $0 [--version VERSION] [DIRECTORY]" >&2
    exit 2
}
destination=${1:-build/packages}
mkdir -p "$destination"
destination=$(cd "$destination" && pwd)

deploy/install-packages.sh package

stage=$(mktemp -d "${TMPDIR:-/tmp}/build-deb.XXXXXX")
trap 'rm -rf "$stage"' EXIT

# The files of this tree: those that git knows or would add, or, without git, all but what is built.
files() {
    if git -c safe.directory='*' rev-parse --git-dir >/dev/null 2>&1; then
        git -c safe.directory='*' ls-files --cached --others --exclude-standard -z | sort --zero-terminated --unique |
            while IFS= read -r -d '' file; do
                [ ! -e "$file" ] || printf '%s\0' "$file"
            done
    else
        find . \( -path ./build -o -name .git -o -name __pycache__ -o -name node_modules \) -prune -o -type f -printf '%P\0' | sort --zero-terminated
    fi
}

# What is written into archives is as old as the newest entry of the changelog.
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog --file deploy/debian/changelog --show-field Timestamp)
export SOURCE_DATE_EPOCH
upstream=$(dpkg-parsechangelog --file deploy/debian/changelog --show-field Version)
upstream=${version:-$upstream}
upstream=${upstream%-*}
source=$stage/snapgroupd-$upstream
mkdir "$source"
files | tar --create --null --no-recursion --files-from=- | tar --extract --directory "$source"
tar --create --xz --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
    --directory "$stage" --file "$stage/snapgroupd_$upstream.orig.tar.xz" "snapgroupd-$upstream"
cp --recursive "$source/deploy/debian" "$source/debian"
if [ "$version" ]; then
    {
        printf 'snapgroupd (%s) unstable; urgency=medium\n\n  * Built with this version.\n\n' "$version"
        sed -n '/^ -- /{p;q}' "$source/deploy/debian/changelog"
        echo
        cat "$source/deploy/debian/changelog"
    } >"$source/debian/changelog"
fi

jobs=parallel=$(nproc)
(cd "$source" && DEB_BUILD_OPTIONS="$jobs ${DEB_BUILD_OPTIONS-}" dpkg-buildpackage --unsigned-source --unsigned-changes)
changes=("$stage"/snapgroupd_*.changes)
lintian --no-cfg --allow-root --info --display-info --fail-on error,warning "${changes[0]}"
built=("$stage"/*.deb "$stage"/*.ddeb "$stage"/*.dsc "$stage"/*.tar.xz "$stage"/*.changes "$stage"/*.buildinfo)
for file in "${built[@]}"; do
    [ ! -f "$file" ] || mv "$file" "$destination"
done
printf '\n== Packages\n'
printf '%s\n' "$destination"/*.deb
