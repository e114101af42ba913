#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: once
#
# Where link(2) fails, as on FAT, a kill at a system call of creating a device, of detaching it or
# of a group snapshot is recovered as well as elsewhere: the tests of those, with a daemon without
# hard links. A group is killed at every fifth call, or as CRASH_STRIDE says.
# timeout: 1800
set -eu
cd "$(dirname "$0")"
SOURCE_DIR=${SOURCE_DIR:-$(cd ../.. && pwd)}
export SNAPGROUPD=${BUILD_DIR:=$SOURCE_DIR/build/dev}/tests/snapgroupd-no-links SOURCE_DIR BUILD_DIR
./kill-at-every-syscall-of-create-and-detach.py
export CRASH_STRIDE=${CRASH_STRIDE:-5}
./kill-at-every-syscall-of-a-group-snapshot.py
