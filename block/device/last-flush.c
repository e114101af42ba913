/* SPDX-License-Identifier: Apache-2.0
 *
 * See last-flush.h.
 *
 *     flushes   0   1   2  ...              next ............ count
 *               begun, or ended             | nobody's yet
 *
 * A thread takes the next device and flushes it. There are THREADS at first; if nothing was taken
 * for STEP_MS while some are left, all of them wait for storage, and one more is started, up to
 * THREADS_MAX.
 *
 *   L1. A device that is listed has a looker until its flush has ended and was reported.
 *   L2. The list is freed by the caller, or, if flushes hang, by nobody: the process exits.
 */
#include "block/device/last-flush.h"

#include "base/condition.h"
#include "base/log.h"
#include "base/monotonic.h"
#include "block/device/object.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 16, THREADS_MAX = 256, STEP_MS = 50 };

struct last_flush {
    struct device *device;
    uint64_t begun_ms;
    bool has_ended;
    int ret;
};

struct last_flushes {
    struct block *block;
    pthread_mutex_t lock;   /* guards all below */
    pthread_cond_t changed; /* one was taken, or has ended, or a thread has */
    struct last_flush *list;
    size_t count, next, ended;
    uint64_t taken_ms; /* the last time */
    unsigned threads;
};

/* ---- the list ---- */

static size_t devices_count_locked(const struct block *block)
{
    size_t count = 0;
    for (const struct device *device = block->devices; device; device = device->next)
        count++;
    return count;
}

static struct last_flushes *flushes_new(struct block *block)
{
    struct last_flushes *all = calloc(1, sizeof(*all));
    if (!all)
        return NULL;
    LOCK_GUARD(&block->lock);
    all->list = calloc(devices_count_locked(block) + 1, sizeof(*all->list));
    if (!all->list) {
        free(all);
        return NULL;
    }
    all->block = block;
    all->taken_ms = clock_monotonic_ms();
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->changed, NULL);
    for (struct device *device = block->devices; device; device = device->next)
        if (device->index && !device_has_failed(device)) {
            device->lookers++; /* L1 */
            all->list[all->count++].device = device;
        }
    return all;
}

static void device_unlook(struct block *block, struct device *device)
{
    LOCK_GUARD(&block->lock);
    assert(device->lookers > 0); /* L1 */
    if (--device->lookers == 0)
        pthread_cond_broadcast(&block->changed);
}

static void flushes_free(struct last_flushes *all)
{
    assert(all->ended == all->count && all->threads == 0); /* L2 */
    for (size_t i = 0; i < all->count; i++)
        device_unlook(all->block, all->list[i].device);
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->lock);
    free(all->list);
    free(all);
}

/* ---- the threads ---- */

static void *flushes_run(void *arg)
{
    struct last_flushes *all = arg;
    LOCK_GUARD(&all->lock);
    while (all->next < all->count) {
        struct last_flush *flush = &all->list[all->next++];
        all->taken_ms = flush->begun_ms = clock_monotonic_ms();
        pthread_cond_broadcast(&all->changed);
        pthread_mutex_unlock(&all->lock);
        int ret = device_flush(flush->device);
        pthread_mutex_lock(&all->lock);
        flush->ret = ret;
        flush->has_ended = true;
        all->ended++;
        pthread_cond_broadcast(&all->changed);
    }
    all->threads--;
    pthread_cond_broadcast(&all->changed);
    return NULL;
}

/* False: there is none. */
static bool flushes_add_thread_locked(struct last_flushes *all)
{
    pthread_t thread;
    if (all->threads == THREADS_MAX || pthread_create(&thread, NULL, flushes_run, all) != 0)
        return false;
    pthread_detach(thread);
    all->threads++;
    all->taken_ms = clock_monotonic_ms();
    return true;
}

/* ---- the caller ---- */

/* When the last flush that is under way has had its time; those that nobody has taken by then never
 * are. */
static uint64_t flushes_deadline_locked(const struct last_flushes *all, unsigned limit_ms)
{
    uint64_t begun_ms = all->taken_ms;
    for (size_t i = 0; i < all->next; i++)
        if (!all->list[i].has_ended && all->list[i].begun_ms > begun_ms)
            begun_ms = all->list[i].begun_ms;
    return begun_ms + limit_ms;
}

static void flushes_await_locked(struct last_flushes *all, unsigned limit_ms)
{
    while (all->ended < all->count || all->threads > 0) {
        uint64_t now = clock_monotonic_ms(), until_ms = flushes_deadline_locked(all, limit_ms);
        bool is_left = all->next < all->count; /* to be taken */
        if (now >= until_ms)
            return;
        if (is_left && now >= all->taken_ms + STEP_MS && flushes_add_thread_locked(all))
            continue;
        if (is_left && until_ms > now + STEP_MS)
            until_ms = now + STEP_MS;
        (void)condition_wait_until(&all->changed, &all->lock, until_ms * 1000);
    }
}

static int flushes_report_locked(const struct last_flushes *all, bool *hangs, struct err *err)
{
    int ret = 0;
    for (size_t i = 0; i < all->count; i++) {
        const struct last_flush *flush = &all->list[i];
        const char *name = flush->device->name;
        if (!flush->has_ended)
            log_error("device '%s' is not flushed, as if storage hung: its journal has what was "
                      "acknowledged, for the next start",
                      name);
        *hangs |= !flush->has_ended;
        if (!flush->has_ended || flush->ret)
            ret = err_set(err, ErrOpenFileFailed, -flush->ret, "device '%s' could not be flushed",
                          name);
    }
    return ret;
}

/* Without a thread the caller is one. */
static void flushes_begin(struct last_flushes *all)
{
    pthread_mutex_lock(&all->lock);
    size_t threads = all->count < THREADS ? all->count : THREADS;
    while (all->threads < threads && flushes_add_thread_locked(all))
        ;
    bool is_alone = all->threads == 0;
    all->threads += is_alone;
    pthread_mutex_unlock(&all->lock);
    if (is_alone)
        flushes_run(all);
}

int devices_flush_last(struct block *block, unsigned limit_ms, bool *hangs, struct err *err)
{
    *hangs = false;
    struct last_flushes *all = flushes_new(block);
    if (!all)
        return err_set(err, ErrOutOfResources, ENOMEM, "no device could be flushed");
    flushes_begin(all);
    pthread_mutex_lock(&all->lock);
    flushes_await_locked(all, limit_ms);
    int ret = flushes_report_locked(all, hangs, err);
    pthread_mutex_unlock(&all->lock);
    if (*hangs)
        block->hung_flushes = all;
    else
        flushes_free(all);
    return ret;
}
