/* SPDX-License-Identifier: Apache-2.0
 *
 * Wall-clock time as the API shows it: RFC 3339, UTC, microseconds. Any thread.
 */
#ifndef SERVICE_CLOCK_H
#define SERVICE_CLOCK_H

#include <stdint.h>

/* Microseconds since the epoch, now. */
uint64_t clock_now_us(void);

/* "2026-01-31T12:00:00.000001Z" */
#define CLOCK_TEXT_BYTES 32
void clock_format(uint64_t time_us, char text[CLOCK_TEXT_BYTES]);

/* Reads RFC 3339: "2026-01-31T12:00:00Z", with up to 9 digits of a second's fraction and with any
 * offset from UTC, from 1970 on. -1: the text is no such time. */
int clock_parse(const char *text, uint64_t *time_us);

#endif
