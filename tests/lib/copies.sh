# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the tests of copies share; after functions.sh.
#
#   make_wanted SIZE OFFSET:LENGTH...   creates $TMP/wanted: random data there, holes elsewhere
#   same FILE                           FILE is identical to it
#   copy_there_and_back URI             nbdcopy writes it to URI and reads it back

make_wanted() {
    local spot
    truncate -s "$1" "$TMP/wanted"
    for spot in "${@:2}"; do
        head -c "${spot#*:}" /dev/urandom |
            dd of="$TMP/wanted" bs=64k oflag=seek_bytes seek="${spot%:*}" conv=notrunc status=none
    done
}

same() {
    cmp "$1" "$TMP/wanted" || fail "$1 is not what was copied"
}

copy_there_and_back() {
    nbdcopy --connections=4 --requests=16 --flush "$TMP/wanted" "$1"
    nbdcopy --connections=4 --requests=16 "$1" "$TMP/copy"
    same "$TMP/copy"
    nbdcopy --synchronous "$1" "$TMP/copy"
    same "$TMP/copy"
}
