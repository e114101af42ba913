#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A week of backups of two disks, which are written to all the time: full by nbdcopy, then each day
# an overlay of the last backup that has what changed since, by the dirty ranges over NBD, one day
# by those of REST. Every day's backup, restored elsewhere, is equal to that day's group (qemu-img
# compare); the daemon is killed on the way. An incremental backup is not larger than what changed.
. "$(dirname "$0")/../lib/functions.sh"

mib=$((1 << 20))
size=$((64 * mib + 512 * 7))
mkdir "$TMP/backup" "$TMP/restored"
start_daemon
create_device vda qcow2 $size
create_device vdb raw $((48 * mib))

# use DEVICE SIZE: what a guest does in a day
use() {
    local commands=() i at length
    for ((i = 0; i < 40; i++)); do
        length=$((512 * (1 + RANDOM % 400)))
        at=$(((RANDOM * 32768 + RANDOM) % ($2 - length) / 512 * 512))
        case $((RANDOM % 6)) in
        0) commands+=(-c "write -q -z $at $length") ;;
        1) commands+=(-c "discard -q $at $length") ;;
        *) commands+=(-c "write -q -P $((1 + RANDOM % 255)) $at $length") ;;
        esac
    done
    qemu-io -f raw "${commands[@]}" "$(nbd_uri "$1")" >/dev/null
}

# changed DEVICE DAY BEFORE: OFFSET LENGTH of each changed range, over NBD or (thursday) over REST
changed() {
    if [ "$2" != thursday ]; then
        nbdinfo --map="qemu:dirty-bitmap:$3" --json "$(nbd_uri "$1@$2")" |
            jq -r '.[] | select(.description == "dirty") | "\(.offset) \(.length)"'
        return
    fi
    local cursor=0
    while [ "$cursor" != null ]; do
        api GET "/snapshot-groups/$2/members/$1/extents?since=$3&limit=5&cursor=$cursor"
        jq -r '.items[] | "\(.offset_bytes) \(.length_bytes)"' <<<"$BODY"
        cursor=$(jq -r .next <<<"$BODY")
    done
}

# back_up DEVICE DAY BEFORE: the changed ranges go from NBD into an overlay, 1 MiB at a time
back_up() {
    local backup=$TMP/backup/$1.$2.qcow2
    qemu-img create -q -f qcow2 -b "$1.$3.qcow2" -F qcow2 "$backup"
    changed "$1" "$2" "$3" >"$TMP/ranges"
    [ -s "$TMP/ranges" ] || fail "$1: nothing has changed from $3 to $2"
    spawn qemu-nbd --persistent --shared=2 -f qcow2 -k "$TMP/$1.$2.sock" --pid-file "$TMP/$1.$2.pid" "$backup"
    wait_until test -f "$TMP/$1.$2.pid"
    FROM=$(nbd_uri "$1@$2") TO="nbd+unix:///?socket=$TMP/$1.$2.sock" /usr/bin/python3 - "$TMP/ranges" <<'COPY'
import os, sys, nbd
source, target = nbd.NBD(), nbd.NBD()
source.connect_uri(os.environ["FROM"])
target.connect_uri(os.environ["TO"])
for line in open(sys.argv[1]):
    offset, length = map(int, line.split())
    for at in range(offset, offset + length, 1 << 20):
        target.pwrite(source.pread(min(1 << 20, offset + length - at), at), at)
target.flush()
target.shutdown()
source.shutdown()
COPY
    kill "$SPAWNED" && wait "$SPAWNED" || true
}

RANDOM=${SEED:-1}
before=
for day in monday tuesday wednesday thursday friday saturday sunday; do
    use vda $size
    use vdb $((48 * mib))
    snapshot $day vda vdb
    use vda $size & # goes on while the backup runs
    user=$!
    for device in vda vdb; do
        if [ -z "$before" ]; then
            nbdcopy "$(nbd_uri "$device@$day")" "$TMP/full"
            qemu-img convert -f raw -O qcow2 "$TMP/full" "$TMP/backup/$device.$day.qcow2"
        else
            back_up "$device" "$day" "$before"
        fi
        qemu-img convert -f qcow2 -O raw "$TMP/backup/$device.$day.qcow2" "$TMP/restored/$device"
        qemu-img compare -f raw -F raw "$TMP/restored/$device" "$(nbd_uri "$device@$day")" >/dev/null ||
            fail "$device: the backup of $day is not $day's group"
    done
    wait "$user"
    [ "$day" != wednesday ] || { kill_daemon && start_daemon; }
    before=$day
done
for device in vda vdb; do
    for day in monday tuesday wednesday thursday friday saturday sunday; do
        qemu-img compare -f qcow2 -F raw "$TMP/backup/$device.$day.qcow2" "$(nbd_uri "$device@$day")" >/dev/null ||
            fail "$device: the backup of $day has changed"
    done
    full=$(stat -c %b "$TMP/backup/$device.monday.qcow2") last=$(stat -c %b "$TMP/backup/$device.sunday.qcow2")
    echo "$device: monday takes $full blocks, sunday $last"
    # 80 requests, each in the clusters of 64 KiB that it touches
    [ $((last * 512)) -le $((80 * (400 * 512 + 2 * 65536))) ] || fail "$device: sunday's backup takes $last blocks"
done
stop_daemon
