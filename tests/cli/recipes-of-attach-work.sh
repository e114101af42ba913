#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# What `attach NAME --as PROGRAM` prints works as it is pasted, over a Unix socket and over TLS, for
# disks and frozen members: nbdfuse mounts it, fio reads it, libvirt's schema takes it, nbd-client
# understands its command line and gets the disk's size; whether a kernel's module then takes the
# connection is not shown, since this machine may have none. QEMU has a test of its own.
. "$(dirname "$0")/../lib/mounts.sh"
[ -c /dev/fuse ] || skip 'there is no /dev/fuse'
"$SOURCE_DIR/tests/lib/certificates.sh" "$TMP/pki" >/dev/null 2>&1
# In the mounts of this test alone, the client's files are where libnbd looks for them.
mkdir -p "$TMP/.config/pki" "$TMP/etc/pki" "$TMP/work"
cp -r "$TMP/pki/client" "$TMP/.config/pki/libnbd"
cp -r "$TMP/pki/client" "$TMP/etc/pki/libnbd"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$TMP/etc,workdir=$TMP/work" /etc
start_daemon --nbd "unix:$RUNTIME/nbd.sock" --nbd 127.0.0.1:0 --nbd-tls optional \
    --nbd-tls-cert-dir "$TMP/pki/server" --nbd-tls-verify-peer
port=$(sed -n 's/^nbd 127\..*:\([0-9]*\)$/\1/p' "$TMP/said")
create_device vda qcow2 64M
qemu-io -f raw -c 'write -P 5 0 1M' "$(nbd_uri vda)" >/dev/null
snapshot one vda
qemu-io -f raw -c 'write -P 6 0 1M' "$(nbd_uri vda)" >/dev/null
remote=(--nbd "tls:localhost:$port" --cert-dir "$TMP/pki/client")

# run_recipe FILE: the text as a script, in $TMP
expect_recipe() { # FILE NAME PROGRAM [OPTION...]
    expect_ctl 0 attach "$2" --as "$3" "${@:4}"
    printf '%s\n' "$OUTPUT" >"$1"
}

scripts=0
mount_recipe() { # NAME BYTE [OPTION...]: its first byte
    local directory=${1//@/_}
    scripts=$((scripts + 1)) # a shell that ends reads on in its file
    expect_recipe "$TMP/mount.$scripts" "$1" nbdfuse "${@:3}"
    (cd "$TMP" && exec setpriv --pdeathsig KILL bash "$TMP/mount.$scripts") &
    SPAWNED_ALL+=($!)
    MOUNTED+=("$TMP/$directory")
    wait_until test -s "$TMP/$directory/disk"
    [ "$(head -c 1 "$TMP/$directory/disk" | od -An -tu1 | tr -d ' ')" = "$2" ] || fail "$1 has another byte"
    if [[ $1 = *@* ]]; then
        ! printf x | dd of="$TMP/$directory/disk" conv=notrunc status=none 2>/dev/null || fail "$1 was written to"
    fi
    umount "$TMP/$directory"
    MOUNTED=()
    rmdir "$TMP/$directory"
}
mount_recipe vda 6
mount_recipe vda@one 5
mount_recipe vda 6 "${remote[@]}"
mount_recipe vda@one 5 "${remote[@]}"

fio_recipe() { # NAME [OPTION...]
    expect_recipe "$TMP/job.fio" "$1" fio "${@:2}"
    sed -i 's/^runtime=10$/runtime=100ms/' "$TMP/job.fio"
    (cd "$TMP" && HOME=$TMP XDG_CONFIG_HOME=$TMP/.config fio --output-format=json --output="$TMP/fio.json" job.fio) >/dev/null 2>"$TMP/fio.err" ||
        fail "fio: $(cat "$TMP/fio.err" "$TMP/job.fio")"
    sed -n '/^{/,$p' "$TMP/fio.json" | jq -e '.jobs[0].read.total_ios > 0 and .jobs[0].error == 0' >/dev/null || fail "fio: $(cat "$TMP/fio.json")"
}
fio_recipe vda
fio_recipe vda@one
fio_recipe vda "${remote[@]}"

libvirt_recipe() {
    expect_recipe "$TMP/disk.xml" "$1" libvirt "${@:2}"
    {
        echo "<domain type='qemu'><name>test</name><memory>1048576</memory><os><type>hvm</type></os><devices>"
        cat "$TMP/disk.xml"
        echo '</devices></domain>'
    } >"$TMP/domain.xml"
    virt-xml-validate "$TMP/domain.xml" domain >"$TMP/validated" 2>&1 || fail "libvirt: $(cat "$TMP/validated" "$TMP/disk.xml")"
}
libvirt_recipe vda
grep -q "<source protocol='nbd' name='vda'>" "$TMP/disk.xml" || fail "xml: $(cat "$TMP/disk.xml")"
sed 's/<!-- \(<reconnect .*>\) -->/\1/' "$TMP/disk.xml" | xmllint --xpath '//source/reconnect/@delay' - |
    grep -q 86400 || fail "no time to reconnect: $(cat "$TMP/disk.xml")"
libvirt_recipe vda@one
grep -q '<readonly/>' "$TMP/disk.xml" || fail 'a frozen disk may be written to'
libvirt_recipe vda "${remote[@]}"
grep -q "tls='yes'" "$TMP/disk.xml" || fail "no TLS: $(cat "$TMP/disk.xml")"
libvirt_recipe vda --nbd "unix:/srv/a'b & <c>.sock"

# nbd-client connects first. It gets a device that is none, so that this machine has no new disk.
nbd_recipe() {
    expect_recipe "$TMP/line" "$1" nbd-client "${@:2}"
    grep -q ' /dev/nbd0 ' "$TMP/line" || fail "no device: $(cat "$TMP/line")"
    sed "s/^modprobe nbd && //; s|/dev/nbd0|$TMP/none|" "$TMP/line" >"$TMP/line.sh"
    ! bash "$TMP/line.sh" >"$TMP/nbd.out" 2>&1 || fail 'nbd-client took what is no device'
    grep -q 'size = 64MB' "$TMP/nbd.out" && grep -q 'Invalid nbd device target' "$TMP/nbd.out" ||
        fail "nbd-client: $(cat "$TMP/line" "$TMP/nbd.out")"
}
nbd_recipe vda
nbd_recipe vda@one
nbd_recipe vda "${remote[@]}"

expect_ctl 3 attach nothing --as fio
expect_ctl 3 attach vda@nothing --as fio
expect_ctl 3 attach vdb@one --as fio
expect_ctl 2 attach vda --as word
expect_ctl 2 attach vda
expect_ctl 2 attach vda --as fio --nbd 'host:0'
expect_ctl 2 attach vda --as fio --nbd '[::1'
expect_ctl 2 attach vda --as qemu --cert-dir relative
