#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# libnbd's nbdinfo shows the exports as they are, over a Unix socket and over TCP: names, sizes,
# every capability, block sizes; and the error for exports that do not exist.
. "$(dirname "$0")/../lib/functions.sh"

start_daemon
create_device vda raw 1M
create_device vdb qcow2 10G
truncate -s 64k "$IMAGES/vdc.raw"
api POST /devices '{"name":"vdc","image":"vdc.raw","format":"raw","read_only":true}'
expect_status 201
stop_daemon

uri() { # NAME: like that of vda
    echo "${VDA_URI/vda/"$1"}"
}

look() { # NAME: sets BODY to what nbdinfo says
    BODY=$(nbdinfo --json "$(uri "$1")")
}

addresses=("unix:$RUNTIME/nbd.sock" 127.0.0.1:0)
! grep -qs '^0*1 ' /proc/net/if_inet6 || addresses+=('[::1]:0')
for address in "${addresses[@]}"; do
    start_daemon --nbd "$address"
    api GET /devices/vda
    VDA_URI=$(jq -r .export.uri <<<"$BODY")
    look vda
    expect_json '.protocol == "newstyle-fixed" and (.TLS | not) and .structured'
    expect_json '.exports[0]."export-size" == 1048576 and (.exports[0].is_read_only | not)'
    expect_json '.exports[0] | .can_flush and .can_fua and .can_multi_conn and .can_trim and .can_zero'
    expect_json '.exports[0] | .can_cache and .can_df and .can_fast_zero and (.is_rotational | not)'
    expect_json '.exports[0].contexts == ["base:allocation", "qemu:allocation-depth"]'
    expect_json '.exports[0] | .block_size_minimum == 1 and .block_size_preferred == 4096'
    expect_json '.exports[0].block_size_maximum == 33554432'
    look vdb
    expect_json '.exports[0]."export-size" == 10737418240 and (.exports[0].is_read_only | not)'
    look vdc
    expect_json '.exports[0]."export-size" == 65536 and .exports[0].is_read_only'
    expect_json '.exports[0] | (.can_trim or .can_zero) | not'

    BODY=$(nbdinfo --list --json "$(uri '')")
    expect_json '[.exports[]."export-name"] | sort == ["vda", "vdb", "vdc"]'
    for name in nope '' vdaa vda@nope "$(printf '%04096d' 0)"; do
        if nbdinfo "$(uri "$name")" >"$TMP/out" 2>&1; then
            fail "'$name' is an export: $(cat "$TMP/out")"
        fi
    done
    stop_daemon
done
