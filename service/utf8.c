/* SPDX-License-Identifier: Apache-2.0
 *
 * The ranges of well-formed UTF-8 (RFC 3629, section 4). The second byte alone tells overlong
 * forms, surrogates and values that are too large; every further byte is 80..BF.
 *
 *   first      bytes   second
 *   00..7F     1
 *   C2..DF     2       80..BF
 *   E0         3       A0..BF
 *   E1..EF     3       80..BF   (ED: 80..9F)
 *   F0         4       90..BF
 *   F1..F4     4       80..BF   (F4: 80..8F)
 */
#include "service/utf8.h"

#include <stdlib.h>
#include <string.h>

static size_t utf8_announced_bytes(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static bool utf8_second_is_valid(unsigned char first, unsigned char second)
{
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    return second >= low && second <= high;
}

size_t utf8_character_bytes(const char *text, size_t left)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t count = left > 0 ? utf8_announced_bytes(bytes[0]) : 0;
    if (count == 0 || count > left)
        return 0;
    if (count > 1 && !utf8_second_is_valid(bytes[0], bytes[1]))
        return 0;
    for (size_t i = 2; i < count; i++)
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    return count;
}

bool utf8_is_valid(const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        size_t count = utf8_character_bytes(text, left);
        if (count == 0)
            return false;
        text += count;
        left -= count;
    }
    return true;
}

char *utf8_repair(const char *text)
{
    static const char replacement[] = "\xef\xbf\xbd";
    size_t left = strlen(text);
    char *copy = malloc(left * (sizeof(replacement) - 1) + 1);
    if (!copy)
        return NULL;
    char *end = copy;
    while (left > 0) {
        size_t count = utf8_character_bytes(text, left);
        if (count > 0)
            end = mempcpy(end, text, count);
        else
            end = mempcpy(end, replacement, sizeof(replacement) - 1);
        text += count ? count : 1;
        left -= count ? count : 1;
    }
    *end = '\0';
    return copy;
}
