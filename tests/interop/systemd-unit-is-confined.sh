#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# The units in deploy/systemd are valid; the service exposes at most 1.5 of 10 by systemd's own
# measure, and keeps the runtime directory, which holds acknowledged writes. Its user and its
# directories are made as they should be.
. "$(dirname "$0")/../lib/functions.sh"
unit=$TMP/snapgroupd.service
sed "s|^ExecStart=.*|ExecStart=$SNAPGROUPD|; s|^Documentation=.*||" \
    "$SOURCE_DIR/deploy/systemd/snapgroupd.service" >"$unit"
cp "$SOURCE_DIR/deploy/systemd/snapgroupd.socket" "$TMP"
systemd-analyze verify --man=no "$unit" "$TMP/snapgroupd.socket" 2>"$TMP/verify" || fail "$(cat "$TMP/verify")"
[ ! -s "$TMP/verify" ] || fail "$(cat "$TMP/verify")"
systemd-analyze security --offline=yes --threshold=15 "$unit" >"$TMP/security" ||
    fail "$(tail -1 "$TMP/security")"
grep -q '^PrivateUsers=no$' "$unit" || fail 'owners of images are mapped away'
grep -q '^RestrictSUIDSGID=no$' "$unit" || fail 'openat2 fails with ENOSYS, and with it every image'
grep -q '^RuntimeDirectoryPreserve=yes$' "$unit" || fail 'journals go with the runtime directory'
sed '/^ProtectSystem=/d; /^CapabilityBoundingSet=/d' "$unit" >"$TMP/lax.service"
! systemd-analyze security --offline=yes --threshold=15 "$TMP/lax.service" >/dev/null ||
    fail 'the threshold finds nothing'
systemd-sysusers --dry-run "$SOURCE_DIR/deploy/systemd/snapgroupd.sysusers" >"$TMP/users" 2>&1
grep -q "Creating user 'snapgroupd'" "$TMP/users" || fail "$(cat "$TMP/users")"
root=$TMP/root
mkdir -p "$root/etc" "$root/usr/lib/sysusers.d"
cp "$SOURCE_DIR/deploy/systemd/snapgroupd.sysusers" "$root/usr/lib/sysusers.d/snapgroupd.conf"
systemd-sysusers --root="$root" snapgroupd.conf 2>"$TMP/users" || fail "$(cat "$TMP/users")"
systemd-tmpfiles --root="$root" --create "$SOURCE_DIR/deploy/systemd/snapgroupd.tmpfiles" 2>"$TMP/files" ||
    fail "$(cat "$TMP/files")"
uid=$(sed -n 's/^snapgroupd:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/passwd")
[ "$(stat -c '%u %a' "$root/run/snapgroupd")" = "$uid 755" ] || fail "$(stat "$root/run/snapgroupd")"
[ "$(stat -c '%u %a' "$root/var/lib/snapgroupd")" = "$uid 700" ] || fail "$(stat "$root/var/lib/snapgroupd")"
