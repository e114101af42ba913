#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An overlay has the owner, group, mode and ACL of the image that it freezes, so that a QEMU of
# another user can open the chain, but no special bits and nothing from the default ACL of its
# directory. A daemon that may not change owners keeps the overlay, and opens it to no user who
# cannot open the base. Created images are private to the daemon.
. "$(dirname "$0")/../lib/functions.sh"
[ "$(id -u)" -eq 0 ] || skip "only root can give files away"
OWNER=61001 MEMBER=61002 DAEMON=61003 FRIEND=61004
access() { getfacl --absolute-names --numeric --omit-header "$1" && stat -c '%u %g %a' "$1"; }
as() { setpriv --reuid "$1" --regid "$2" --clear-groups "${@:3}"; }
opens() { as "$1" "$2" qemu-img info --backing-chain -U "$IMAGES/$3" >/dev/null 2>&1; }
chmod 711 "$TMP"
chmod 755 "$IMAGES"
setfacl --default --modify "u:$FRIEND:rwx,g::rwx,o::rwx" "$IMAGES"

attach() { # NAME MODE [ACL]: an image of OWNER and MEMBER's group
    qemu-img create -q -f qcow2 "$IMAGES/$1.qcow2" 1M
    setfacl --remove-all "$IMAGES/$1.qcow2"
    chown "$OWNER:$MEMBER" "$IMAGES/$1.qcow2"
    chmod "$2" "$IMAGES/$1.qcow2"
    [ -z "${3-}" ] || setfacl --modify "$3" "$IMAGES/$1.qcow2"
    api POST /devices "{\"name\": \"$1\", \"image\": \"$1.qcow2\", \"format\": \"qcow2\"}"
    expect_status 201
}

start_daemon
attach private 600
attach shared 660
attach public 644
attach special 7664
attach listed 640 "u:$FRIEND:r,g::-,m::r"
create_device made raw 1M
setfacl --remove-all "$IMAGES/made.raw"
chmod 600 "$IMAGES/made.raw"
snapshot g private shared public special listed made
snapshot h private shared public special listed made # of overlays in turn
for name in private shared public listed made; do
    base=$(access "$IMAGES/$name".[qr]*)
    for group in g h; do
        [ "$(access "$IMAGES/$name+$group.qcow2")" = "$base" ] ||
            fail "$name: $base; $group: $(access "$IMAGES/$name+$group.qcow2")"
    done
done
[ "$(stat -c %a "$IMAGES/special+g.qcow2")" = 664 ] || fail "special bits: $(access "$IMAGES/special+g.qcow2")"
opens "$OWNER" 1 private+h.qcow2 || fail "the owner cannot open the chain"
opens 1 "$MEMBER" shared+h.qcow2 || fail "a member of the group cannot open the chain"
opens "$FRIEND" 1 listed+h.qcow2 || fail "who is in the ACL cannot open the chain"
! opens "$FRIEND" 1 shared+h.qcow2 || fail "the directory's default ACL was let in"
stop_daemon

# A daemon without privileges, which may write the images by their ACL or mode only.
install --mode 755 "$SNAPGROUPD" "$TMP/daemon"
printf '#!/bin/sh\nexec setpriv --reuid %s --regid %s --clear-groups --pdeathsig KILL %s "$@"\n' \
    "$DAEMON" "$DAEMON" "$TMP/daemon" >"$TMP/unprivileged"
chmod +x "$TMP/unprivileged"
SNAPGROUPD=$TMP/unprivileged
rm -r "$STATE" "$RUNTIME"
mkdir "$STATE" "$RUNTIME"
chown "$DAEMON:$DAEMON" "$STATE" "$RUNTIME"
setfacl --modify "u:$DAEMON:rwx" "$IMAGES"
start_daemon
attach own-group 660 "u:$DAEMON:rw"
attach everybody 666
attach all-but-group 606
snapshot u own-group everybody all-but-group
is() { # NAME MODE-OR-ACL
    [ "$(getfacl --absolute-names --numeric --omit-header --skip-base "$IMAGES/$1+u.qcow2" | xargs)$(
        stat -c ' %u %a' "$IMAGES/$1+u.qcow2")" = "$2" ] || fail "$1: $(access "$IMAGES/$1+u.qcow2")"
}
is own-group "user::rw- user:$DAEMON:rw- group::--- mask::rw- other::--- $DAEMON 660"
is everybody " $DAEMON 666"
is all-but-group " $DAEMON 600"
restart_daemon
api GET /devices
expect_json '[.items[].state] | length == 3 and all(. == "online")'
stop_daemon

# One that may give files away, but then no longer change their mode: it keeps the overlay too.
sed -i 's/ --clear-groups/& --inh-caps +chown --ambient-caps +chown/' "$TMP/unprivileged"
restart_daemon
snapshot c everybody
[ "$(stat -c '%u %g %a' "$IMAGES/everybody+c.qcow2")" = "$DAEMON $DAEMON 666" ] || fail "overlay of its own: $(
    access "$IMAGES/everybody+c.qcow2")"
attach given 666
snapshot d given
[ "$(stat -c '%u %g %a' "$IMAGES/given+d.qcow2")" = "$DAEMON $DAEMON 600" ] || fail "given: $(
    access "$IMAGES/given+d.qcow2")"
