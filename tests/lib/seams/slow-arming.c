/* SPDX-License-Identifier: Apache-2.0
 *
 * Linked into snapgroupd-slow-arming and snapgroupd-cut-by-member with -Wl,--wrap=device_arm: each
 * member takes 2 ms more to arm, so that snapshots can be seen to be torn where members are cut one
 * by one. Where the cut is one store, nothing else may differ.
 *
 * If the environment names a file ARM_GATE, arming lasts until there is such a file instead; the
 * file of that name with ".reached" after it says that arming waits for it.
 */
#include "block/device/device.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct node *__real_device_arm(struct device *device, struct node *overlay, uint64_t epoch);
struct node *__wrap_device_arm(struct device *device, struct node *overlay, uint64_t epoch);

static void pause_2ms(void)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    nanosleep(&pause, NULL); /* the fault itself, not a way to wait for something */
}

static void await_gate(const char *gate)
{
    char reached[PATH_MAX];
    snprintf(reached, sizeof(reached), "%s.reached", gate);
    const int fd = open(reached, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    while (access(gate, F_OK) != 0)
        pause_2ms();
}

struct node *__wrap_device_arm(struct device *device, struct node *overlay, uint64_t epoch)
{
    struct node *frozen = __real_device_arm(device, overlay, epoch);
    const char *gate = getenv("ARM_GATE");
    if (gate)
        await_gate(gate);
    else
        pause_2ms();
    return frozen;
}
