/* SPDX-License-Identifier: Apache-2.0
 *
 * See clock.h.
 */
#include "service/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

uint64_t clock_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void clock_format(uint64_t time_us, char text[CLOCK_TEXT_BYTES])
{
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char date[24];
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, CLOCK_TEXT_BYTES, "%s.%06uZ", date, (unsigned)(time_us % 1000000));
}

/* Reads `count` digits; moves *text behind them. */
static bool digits_read(const char **text, int count, int *value)
{
    *value = 0;
    for (int i = 0; i < count; i++, ++*text) {
        if (**text < '0' || **text > '9')
            return false;
        *value = *value * 10 + (**text - '0');
    }
    return true;
}

static bool char_read(const char **text, const char *choices)
{
    return **text && strchr(choices, *(*text)++);
}

/* An optional fraction of a second; what is smaller than a microsecond is dropped. */
static bool fraction_read(const char **text, uint64_t *fraction_us)
{
    *fraction_us = 0;
    if (**text != '.')
        return true;
    size_t digits = strspn(++*text, "0123456789");
    for (size_t i = 0; i < 6; i++)
        *fraction_us = *fraction_us * 10 + (i < digits ? (uint64_t)((*text)[i] - '0') : 0);
    *text += digits;
    return digits >= 1 && digits <= 9;
}

static bool offset_read(const char **text, int64_t *offset_s)
{
    int hours, minutes;
    char sign = **text;
    *offset_s = 0;
    if (!char_read(text, "Zz+-"))
        return false;
    if (sign == 'Z' || sign == 'z')
        return true;
    if (!digits_read(text, 2, &hours) || !char_read(text, ":") || !digits_read(text, 2, &minutes) ||
        hours > 23 || minutes > 59)
        return false;
    *offset_s = (sign == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

/* The date and the time of day; there is no 30th of February. */
static bool date_read(const char **text, int64_t *seconds)
{
    struct tm tm = {0};
    if (!digits_read(text, 4, &tm.tm_year) || !char_read(text, "-") ||
        !digits_read(text, 2, &tm.tm_mon) || !char_read(text, "-") ||
        !digits_read(text, 2, &tm.tm_mday) || !char_read(text, "Tt ") ||
        !digits_read(text, 2, &tm.tm_hour) || !char_read(text, ":") ||
        !digits_read(text, 2, &tm.tm_min) || !char_read(text, ":") ||
        !digits_read(text, 2, &tm.tm_sec) || tm.tm_sec > 60)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    bool is_leap = tm.tm_sec == 60; /* then the next minute begins */
    tm.tm_sec -= is_leap;
    struct tm wanted = tm;
    *seconds = timegm(&tm) + is_leap;
    return tm.tm_mon == wanted.tm_mon && tm.tm_mday == wanted.tm_mday &&
           tm.tm_hour == wanted.tm_hour && tm.tm_min == wanted.tm_min;
}

int clock_parse(const char *text, uint64_t *time_us)
{
    int64_t seconds, offset_s;
    uint64_t fraction_us;
    if (!date_read(&text, &seconds) || !fraction_read(&text, &fraction_us) ||
        !offset_read(&text, &offset_s) || *text || seconds < offset_s)
        return -1;
    *time_us = (uint64_t)(seconds - offset_s) * 1000000 + fraction_us;
    return 0;
}
