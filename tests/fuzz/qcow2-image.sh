#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# No image, however damaged, crashes the qcow2 driver, makes it hang, or makes it take memory
# without bound. Small images with every feature are made by qemu-img; the fuzzer mutates them.
. "$(dirname "$0")/../lib/fuzz.sh"
cd "$corpus"

# image NAME OPTIONS SIZE COMMAND...: creates an image and runs qemu-io commands on it
image() {
    local name=$1 options=$2 size=$3 command
    local -a commands=()
    shift 3
    for command in "$@"; do
        commands+=(-c "$command")
    done
    qemu-img create -q -f qcow2 -o "$options" "$name" "$size"
    qemu-io -f qcow2 -d unmap "${commands[@]}" "$name" >/dev/null
}

patch() { # FILE OFFSET BYTES
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

image plain cluster_size=512 64k 'write -P 1 0 4k' 'write -P 2 20k 1k' 'write -z 30k 2k'
image version2 cluster_size=1k,compat=0.10 64k 'write -P 1 3k 5k' 'write -c -P 3 8k 1k'
image refcount1 cluster_size=512,refcount_bits=1 64k 'write -P 1 0 8k' 'discard 2k 2k'
image refcount64 cluster_size=512,refcount_bits=64 64k 'write -P 1 0 8k' 'write -z -u 1k 1k'
image zlib cluster_size=4k 64k 'write -c -P 1 0 4k' 'write -c -P 2 4k 4k' 'write -c -P 9 16k 4k'
image zstd cluster_size=4k,compression_type=zstd 64k 'write -c -P 1 0 4k' 'write -c -P 2 8k 4k'
image lazy cluster_size=1k,lazy_refcounts=on 64k 'write -P 1 0 8k'
image extended cluster_size=16k,extended_l2=on 256k 'write -P 1 1k 512' 'write -P 2 40k 9k' \
    'write -z 20k 2k'
image compressed cluster_size=16k,extended_l2=on 128k 'write -c -P 1 0 16k' 'write -P 2 1k 1k'
image snapshot cluster_size=512 64k 'write -P 1 0 4k'
qemu-img snapshot -c first snapshot
qemu-io -f qcow2 -c 'write -P 2 1k 2k' snapshot >/dev/null
qemu-img snapshot -c second snapshot
image bitmaps cluster_size=1k 64k 'write -P 1 0 2k'
qemu-img bitmap --add bitmaps dirty-blocks
image metadata cluster_size=2k,preallocation=metadata 32k 'write -P 1 0 2k'
qemu-img create -q -f raw "$scratch/backing" 96k
qemu-img create -q -f qcow2 -o cluster_size=2k -b "$scratch/backing" -F raw overlay 128k
qemu-io -f qcow2 -c 'write -P 1 1k 1k' -c 'write -z 8k 4k' overlay >/dev/null
name='json:{"driver":"raw","file":{"driver":"file","filename":"b\u0061se"}}'
qemu-img create -q -f qcow2 -u -o cluster_size=1k -b "$name" -F raw json 64k
qemu-img create -q -f qcow2 -u -o cluster_size=1k -b file:base -F raw file 64k
cp plain dirty
patch dirty 79 '\001'
cp refcount64 damaged
patch damaged 79 '\001'
patch damaged 1024 '\377\377'
cp snapshot corrupt
patch corrupt 79 '\002'

run_fuzzer qcow2-image -max_len=262144 -len_control=0 -handle_xfsz=0
