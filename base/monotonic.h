/* SPDX-License-Identifier: Apache-2.0
 *
 * A clock that never steps back, for durations and deadlines.
 */
#ifndef BASE_MONOTONIC_H
#define BASE_MONOTONIC_H

#include <stdint.h>
#include <time.h>

uint64_t clock_monotonic_us(void);
uint64_t clock_monotonic_ms(void);

/* Such a time for functions that wait until then by CLOCK_MONOTONIC. */
struct timespec clock_monotonic_at(uint64_t time_us);

#endif
