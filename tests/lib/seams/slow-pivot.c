/* SPDX-License-Identifier: Apache-2.0
 *
 * Linked into snapgroupd-slow-pivot and snapgroupd-no-fence with -Wl,--wrap=device_swap_top: each
 * swap of a top takes 2 ms more, so that what a cut without a fence tears apart can be seen. Pivots
 * last as long as they may on a very slow machine; with the fence in place nothing else may differ.
 *
 * If the environment names a file PIVOT_GATE, a swap lasts until there is such a file instead; the
 * file of that name with ".reached" after it tells that a swap waits for it.
 */
#include "block/device/device.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct node *__real_device_swap_top(struct device *device, struct node *overlay);
struct node *__wrap_device_swap_top(struct device *device, struct node *overlay);

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
    if (fd >= 0) {
        close(fd);
    }
    while (access(gate, F_OK) != 0) {
        pause_2ms();
    }
}

struct node *__wrap_device_swap_top(struct device *device, struct node *overlay)
{
    struct node *frozen = __real_device_swap_top(device, overlay);
    const char *gate = getenv("PIVOT_GATE");
    if (gate) {
        await_gate(gate);
    } else {
        pause_2ms();
    }
    return frozen;
}
