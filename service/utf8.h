/* SPDX-License-Identifier: Apache-2.0
 *
 * UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. Requests are
 * refused if they break it; replies must not, though file names and messages may hold any bytes.
 */
#ifndef SERVICE_UTF8_H
#define SERVICE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character at `text`, of which `left` bytes are there; 0 if it is not well-formed. */
size_t utf8_character_bytes(const char *text, size_t left);

bool utf8_is_valid(const char *text);

/* A heap copy in which every ill-formed byte has become U+FFFD; NULL without memory. */
char *utf8_repair(const char *text);

#endif
