/* SPDX-License-Identifier: Apache-2.0
 *
 * See monotonic.h.
 */
#include "base/monotonic.h"

uint64_t clock_monotonic_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}

struct timespec clock_monotonic_at(uint64_t time_us)
{
    return (struct timespec){.tv_sec = (time_t)(time_us / 1000000),
                             .tv_nsec = (long)(time_us % 1000000 * 1000)};
}
