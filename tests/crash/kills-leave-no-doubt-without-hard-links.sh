#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Where link(2) fails, as on FAT, a kill at the system calls of creating a device, of detaching it
# and of a group snapshot leaves as little in doubt as where it does not: the tests of those, with a
# daemon that has no hard links. A group takes every third call, or those that CRASH_STRIDE says.
# timeout: 1800
set -eu
cd "$(dirname "$0")"
SOURCE_DIR=${SOURCE_DIR:-$(cd ../.. && pwd)}
export SNAPGROUPD=${BUILD_DIR:=$SOURCE_DIR/build/dev}/tests/snapgroupd-no-links SOURCE_DIR BUILD_DIR
./kill-at-every-syscall-of-create-and-detach.py
export CRASH_STRIDE=${CRASH_STRIDE:-3}
./kill-at-every-syscall-of-a-group-snapshot.py
