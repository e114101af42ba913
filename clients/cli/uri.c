/* SPDX-License-Identifier: Apache-2.0
 *
 * See uri.h.
 */
#include "clients/cli/uri.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void uri_escape(FILE *to, const char *text)
{
    for (const char *c = text; *c; c++) {
        bool is_plain =
            (unsigned char)*c < 0x80 && (isalnum((unsigned char)*c) || strchr("-._~", *c));
        fprintf(to, is_plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
}

void uri_segment(FILE *to, const char *segment)
{
    fputc('/', to);
    uri_escape(to, segment);
}

void uri_parameter(FILE *to, unsigned *count, const char *name, const char *value)
{
    fputc((*count)++ == 0 ? '?' : '&', to);
    uri_escape(to, name);
    fputc('=', to);
    uri_escape(to, value);
}

char *uri_path(const char *first, ...)
{
    char *path = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&path, &bytes);
    if (!to)
        return NULL;
    va_list segments;
    va_start(segments, first);
    for (const char *segment = first; segment; segment = va_arg(segments, const char *))
        uri_segment(to, segment);
    va_end(segments);
    fclose(to);
    return path;
}
