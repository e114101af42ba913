/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices that could not be opened are tried again: an image that was away, on storage that was not
 * mounted yet or did not answer, locked by another process, comes back, and its device with it.
 *
 *     NONE --retry_begin--> WAITING, ON_REQUEST or NONE, by what failed:
 *
 *     damage, a format or feature that is refused    NONE
 *     the image of a journal is another file or was  ON_REQUEST: only an operator can help
 *     changed, or a sync of it failed
 *     anything else                                  WAITING: 0.25 s, doubled up to 10 s
 *
 *     WAITING ------ its time comes -------> OPENING --online--> NONE
 *     WAITING, ON_REQUEST --retry_now--> DUE --^ |  |
 *     OPENING --retry_now--> OPENING_DUE         |  +--fails--> as above; from OPENING_DUE: DUE
 *     OPENING, OPENING_DUE --retry_abandon_locked+--> ABANDONED --the attempt ends--> freed
 *
 *   R1. A device that is retried has no chain.
 *   R2. A device that is being opened is freed by the attempt only, even when it is abandoned.
 *
 * Threads: a thread that begins an attempt starts another one if none is idle, up to a limit, so
 * that storage that hangs blocks its own devices only; idle threads but one end. All state is
 * guarded by block->lock, which is not held while an image is opened. A request waits for its
 * attempt a few seconds at most.
 */
#include "block/device/retry.h"

#include "base/condition.h"
#include "base/log.h"
#include "base/monotonic.h"
#include "block/device/opener.h"
#include "block/device/registry.h"
#include "block/image/drivers.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    THREADS_MAX = 64,
    DELAY_MIN_MS = 250,
    DELAY_MAX_MS = 10000,
    WAIT_MS = 3000, /* for an attempt */
    STOP_MS = 5000,
};

/* Waits for a change of the retrier's state, no longer than until that time. */
static void retry_wait(struct block *block, uint64_t until_ms)
{
    if (until_ms == UINT64_MAX)
        condition_wait(&block->retrier.changed, &block->lock);
    else
        (void)condition_wait_until(&block->retrier.changed, &block->lock, until_ms * 1000);
}

static bool retry_is_pending(const struct device *device)
{
    return device->retry >= RETRY_DUE && device->retry <= RETRY_OPENING_DUE;
}

bool retry_is_scheduled(const struct device *device)
{
    return device->retry == RETRY_WAITING || retry_is_pending(device);
}

bool retry_is_opening(const struct device *device)
{
    return device->retry == RETRY_OPENING || device->retry == RETRY_OPENING_DUE;
}

static void retry_assert_state(const struct device *device)
{
    assert(device->retry == RETRY_NONE || !device->newest); /* R1 */
    assert(device->retry != RETRY_WAITING ||
           (device->retry_delay_ms >= DELAY_MIN_MS && device->retry_delay_ms <= DELAY_MAX_MS));
    assert(device->retry != RETRY_ABANDONED || atomic_load(&device->is_unwanted));
    (void)device;
}

static void retry_enter_state(struct device *device, enum retry_state state)
{
    retry_assert_state(device);
    device->retry = state;
    retry_assert_state(device);
}

/* ---- one attempt ---- */

static enum retry_state retry_after(enum err_code code, bool is_due)
{
    switch (code) {
    case ErrInvalidBlockFormat:
        return RETRY_NONE;
    case ErrUnflushedData:
        return is_due ? RETRY_DUE : RETRY_ON_REQUEST;
    default:
        return is_due ? RETRY_DUE : RETRY_WAITING;
    }
}

static void retry_schedule(struct device *device, const struct err *cause)
{
    char reason[ERR_MESSAGE_BYTES + 64];
    device->retry_delay_ms *= 2;
    if (device->retry_delay_ms < DELAY_MIN_MS)
        device->retry_delay_ms = DELAY_MIN_MS;
    if (device->retry_delay_ms > DELAY_MAX_MS)
        device->retry_delay_ms = DELAY_MAX_MS;
    device->retry_at_ms = clock_monotonic_ms() + device->retry_delay_ms;
    snprintf(reason, sizeof(reason), "%s%s", cause->message,
             retry_after(cause->code, false) == RETRY_WAITING ? "; it is retried until it opens"
                                                              : "");
    device_set_absent(device, reason);
    retry_enter_state(device, retry_after(cause->code, device->retry == RETRY_OPENING_DUE));
}

/* 0: the device is online, or it was abandoned and nothing of it is open. */
static int retry_open(struct block *block, struct device *device, const struct device_spec *spec,
                      struct err *err)
{
    CLEANUP_OPENING struct opening opening = OPENING_OF(block);
    struct node *top = opener_open_chain(&opening, device, spec, err);
    if (!top)
        return -1;
    pthread_mutex_lock(&block->lock);
    bool is_wanted = device->retry != RETRY_ABANDONED;
    int ret = is_wanted ? device_set_top(device, top, &block->index_memory, &block->cut) : 0;
    if (is_wanted && ret == 0) {
        device->overlay_shape = driver_overlay_shape(spec->overlay, top->size_bytes);
        device->retry = RETRY_NONE;
    }
    pthread_mutex_unlock(&block->lock);
    if (is_wanted && ret == 0)
        return 0;
    opening_end(&opening);
    node_give_up(top);
    return ret ? err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be opened", spec->name)
               : 0;
}

/* The lock is held, but not all the time; the device may be gone on return. */
static void retry_attempt_locked(struct block *block, struct device *device)
{
    struct err err;
    const struct device_spec spec = {.name = device->name,
                                     .image = device->image,
                                     .format = device->format,
                                     .read_only = device->read_only,
                                     .is_restored = true,
                                     .identity = device->identity,
                                     .overlay = device->overlay_shape};
    retry_enter_state(device, RETRY_OPENING);
    block->retrier.attempts++;
    pthread_mutex_unlock(&block->lock);
    int ret = retry_open(block, device, &spec, &err);
    pthread_mutex_lock(&block->lock);
    block->retrier.attempts--;
    if (device->retry == RETRY_ABANDONED) { /* R2 */
        while (device->lookers)
            condition_wait(&block->changed, &block->lock);
        device_free(device);
    } else if (ret != 0)
        retry_schedule(device, &err);
    pthread_cond_broadcast(&block->retrier.changed);
}

/* ---- the threads ---- */

/* The device that is to be tried now, or NULL and when the next one is. */
static struct device *retry_due(struct block *block, uint64_t *next_ms)
{
    uint64_t now = clock_monotonic_ms();
    *next_ms = UINT64_MAX;
    for (struct device *device = block->devices; device; device = device->next) {
        bool is_waiting = device->retry == RETRY_WAITING;
        if (*device->holder)
            continue;
        if (device->retry == RETRY_DUE || (is_waiting && device->retry_at_ms <= now))
            return device;
        if (is_waiting && device->retry_at_ms < *next_ms)
            *next_ms = device->retry_at_ms;
    }
    return NULL;
}

static void *retry_run(void *arg);

/* Sees to it that a thread waits for what is due next. */
static void retry_spawn(struct block *block)
{
    struct retrier *retrier = &block->retrier;
    pthread_t thread;
    if (retrier->is_stopping || retrier->idle || retrier->threads == THREADS_MAX)
        return;
    int ret = pthread_create(&thread, NULL, retry_run, block);
    if (ret) {
        log_warning("no thread retries failed devices now: %s", strerror(ret));
        return;
    }
    pthread_setname_np(thread, "device-retry");
    pthread_detach(thread);
    retrier->threads++;
    retrier->idle++;
}

static void *retry_run(void *arg)
{
    struct block *block = arg;
    struct retrier *retrier = &block->retrier;
    LOCK_GUARD(&block->lock);
    while (!retrier->is_stopping) {
        uint64_t next_ms;
        struct device *device = retry_due(block, &next_ms);
        if (device) {
            retrier->idle--;
            retry_spawn(block);
            retry_attempt_locked(block, device);
            retrier->idle++;
        } else if (retrier->idle > 1) {
            break;
        } else {
            retry_wait(block, next_ms);
        }
    }
    retrier->idle--;
    retrier->threads--;
    pthread_cond_broadcast(&retrier->changed);
    return NULL;
}

/* ---- for the registry ---- */

void retry_init(struct block *block)
{
    pthread_cond_init(&block->retrier.changed, NULL);
}

void retry_begin(struct block *block, struct device *device, const struct err *cause)
{
    LOCK_GUARD(&block->lock);
    retry_schedule(device, cause);
    if (device->retry == RETRY_WAITING)
        retry_spawn(block);
    pthread_cond_broadcast(&block->retrier.changed);
}

void retry_wait_locked(struct block *block, const char *name)
{
    uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;
    for (;;) {
        const struct device *device = registry_find_locked(block, name);
        if (!device || !retry_is_pending(device) || clock_monotonic_ms() >= until_ms)
            return;
        retry_wait(block, until_ms);
    }
}

void retry_now(struct block *block, const char *name)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (!device || device->retry == RETRY_NONE || *device->holder || block->retrier.is_stopping)
        return;
    retry_enter_state(device, retry_is_opening(device) ? RETRY_OPENING_DUE : RETRY_DUE);
    retry_spawn(block);
    pthread_cond_broadcast(&block->retrier.changed);
    retry_wait_locked(block, name);
}

void retry_abandon_locked(struct block *block, struct device *device)
{
    assert(retry_is_opening(device)); /* R2 */
    registry_remove_locked(block, device);
    atomic_store(&device->is_unwanted, true);
    retry_enter_state(device, RETRY_ABANDONED);
}

bool retry_stop(struct block *block)
{
    struct retrier *retrier = &block->retrier;
    uint64_t until_ms = clock_monotonic_ms() + STOP_MS;
    LOCK_GUARD(&block->lock);
    retrier->is_stopping = true;
    pthread_cond_broadcast(&retrier->changed);
    while ((retrier->threads || retrier->attempts) && clock_monotonic_ms() < until_ms)
        retry_wait(block, until_ms);
    return !retrier->threads && !retrier->attempts;
}
