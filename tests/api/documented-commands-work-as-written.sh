#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every command of docs/operations.md succeeds as it is written there, in its order, but for the
# directories and addresses, which are this test's; `snapgroupd` checks its options and ends. The
# commands of README.md are scripts that exist.
. "$(dirname "$0")/../lib/functions.sh"

# The indented blocks of a document, without drawings.
commands() {
    awk '/^```/ { fenced = !fenced } !fenced && /^    [^ ]/ || (shown && /^     /) { print substr($0, 5); shown = 1; next }
         { shown = 0 }' "$SOURCE_DIR/$1"
}

"$SOURCE_DIR/tests/lib/certificates.sh" "$TMP/pki" >/dev/null 2>&1
start_daemon --listen "unix:$RUNTIME/api.sock" --listen 127.0.0.1:0 --listen tls:127.0.0.1:0 \
    --tls-cert-dir "$TMP/pki/server" --tls-client-scope client=read \
    --nbd "unix:$RUNTIME/nbd.sock" --nbd 127.0.0.1:0 --nbd-tls optional --nbd-tls-verify-peer
address=$(sed -n 's/^nbd \(127\..*\)/\1/p' "$TMP/said")
api_address=$(sed -n 's/^api \(127\..*\)/\1/p' "$TMP/said")

tls_address=$(sed -n 's/^api tls:\(.*\)/\1/p' "$TMP/said")

commands docs/operations.md >"$TMP/commands"
[ "$(grep -c '^curl ' "$TMP/commands")" -ge 5 ] || fail "operations.md has few commands: $(cat "$TMP/commands")"
sed -e "s|/var/lib/snapgroupd/state|$STATE|g; s|/var/lib/snapgroupd/images|$IMAGES|g" \
    -e "s|/etc/snapgroupd/pki|$TMP/pki/server|g; s|/etc/pki/nbd|$TMP/pki/client|g; s|/etc/pki/snapgroupd|$TMP/pki/client|g" \
    -e "s|//HOST:7420|//$tls_address|g" \
    -e "s|/root/|$TMP/work/|g; s|127\.0\.0\.1:7420|$api_address|g" \
    -e "s|/run/snapgroupd|$RUNTIME|g; s|//HOST/|//$address/|g" "$TMP/commands" >"$TMP/mine"
cat >"$TMP/names" <<'NAMES'
set -euo pipefail
nbdsh() { PATH=/usr/bin:$PATH command nbdsh "$@"; } # the python3 that has libnbd
curl() { command curl --silent --show-error --fail-with-body "$@"; }
snapgroupd() {
    case $1 in
    token) "$SNAPGROUPD" "$@" ;;
    *) "$SNAPGROUPD" "$@" --check-config ;;
    esac
}
NAMES
mkdir "$TMP/work"
(cd "$TMP/work" && SNAPGROUPD=$SNAPGROUPD SNAPGROUPD_STATE_DIR=$STATE SNAPGROUPD_RUNTIME_DIR=$RUNTIME bash -c "$(cat "$TMP/names" "$TMP/mine")" >"$TMP/output" 2>&1) ||
    fail "a command failed: $(tail -n 5 "$TMP/output")"
[ "$(stat -c %s "$TMP/work/vda.before-upgrade.img")" = 1073741824 ] || fail 'nbdcopy copied something else'
api GET /snapshot-groups/nightly
expect_json '[.members[].device] == ["vdb"]'
api GET /devices/vdb
expect_status 404

commands README.md >"$TMP/commands"
while read -r command _; do
    [ -x "$SOURCE_DIR/$command" ] || fail "README.md: $command is no command"
done <"$TMP/commands"
[ "$(wc -l <"$TMP/commands")" -ge 2 ] || fail "README.md has no commands"
