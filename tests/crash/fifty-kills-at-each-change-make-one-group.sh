#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 14400
# serial
#
# crash/retries-after-a-kill-make-one-group with 52 rounds of each walk, over every call that
# changes what a restart or a client finds, by four processes at once. JOBS and ROUNDS (of each)
# select others. A kill takes 25 ms of a processor on tmpfs (TMPDIR), and on a disk what syncs take.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
jobs=()
for _ in $(seq "${JOBS:-4}"); do
    CRASH_ROUNDS=${ROUNDS:-13} CRASH_CALLS=changes ./retries-after-a-kill-make-one-group.py &
    jobs+=($!)
done
for job in "${jobs[@]}"; do
    wait "$job"
done
