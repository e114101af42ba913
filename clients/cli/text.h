/* SPDX-License-Identifier: Apache-2.0
 *
 * Text of others (names, labels, messages) written so that a terminal shows it and does nothing
 * else: control characters, what changes the direction of writing, what is invisible, what the
 * locale cannot show and what is no UTF-8 become \n, \x1b or \u{202e}. The caller has called
 * setlocale().
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stddef.h>
#include <stdio.h>

enum text_form {
    TEXT_LINE,  /* everything that is not shown is escaped */
    TEXT_LINES, /* newlines and tabs stay */
    TEXT_JSON,  /* of a JSON text, escaped as JSON does it: \u202e; newlines and tabs stay */
};

void text_write(FILE *to, const char *text, size_t length, enum text_form form);

/* The columns that text_write() as TEXT_LINE takes. */
size_t text_width(const char *text);

#endif
