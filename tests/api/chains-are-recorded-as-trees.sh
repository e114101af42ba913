#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The store has every image of every chain, with the image under it and what may be done to it: of
# devices that are attached (also through links), created, detached and attached again, of groups
# that are taken or fail. A start records a chain that was changed while the daemon did not run, and
# completes a row that does not know what is under it, with or without a device.
. "$(dirname "$0")/../lib/functions.sh"

DB=$STATE/snapgroupd.db
cd "$IMAGES" || exit
images() { sqlite3 "$DB" "SELECT replace(path, '$IMAGES/', '') || '<' || coalesce(replace(backing, '$IMAGES/', ''), '')
    || ' ' || role || iif(is_kept, '+', '') || iif(is_complete, '', '?') FROM images ORDER BY path"; }
images_must_be() { diff <(images) <(printf '%s\n' "$@") || fail "see above"; }
attach() { # NAME IMAGE FORMAT
    api POST /devices "{\"name\": \"$1\", \"image\": \"$2\", \"format\": \"$3\"}"
    expect_status 201
}
detach() {
    api DELETE "/devices/$1"
    expect_status 204
}

qemu-img create -q -f raw base.raw 1M
qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2
qemu-img create -q -f qcow2 -b top.qcow2 -F qcow2 hand.qcow2
ln -s top.qcow2 link.qcow2
start_daemon
attach vda link.qcow2 qcow2
images_must_be 'base.raw< given' 'top.qcow2<base.raw attached'
api POST /devices '{"name": "new", "image": "new.qcow2", "format": "qcow2", "size_bytes": 1048576}'
expect_status 201
api POST /devices '{"name": "new2", "image": "top.qcow2", "format": "qcow2", "size_bytes": 1048576}'
expect_status 422
images_must_be 'base.raw< given' 'new.qcow2< attached' 'top.qcow2<base.raw attached'
snapshot g vda new
touch taken
api POST /snapshot-groups '{"name": "fails", "devices": [{"device": "vda"}, {"device": "new", "snapshot_file": "taken"}]}'
expect_status 422
detach new
images_must_be 'base.raw< given' 'new+g.qcow2<new.qcow2 made+' 'new.qcow2< attached' 'top.qcow2<base.raw attached' \
    'vda+g.qcow2<top.qcow2 made'
attach new new+g.qcow2 qcow2
attach hand hand.qcow2 qcow2
images_must_be 'base.raw< given' 'hand.qcow2<top.qcow2 attached' 'new+g.qcow2<new.qcow2 made' 'new.qcow2< attached' \
    'top.qcow2<base.raw attached' 'vda+g.qcow2<top.qcow2 made'

# As if rows came from an older daemon, which had the link for the image; and a chain is changed.
detach hand
detach new
stop_daemon
qemu-img rebase -q -u -b '' new+g.qcow2
sqlite3 "$DB" "UPDATE images SET is_complete = 0, backing = NULL WHERE path LIKE '%/top.qcow2';
    UPDATE images SET path = '$IMAGES/link.qcow2' WHERE path LIKE '%/top.qcow2';
    UPDATE images SET backing = '$IMAGES/link.qcow2' WHERE backing LIKE '%/top.qcow2';
    UPDATE members SET backing_image = '$IMAGES/link.qcow2' WHERE backing_image LIKE '%/top.qcow2';
    UPDATE images SET is_complete = 0, backing = NULL WHERE path LIKE '%/hand.qcow2';"
qemu-img rebase -q -u -F raw -b base.raw hand.qcow2
start_daemon
images_must_be 'base.raw< given' 'hand.qcow2<base.raw attached+' 'new+g.qcow2<new.qcow2 made+' 'new.qcow2< attached' \
    'top.qcow2<base.raw attached' 'vda+g.qcow2<top.qcow2 made'
attach new new+g.qcow2 qcow2
images_must_be 'base.raw< given' 'hand.qcow2<base.raw attached+' 'new+g.qcow2< made' 'new.qcow2< attached' \
    'top.qcow2<base.raw attached' 'vda+g.qcow2<top.qcow2 made'
stop_daemon
qemu-img rebase -q -u -F qcow2 -b new.qcow2 new+g.qcow2
start_daemon
images_must_be 'base.raw< given' 'hand.qcow2<base.raw attached+' 'new+g.qcow2<new.qcow2 made' 'new.qcow2< attached' \
    'top.qcow2<base.raw attached' 'vda+g.qcow2<top.qcow2 made'

# What cannot be opened stays open to question.
detach new
stop_daemon
sqlite3 "$DB" "UPDATE images SET is_complete = 0 WHERE path LIKE '%/new.qcow2'"
mv new.qcow2 elsewhere
start_daemon
images | grep -qx 'new.qcow2< attached?' || fail "$(images)"
stop_daemon
mv elsewhere new.qcow2
start_daemon
images | grep -qx 'new.qcow2< attached' || fail "$(images)"
[ -z "$(sqlite3 "$DB" 'PRAGMA foreign_key_check')" ] || fail "$(sqlite3 "$DB" 'PRAGMA foreign_key_check')"
