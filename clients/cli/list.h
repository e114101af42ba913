/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists of the daemon, page by page.
 *
 * As JSON a list of one page is written as it came; of more pages, as one page that has all items,
 * byte for byte, and else what the last page has. It is written once it is complete.
 */
#ifndef CLI_LIST_H
#define CLI_LIST_H

#include "clients/cli/cell.h"
#include "clients/cli/client.h"

struct list {
    const char *path;       /* without query */
    const char *cursor;     /* the parameter that has `next` */
    int64_t page_items_max; /* the daemon's limit of a page */
    const struct resource *resource;
};

/* Shows a list. The options of the call that filter become parameters; --limit is of all pages
 * together. */
int list_show(struct call *call, const struct list *list);

/* Shows all of a kind, "devices" of /devices; and the one that the first argument names. */
int list_show_kind(struct call *call, const char *kind, const struct resource *resource);
int list_show_one(struct call *call, const char *kind, const struct resource *resource);

#endif
