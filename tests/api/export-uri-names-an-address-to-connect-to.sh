#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The URI of an export is one that a client can use, never with 0.0.0.0, [::] or port 0: a Unix
# socket first, else an address of one host, else loopback if only wildcards are served. The daemon
# announces all its addresses as the system has bound them.
. "$(dirname "$0")/../lib/functions.sh"

"$SOURCE_DIR/tests/lib/certificates.sh" "$TMP/pki" >/dev/null
start_daemon
create_device vda raw 1M
stop_daemon

serve() { # ADDRESS...: starts the daemon there; sets URI
    local address arguments=()
    for address; do arguments+=(--nbd "$address"); done
    start_daemon "${arguments[@]}" --nbd-tls optional --nbd-tls-psk "$TMP/pki/psk"
    local announced bound
    announced=$(sed -n 's/^nbd //p' "$TMP/said")
    bound=$(ss -Hltnp | grep "pid=$DAEMON_PID," | awk '{print $4}' | sed 's/^\*:/[::]:/' | sort)
    [ "$(grep -v ^unix: <<<"$announced" | sort)" = "$bound" ] || fail "announced $announced, bound $bound"
    [ "$(wc -l <<<"$announced")" -eq $# ] || fail "for $* it announces $announced"
    api GET /devices/vda
    URI=$(jq -r .export.uri <<<"$BODY")
}

works() { # QUERY: what libnbd needs beside the URI
    nbdinfo --size "${URI/nbds:\/\//nbds:\/\/alice@}$1" >"$TMP/out" 2>&1 || fail "$URI: $(cat "$TMP/out")"
    [ "$(cat "$TMP/out")" -eq $((1 << 20)) ] || fail "$URI is $(cat "$TMP/out") bytes"
}

serve 127.0.0.1:0 0.0.0.0:0 "unix:$TMP/a.sock" "unix:$TMP/b.sock"
[ "$URI" = "nbd+unix:///vda?socket=$TMP/a.sock" ] || fail "with a Unix socket: $URI"
works ''
stop_daemon

serve 0.0.0.0:0 127.0.0.1:0
[ "$URI" = "nbd://$(sed -n '/^nbd 127/s/^nbd //p' "$TMP/said")/vda" ] || fail "with an address of one host: $URI"
works ''
stop_daemon

serve 0.0.0.0:0
[ "$URI" = "nbds://127.0.0.1:$(sed -n 's/^nbd 0.0.0.0://p' "$TMP/said")/vda" ] || fail "with a wildcard only: $URI"
works "?tls-psk-file=$TMP/pki/psk"
stop_daemon

if grep -qs '^0*1 ' /proc/net/if_inet6; then
    serve '[::]:0'
    [ "$URI" = "nbds://[::1]:$(sed -n 's/^nbd \[::\]://p' "$TMP/said")/vda" ] || fail "with a wildcard only: $URI"
    port=${URI%/vda} port=${port##*:}
    # libnbd sends the address as a server name, which GnuTLS refuses for IPv6; so only the greeting
    # is read.
    exec {peer}<>"/dev/tcp/::1/$port"
    read -r -N 8 -t "$DEADLINE_S" -u "$peer" greeting
    [ "$greeting" = NBDMAGIC ] || fail "$URI greets with $greeting"
    exec {peer}>&-
    stop_daemon
fi
