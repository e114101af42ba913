# SPDX-License-Identifier: Apache-2.0
#
# A short life of two disks, by snapgroupctl and nbdcopy, for daemons that are confined: `live` has
# them made, written to, frozen, cloned, copied and rolled back; after a restart `live_on` reads
# what was frozen. For busybox's shell, too. $1 is a command by which the daemon reads its files
# again.
export_of() {
    echo "nbd+unix:///$1?socket=/run/snapgroupd/nbd.sock"
}

ctl() {
    snapgroupctl "$@" >/tmp/ctl 2>&1 || {
        echo "snapgroupctl $*: $(cat /tmp/ctl)"
        return 1
    }
}

live() { # RELOAD
    dd if=/dev/urandom of=/tmp/content bs=1M count=1 2>/dev/null
    ctl device create vda --size 1M
    ctl device create vdb --size 1M --format raw
    nbdcopy /tmp/content "$(export_of vda)"
    nbdcopy /tmp/content "$(export_of vdb)"
    ctl group take g vda vdb
    ctl device clone vda@g c
    ctl group copy g vda copy.qcow2 --format qcow2
    ctl group rollback g --name back
    $1
    ctl group delete back
    ctl device detach c --delete-file
    ctl token create t --scope read
}

live_on() {
    for disk in vda@g vdb@g vda vdb; do
        nbdcopy "$(export_of "$disk")" /tmp/read
        cmp /tmp/content /tmp/read
    done
    ctl device resize vda 2M
    ctl group delete g
    ctl device detach vda
    ctl device detach vdb
}
