/* SPDX-License-Identifier: Apache-2.0
 *
 * See accept.h.
 */
#include "service/http/accept.h"

#include <string.h>
#include <strings.h>

/* How closely the range of `length` bytes matches the type: 3: it is the type; 2: it has every type
 * of the family; 1: it has every type; 0: not at all. */
static int range_rank(const char *range, size_t length, const char *type)
{
    size_t family = strcspn(type, "/") + 1;
    if (length == strlen(type) && strncasecmp(range, type, length) == 0)
        return 3;
    if (length == family + 1 && range[family] == '*' && strncasecmp(range, type, family) == 0)
        return 2;
    return length == 3 && memcmp(range, "*/*", 3) == 0 ? 1 : 0;
}

/* Whether the parameters behind a range, up to `end`, have a q of 0. */
static bool range_is_refused(const char *at, const char *end)
{
    while (at < end) {
        at += strspn(at, "; \t");
        if (at + 2 <= end && strncasecmp(at, "q=", 2) == 0) {
            size_t value = strspn(at + 2, "0123456789.");
            return value > 0 && strspn(at + 2, "0.") == value;
        }
        at += strcspn(at, ";,");
        if (at < end && *at == ',')
            return false;
    }
    return false;
}

/* Looks through one field's ranges. */
static void field_look(const char *field, const char *type, int *best, bool *is_refused)
{
    while (*field) {
        field += strspn(field, " \t,");
        const char *end = field + strcspn(field, ",");
        int rank = range_rank(field, strcspn(field, "; \t,"), type);
        if (rank > *best) {
            *best = rank;
            *is_refused = range_is_refused(field + strcspn(field, ";,"), end);
        }
        field = end;
    }
}

bool request_accepts(const struct request *request, const char *type)
{
    int best = 0;
    bool is_refused = false;
    const char *field = request_header(request, "Accept", 0);
    if (!field || !*field)
        return true;
    for (size_t i = 0; (field = request_header(request, "Accept", i)); i++)
        field_look(field, type, &best, &is_refused);
    return best > 0 && !is_refused;
}

bool request_accepts_gzip(const struct request *request)
{
    int best = 0;
    bool is_refused = false;
    const char *field;
    for (size_t i = 0; (field = request_header(request, "Accept-Encoding", i)); i++)
        field_look(field, "gzip", &best, &is_refused);
    return best > 0 && !is_refused;
}
