#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# No room waits for a condition variable but by base/condition.h, whose waits end by themselves: the
# C library may lose a signal.
set -euo pipefail
cd "${SOURCE_DIR:-$(dirname "${BASH_SOURCE[0]}")/../..}"

direct=$(grep -rnE 'pthread_cond_(wait|timedwait|clockwait)\(' --include='*.[ch]' base block service store |
    grep -v '^base/condition\.c:' || true)
[ -z "$direct" ] || {
    printf 'use condition_wait() or condition_wait_until():\n%s\n' "$direct"
    exit 1
}
grep -q 'pthread_cond_clockwait(' base/condition.c
