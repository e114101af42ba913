#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The unit in deploy/systemd is valid, exposes at most 1.5 of 10 by systemd's own measure, and keeps
# the runtime directory, which holds acknowledged writes.
. "$(dirname "$0")/../lib/functions.sh"
unit=$TMP/snapgroupd.service
sed "s|^ExecStart=.*|ExecStart=$SNAPGROUPD|; s|^Documentation=.*||" \
    "$SOURCE_DIR/deploy/systemd/snapgroupd.service" >"$unit"
systemd-analyze verify --man=no "$unit" 2>"$TMP/verify" || fail "$(cat "$TMP/verify")"
[ ! -s "$TMP/verify" ] || fail "$(cat "$TMP/verify")"
systemd-analyze security --offline=yes --threshold=15 "$unit" >"$TMP/security" ||
    fail "$(tail -1 "$TMP/security")"
grep -q '^PrivateUsers=no$' "$unit" || fail 'owners of images are mapped away'
grep -q '^RuntimeDirectoryPreserve=yes$' "$unit" || fail 'journals go with the runtime directory'
sed '/^ProtectSystem=/d; /^CapabilityBoundingSet=/d' "$unit" >"$TMP/lax.service"
! systemd-analyze security --offline=yes --threshold=15 "$TMP/lax.service" >/dev/null ||
    fail 'the threshold finds nothing'
systemd-sysusers --dry-run "$SOURCE_DIR/deploy/systemd/snapgroupd.sysusers" >"$TMP/users" 2>&1
grep -q "Creating user 'snapgroupd'" "$TMP/users" || fail "$(cat "$TMP/users")"
