/* SPDX-License-Identifier: Apache-2.0
 *
 * See text.h. Characters are decoded here and not by the C library, because the daemon's text is
 * UTF-8 whatever the locale is.
 */
#include "clients/cli/text.h"

#include <langinfo.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

#define INVALID UINT32_MAX

/* Decodes a character and returns its bytes; INVALID and 1 if there is none. */
static size_t character_decode(const char *text, size_t length, uint32_t *character)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t more = bytes[0] < 0x80                        ? 0
                  : bytes[0] >= 0xc2 && bytes[0] <= 0xdf ? 1
                  : (bytes[0] & 0xf0) == 0xe0            ? 2
                  : bytes[0] >= 0xf0 && bytes[0] <= 0xf4 ? 3
                                                         : SIZE_MAX;
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    *character = INVALID;
    if (more >= length)
        return 1;
    uint32_t value = more ? bytes[0] & (0x3f >> more) : bytes[0];
    for (size_t i = 1; i <= more; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 1;
        value = value << 6 | (bytes[i] & 0x3f);
    }
    if (value < least[more] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 1;
    *character = value;
    return more + 1;
}

/* What is invisible, or moves what is around it. */
static bool is_deceptive(uint32_t character)
{
    static const uint32_t ranges[][2] = {
        {0x00ad, 0x00ad}, {0x034f, 0x034f}, {0x061c, 0x061c}, {0x115f, 0x1160},
        {0x17b4, 0x17b5}, {0x180b, 0x180f}, {0x200b, 0x200f}, {0x2028, 0x202e},
        {0x2060, 0x206f}, {0x3164, 0x3164}, {0xe000, 0xf8ff}, {0xfe00, 0xfe0f},
        {0xfeff, 0xfeff}, {0xffa0, 0xffa0}, {0xfff0, 0xffff}, {0xe0000, 0x10ffff},
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(*ranges); i++)
        if (character >= ranges[i][0] && character <= ranges[i][1])
            return true;
    return false;
}

/* The columns of a character that is shown as it is; -1: it is not. */
static int character_width(uint32_t character)
{
    if (character < 0x80)
        return character >= 0x20 && character < 0x7f ? 1 : -1;
    if (character < 0xa0 || character == INVALID || is_deceptive(character) ||
        strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        return -1;
    return wcwidth((wchar_t)character);
}

/* `byte`: the first of those that are no character. */
static int escape_format(char escape[16], uint32_t character, unsigned char byte,
                         enum text_form form)
{
    if (form == TEXT_JSON && character == INVALID)
        return snprintf(escape, 16, "\\ufffd");
    if (form == TEXT_JSON && character >= 0x10000)
        return snprintf(escape, 16, "\\u%04x\\u%04x", 0xd800 + ((character - 0x10000) >> 10),
                        0xdc00 + (character & 0x3ff));
    if (form == TEXT_JSON)
        return snprintf(escape, 16, "\\u%04x", character);
    if (character == INVALID || character < 0x80)
        return character == '\n'   ? snprintf(escape, 16, "\\n")
               : character == '\t' ? snprintf(escape, 16, "\\t")
                                   : snprintf(escape, 16, "\\x%02x", byte);
    return snprintf(escape, 16, "\\u{%x}", character);
}

void text_write(FILE *to, const char *text, size_t length, enum text_form form)
{
    for (size_t i = 0, bytes; i < length; i += bytes) {
        uint32_t character;
        char escape[16];
        bytes = character_decode(text + i, length - i, &character);
        bool is_space = form != TEXT_LINE && (character == '\n' || character == '\t');
        if (is_space || character_width(character) >= 0)
            fwrite(text + i, 1, bytes, to);
        else
            fwrite(escape, 1,
                   (size_t)escape_format(escape, character, (unsigned char)text[i], form), to);
    }
}

size_t text_width(const char *text)
{
    size_t columns = 0, length = strlen(text);
    for (size_t i = 0, bytes; i < length; i += bytes) {
        uint32_t character;
        char escape[16];
        bytes = character_decode(text + i, length - i, &character);
        int width = character_width(character);
        columns += (size_t)(width >= 0 ? width
                                       : escape_format(escape, character, (unsigned char)text[i],
                                                       TEXT_LINE));
    }
    return columns;
}
