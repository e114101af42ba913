# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# For tests that mount file systems: sourced first, it starts the test again in a mount namespace of
# its own (as root there, whoever runs it). Then functions.sh is sourced, and
#
#   mount_tmpfs DIRECTORY OPTIONS   mounts a file system there; it goes away with the test
#
# Skipped where such namespaces are forbidden.
if [ -z "${OWN_MOUNTS-}" ]; then
    namespace=(unshare --mount)
    [ "$(id -u)" -eq 0 ] || namespace+=(--map-root-user)
    "${namespace[@]}" true 2>/dev/null || { echo 'SKIPPED: no mount namespaces here' >&2; exit 77; }
    OWN_MOUNTS=1 exec "${namespace[@]}" "$0" "$@"
fi
# shellcheck source=tests/lib/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

MOUNTED=()
mount_tmpfs() {
    mkdir -p "$1"
    mount -t tmpfs -o "$2" tmpfs "$1"
    MOUNTED+=("$1")
}
trap 'rc=$?; [ "${#MOUNTED[@]}" -eq 0 ] || umount --lazy "${MOUNTED[@]}" || true; (exit "$rc"); finish' EXIT
