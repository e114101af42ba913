/* SPDX-License-Identifier: Apache-2.0
 *
 * Wall-clock time as the API shows it: RFC 3339, UTC, microseconds. Any thread.
 */
#ifndef SERVICE_CLOCK_H
#define SERVICE_CLOCK_H

#include <stdint.h>

/* Microseconds since the epoch, now. */
uint64_t clock_now_us(void);

/* A clock that never steps back, in microseconds, for durations. */
uint64_t clock_monotonic_us(void);

/* "2026-01-31T12:00:00.000001Z" */
#define CLOCK_TEXT_BYTES 32
void clock_format(uint64_t time_us, char text[CLOCK_TEXT_BYTES]);

#endif
