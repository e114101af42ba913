/* SPDX-License-Identifier: Apache-2.0
 *
 * A file as a power failure could leave it, for tests linked with lib/seams/power-disk.c. That puts
 * its own pwrite64, pwritev64, fallocate64, ftruncate64 and fdatasync between the code under test
 * and the kernel, which keep a log of what was written to the watched file since its last
 * fdatasync. On every fdatasync, just before it takes effect, disks are made up from the log and
 * examined:
 *
 *     durable        content at the last fdatasync
 *     log            write 0, write 1, ... write N-1, each made of sectors of 512 bytes
 *     fate           per sector: how many writes of the log it has seen (a disk may write in any
 *                    order, but a sector never goes back)
 *     crash image    durable + for each sector the writes below its fate
 *
 * Where the sectors written since then have few fates, all of them are examined; else random ones.
 */
#ifndef TESTS_POWERDISK_H
#define TESTS_POWERDISK_H

#include "tests/lib/testlib.h"

enum { POWER_FILE_BYTES_MAX = 8 << 20 };

struct power_rig {
    struct random *random;
    void (*examine)(void *arg, uint64_t state); /* of "crash.qcow2" in the scratch directory */
    void *arg;
    unsigned all_max;    /* so many fates, or fewer, are all examined */
    unsigned each;       /* of more, so many at each fdatasync */
    uint64_t states_max; /* together */
};

/* Watches the file behind `fd`, whichever descriptor it is written through. Main thread only. */
void power_watch(const struct power_rig *rig, int fd);

/* Ends that. The log must have seen all that the file has, or the crash images prove nothing. */
void power_unwatch(int fd);

uint64_t power_states(void); /* examined since the start of the program */

#endif
