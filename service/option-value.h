/* SPDX-License-Identifier: Apache-2.0
 *
 * The values of options. Called by options.c.
 */
#ifndef SERVICE_OPTION_VALUE_H
#define SERVICE_OPTION_VALUE_H

#include "base/err.h"
#include "service/limits.h"
#include "store/row.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum option_kind {
    OPTION_TEXT,    /* const char * */
    OPTION_ADDRESS, /* struct option_addresses; may be repeated */
    OPTION_GROUP,   /* struct option_groups: GROUP[=SCOPE]; may be repeated */
    OPTION_BYTES,   /* uint64_t; K, M, G, T may follow */
    OPTION_SECONDS, /* uint64_t, from OPTION_SECONDS_MIN to OPTION_SECONDS_MAX */
    OPTION_CHOICE,  /* an enum, stored as unsigned: the position among the words */
    OPTION_FLAG,    /* bool; 1 or 0 in environment and file */
    OPTION_CONFIG,  /* const char *; not in the file */
    OPTION_COMMAND, /* bool; command line only */
};

#define OPTION_SECONDS_MIN 60       /* longer than clients wait before they repeat a request */
#define OPTION_SECONDS_MAX 31536000 /* a year */

struct option_addresses {
    const char *list[OPTIONS_ADDRESSES_MAX];
    size_t count;
};

/* Groups of this machine, and what their members may do. */
struct option_groups {
    size_t count;
    struct option_group {
        gid_t gid;
        enum scope scope;
    } list[OPTIONS_GROUPS_MAX];
};

/* Stores the value `text`, borrowed for good. `words`: those of OPTION_CHOICE, separated by '|';
 * `source`: the option, the variable, or "FILE:LINE". InvalidParameter. */
int option_value_take(void *value, enum option_kind kind, const char *words, const char *source,
                      const char *text, struct err *err);

/* Whether two values of this kind are the same. */
bool option_value_equals(enum option_kind kind, const void *value, const void *other);

#endif
