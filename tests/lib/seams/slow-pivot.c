/* SPDX-License-Identifier: Apache-2.0
 *
 * Linked into snapgroupd-slow-pivot and snapgroupd-no-fence with -Wl,--wrap=device_swap_top: each
 * swap of a top takes 2 ms more, so that what a cut without a fence tears apart can be seen. Pivots
 * last as long as they may on a very slow machine; with the fence in place nothing else may differ.
 */
#include "block/device.h"

#include <time.h>

struct node *__real_device_swap_top(struct device *device, struct node *overlay);
struct node *__wrap_device_swap_top(struct device *device, struct node *overlay);

struct node *__wrap_device_swap_top(struct device *device, struct node *overlay)
{
    struct node *frozen = __real_device_swap_top(device, overlay);
    const struct timespec pause = {.tv_nsec = 2000000};
    nanosleep(&pause, NULL); /* the fault itself, not a way to wait for something */
    return frozen;
}
