/* SPDX-License-Identifier: Apache-2.0
 *
 * Linked into snapgroupd-turned-steps with -Wl,--wrap for each function below: a merge
 * (block/merge.h) that does its steps in another order, which TURNED_STEP in the environment names:
 *
 *     copied       the row says that all is pushed, and then it is made durable
 *     headers      headers name base, durably, and then what was pushed is made durable
 *     redirected   the row says that all has gone over to base, and then headers name it
 *     mask         headers name base before the push begins: nothing hides what is half written
 *
 * Or a collapse (block/collapse.h):
 *
 *     twin         the row says that base is the top, and then that is made durable
 *     marked       the row says so, and then base loses its mark as a frozen file
 *     flushes      until the row says so, flushes of clients are of the old top alone
 *
 * The daemon made so is wrong on purpose: the power-loss rig must find it out.
 */
#include "block/collapse.h"
#include "block/device/twin.h"
#include "block/image/frozen-attribute.h"
#include "block/merge.h"
#include "store/images.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WRAP(result, name, ...)                                                                    \
    result __real_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__)

enum { CHILDREN_MAX = 16 };

/* Between two turned steps: longer than between flushes of clients, which are where disks are cut.
 * The fault itself, not a way to wait for something. */
static const struct timespec PAUSE = {.tv_nsec = 400000000};

/* Of the merge that the thread is at. */
static _Thread_local struct {
    struct merge_image children[CHILDREN_MAX]; /* what stands on upper; owned */
    size_t count;
    struct merge *unflushed, *unnamed;
    bool is_holding; /* in collapse_hold() */
    int marked_fd;   /* of base; -1: none */
} now = {.marked_fd = -1};

static bool is_turned(const char *step)
{
    const char *turned = getenv("TURNED_STEP");
    return turned && strcmp(turned, step) == 0;
}

static char *copy(const char *text)
{
    char *made = text ? strdup(text) : NULL;
    if (text && !made)
        abort();
    return made;
}

static void children_forget(void)
{
    for (size_t i = 0; i < now.count; i++) {
        free((char *)now.children[i].path);
        free((char *)now.children[i].format);
        free((char *)now.children[i].identity);
    }
    now.count = 0;
}

/* Merges ask for the tree of upper. */
WRAP(int, store_image_tree, struct store *store, const char *path, struct image_row **rows,
     size_t *count, struct err *err)
{
    int ret = __real_store_image_tree(store, path, rows, count, err);
    children_forget();
    for (size_t i = 0; ret == 0 && i < *count; i++) {
        const struct image_row *row = &(*rows)[i];
        if (!row->backing || strcmp(row->backing, path) != 0)
            continue;
        if (now.count == CHILDREN_MAX)
            abort();
        now.children[now.count++] =
            (struct merge_image){copy(row->path), copy(row->format), copy(row->identity)};
    }
    return ret;
}

WRAP(int, merge_rename, struct merge *merge, const struct merge_image *child, struct err *err)
{
    if (!is_turned("redirected"))
        return __real_merge_rename(merge, child, err);
    now.unnamed = merge;
    return 0;
}

static int children_rename(struct merge *merge, struct err *err)
{
    int ret = 0;
    for (size_t i = 0; i < now.count && ret == 0; i++)
        ret = __real_merge_rename(merge, &now.children[i], err);
    return ret;
}

WRAP(int, merge_begin, struct merge *merge, struct err *err)
{
    int ret = __real_merge_begin(merge, err);
    return ret == 0 && is_turned("mask") ? children_rename(merge, err) : ret;
}

WRAP(int, merge_flush, struct merge *merge, struct err *err)
{
    if (is_turned(now.is_holding ? "twin" : "copied")) {
        now.unflushed = merge;
        return 0;
    }
    if (is_turned("headers")) {
        if (children_rename(merge, err) != 0)
            return -1;
        nanosleep(&PAUSE, NULL);
    }
    return __real_merge_flush(merge, err);
}

/* The first that follows the row. */
WRAP(void, merge_await_clones, struct merge *merge)
{
    struct err err;
    if (now.unflushed == merge)
        nanosleep(&PAUSE, NULL);
    if (now.unflushed == merge && __real_merge_flush(merge, &err) != 0)
        abort();
    now.unflushed = NULL;
    __real_merge_await_clones(merge);
}

/* The first that follows the last row. */
WRAP(int, merge_end, struct merge *merge, struct err *err)
{
    if (now.unnamed == merge)
        nanosleep(&PAUSE, NULL);
    int ret = now.unnamed == merge ? children_rename(merge, err) : 0;
    now.unnamed = NULL;
    return ret == 0 ? __real_merge_end(merge, err) : ret;
}

/* ---- of a collapse ---- */

WRAP(int, collapse_flush, struct collapse *collapse, struct err *err)
{
    return is_turned("twin") ? 0 : __real_collapse_flush(collapse, err);
}

WRAP(int, twin_flush, struct twin *twin)
{
    return is_turned("twin") || is_turned("flushes") ? 0 : __real_twin_flush(twin);
}

WRAP(int, frozen_attribute_clear, int fd)
{
    if (!now.is_holding || !is_turned("marked"))
        return __real_frozen_attribute_clear(fd);
    now.marked_fd = fd;
    return 0;
}

WRAP(int, collapse_hold, struct collapse *collapse, struct err *err)
{
    now.is_holding = true;
    int ret = __real_collapse_hold(collapse, err);
    now.is_holding = false;
    return ret;
}

/* The first that follows the row, which nobody is in the way of here. */
WRAP(void, collapse_commit, struct collapse *collapse)
{
    struct err err;
    nanosleep(&PAUSE, NULL);
    if (now.unflushed && __real_merge_flush(now.unflushed, &err) != 0)
        abort();
    if (now.marked_fd >= 0 && __real_frozen_attribute_clear(now.marked_fd) != 0)
        abort();
    now.unflushed = NULL;
    now.marked_fd = -1;
    __real_collapse_commit(collapse);
}
