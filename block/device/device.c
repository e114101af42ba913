/* SPDX-License-Identifier: Apache-2.0
 *
 * A device's life, its state and its flushes. See device.h and io.h; device-read.c has its reads,
 * device-change.c its changes.
 *
 *     OPENING --device_set_top--> ONLINE --device_fail--> FAILED, until it is detached
 *        |                           ^
 *        +-----device_set_absent--> ABSENT, with each attempt's reason
 *
 *   flush:  pin the top; make the images below it durable, and freeze those that are sealed; flush
 *           the top, and its twin
 *
 *   after a cut:   | top      |  new changes
 *                  | unsealed |  changes that began before the cut; device_seal() waits for them
 *                  | frozen   |  none
 *
 * Invariants:
 *   I1. A write acknowledged before a flush is durable when that returns, on whichever side of a
 *       cut it is. A group freezes the images below the top itself; where that failed (no memory,
 *       no space), every later flush retries. No assert: only a look at the disk would show.
 *   I2. A failed fdatasync of any image fails the device until its image is attached anew: the
 *       kernel may have dropped the pages that it could not write (journal.h). Any other error
 *       fails its request only.
 *   I3. An image is frozen after it is sealed.
 */
#include "block/device/device.h"

#include "base/log.h"
#include "block/device/thread-number.h"
#include "block/devices.h"
#include "block/image/drivers.h"
#include "block/image/freeze.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

struct device *device_new(const char *name, const char *image, const char *format, bool read_only)
{
    struct device *device = aligned_alloc(alignof(struct device), sizeof(*device));
    if (!device)
        return NULL;
    memset(device, 0, sizeof(*device));
    changes_init(&device->changes);
    readers_init(&device->readers);
    pthread_mutex_init(&device->freeze_lock, NULL);
    pthread_mutex_init(&device->lock, NULL);
    device->read_only = read_only;
    device->name = strdup(name);
    device->image = strdup(image);
    device->format = strdup(format);
    if (!device->name || !device->image || !device->format) {
        device_free(device);
        return NULL;
    }
    return device;
}

void device_free(struct device *device)
{
    if (device->newest) {
        index_free(device->index);
        node_unref(device->newest);
    }
    pthread_mutex_destroy(&device->lock);
    pthread_mutex_destroy(&device->freeze_lock);
    changes_destroy(&device->changes);
    readers_destroy(&device->readers);
    free(device->reason);
    free(device->name);
    free(device->image);
    free(device->format);
    allowed_clients_unref(device->allowed_clients);
    free(device);
}

static void device_assert_state_locked(const struct device *device)
{
    enum device_state state = atomic_load(&device->state);
    bool has_chain = state == DEVICE_ONLINE || state == DEVICE_FAILED;
    assert(has_chain == (device->newest != NULL) && has_chain == (device->index != NULL));
    assert(!device->reason || state >= DEVICE_FAILED);
    (void)has_chain;
}

int device_set_top(struct device *device, struct node *top, struct index_memory *memory,
                   const struct cut *cut)
{
    LOCK_GUARD(&device->lock);
    device_assert_state_locked(device);
    assert(!device->newest);
    device->index = index_new(memory, cut, top);
    if (!device->index)
        return -1;
    device->newest = top;
    device->size_bytes = top->size_bytes;
    if (atomic_load(&device->state) == DEVICE_ABSENT)
        log_info("device '%s' is online", device->name);
    free(steal(device->reason));
    device->is_failure_taken = false;
    atomic_store(&device->state, DEVICE_ONLINE);
    device_assert_state_locked(device);
    return 0;
}

int device_report_holder(const struct device *device, struct err *err)
{
    const size_t prefix = strlen(DEVICE_HELD_BY_GROUP);
    err_set(err, ErrDeviceInUse, 0, "device '%s' is in use by %s", device->name, device->holder);
    if (strncmp(device->holder, DEVICE_HELD_BY_GROUP, prefix) == 0)
        return err_add_holder(err, "group", device->holder + prefix);
    return err_add_holder(err, "detach", device->name);
}

struct node *device_top(struct device *device)
{
    LOCK_GUARD(&device->lock);
    return device->newest ? node_ref(index_top(device->index)) : NULL;
}

struct node *device_arm(struct device *device, struct node *overlay, uint64_t epoch)
{
    LOCK_GUARD(&device->lock);
    struct node *top = device->newest;
    atomic_store(&device->copy_wait_us, 0);
    index_arm(device->index, overlay, epoch);
    device->newest = overlay;
    return top;
}

/* Whoever finds the new size finds the overlay, too: the epoch was stored before. */
void device_grow(struct device *device, struct index_room *room)
{
    LOCK_GUARD(&device->lock);
    const struct node *top = device->newest;
    assert(top->size_bytes > device->size_bytes && index_top(device->index) == top);
    index_grow(device->index, room);
    device->overlay_shape = driver_overlay_shape(device->overlay_shape, top->size_bytes);
    device->size_bytes = top->size_bytes;
}

void device_exchange_chain(struct device *device, struct node **top, struct index **index)
{
    LOCK_GUARD(&device->lock);
    device_assert_state_locked(device);
    struct index *old_index = device->index;
    struct node *old_top = device->newest;
    assert(old_top && !index_unsealed(old_index) && index_top(*index) == *top);
    device->newest = *top;
    device->index = *index;
    device->size_bytes = (*top)->size_bytes;
    device->overlay_shape = driver_overlay_shape(device->overlay_shape, device->size_bytes);
    *top = old_top;
    *index = old_index;
    device_assert_state_locked(device);
}

bool device_has_image(struct device *device, const struct node *image)
{
    const struct index *index = device->index;
    return index && index_has(index, image);
}

struct index *device_renew_index(struct device *device, const struct index_bypass *bypass,
                                 struct index *heir)
{
    LOCK_GUARD(&device->lock);
    struct index *old = device->index;
    index_announce(old, heir);
    device->index = heir;
    if (device->newest == bypass->out) {
        node_unref(device->newest); /* others have it, so nothing is closed here */
        device->newest = node_ref(bypass->instead);
    }
    device_assert_state_locked(device);
    return old;
}

uint64_t device_seal(struct device *device)
{
    struct index *index = device->index; /* stays until it is sealed */
    const struct node *unsealed = index_unsealed(index);
    assert(unsealed && unsealed != index_top(index));
    changes_await(&device->changes, unsealed, 0, UINT64_MAX);
    index_seal(index);
    return atomic_load(&device->copy_wait_us);
}

static void device_set_reason_locked(struct device *device, enum device_state state,
                                     const char *reason)
{
    atomic_store(&device->state, state);
    device_assert_state_locked(device);
    if (device->reason && strcmp(device->reason, reason) == 0)
        return;
    free(device->reason);
    device->reason = strdup(reason);
    log_error("device '%s' failed: %s", device->name, reason);
    if (device->failures_fd)
        eventfd_write(device->failures_fd, 1);
}

/* The first reason stays. */
static void device_fail(struct device *device, const struct node *node, int sync_error)
{
    char reason[512];
    snprintf(reason, sizeof(reason),
             "image '%s' could not be made durable: %s; its last writes may be lost", node->path,
             strerror(sync_error));
    LOCK_GUARD(&device->lock);
    device_assert_state_locked(device);
    if (atomic_load(&device->state) != DEVICE_FAILED)
        device_set_reason_locked(device, DEVICE_FAILED, reason);
}

void device_set_absent(struct device *device, const char *reason)
{
    LOCK_GUARD(&device->lock);
    device_assert_state_locked(device);
    device_set_reason_locked(device, DEVICE_ABSENT, reason);
}

/* A job writes to the image, or did. All that clients wrote to it was durable before it was thawed
 * (freeze.c, Z1), and the job answers for the rest: no device fails with its syncs. */
static bool is_thawed(const struct node *node)
{
    return atomic_load(&node->was_thawed);
}

/* Fails the device if an fdatasync of that image of its failed. */
static bool device_check_sync(struct device *device, const struct node *node)
{
    int sync_error = is_thawed(node) ? 0 : atomic_load(&node->sync_error);
    if (sync_error)
        device_fail(device, node, sync_error);
    assert(!sync_error || atomic_load(&device->state) == DEVICE_FAILED); /* I2 */
    return sync_error;
}

/* The caller is one of the readers. */
static bool device_check_state(struct device *device)
{
    if (atomic_load(&device->state) >= DEVICE_FAILED)
        return true;
    const struct index *index = device->index;
    if (!index)
        return false;
    const struct node *top = index_top(index);
    const struct node *below = top->backing;
    return device_check_sync(device, top) || (below && device_check_sync(device, below));
}

bool device_has_failed(struct device *device)
{
    READERS_GUARD(&device->readers);
    return device_check_state(device);
}

uint64_t device_size_bytes(const struct device *device)
{
    return device->size_bytes;
}

bool device_is_read_only(const struct device *device)
{
    return device->read_only;
}

int device_check_range(struct device *device, uint64_t offset, uint64_t length)
{
    if (device_check_state(device))
        return -EIO;
    if (offset > device->size_bytes || length > device->size_bytes - offset)
        return -EINVAL;
    return 0;
}

static int device_flush_node(struct device *device, struct node *node)
{
    int ret = node_flush(node);
    if (ret)
        device_check_sync(device, node);
    return ret;
}

/* A thawed node is not this device's to freeze (freeze.c, Z2). */
static bool is_unfrozen(const struct node *node)
{
    return node && !atomic_load(&node->read_only) && !is_thawed(node);
}

/* Lowest first: the images above depend on it. */
static int freeze_below(struct device *device, struct node *node)
{
    if (!is_unfrozen(node))
        return 0;
    int ret = freeze_below(device, node->backing);
    if (ret == 0 && (ret = node_freeze(node)))
        device_check_sync(device, node);
    return ret;
}

static int device_freeze_from(struct device *device, struct node *node)
{
    LOCK_GUARD(&device->freeze_lock);
    return freeze_below(device, node);
}

int device_freeze(struct device *device)
{
    READERS_GUARD(&device->readers);
    const struct index *index = device->index;
    assert(!index_unsealed(index)); /* I3 */
    return device_freeze_from(device, index_top(index)->backing);
}

/* The image below the top, which a group that is not finished or an earlier failure left unfrozen:
 * while it is unsealed it cannot be frozen. */
static int device_flush_below(struct device *device, const struct index *index, struct node *node)
{
    int ret = 0;
    if (is_thawed(node))
        return 0;
    if (node != index_unsealed(index))
        ret = is_unfrozen(node) ? device_freeze_from(device, node) : 0;
    else if (is_unfrozen(node->backing))
        ret = device_freeze_from(device, node->backing);
    return ret ? ret
               : device_flush_node(device, node); /* if it is frozen: whether its sync failed */
}

int device_flush(struct device *device)
{
    READERS_GUARD(&device->readers);
    int ret = device_check_range(device, 0, 0);
    if (ret)
        return ret;
    const struct index *index = device->index;
    struct node *top = index_top(index), *below = top->backing;
    if (below && (ret = device_flush_below(device, index, below)))
        return ret;
    ret = device_flush_node(device, top);
    struct twin *twin = atomic_load_explicit(&device->twin, memory_order_acquire);
    return ret == 0 && twin ? twin_flush(twin) : ret;
}

/* ---- statistics ---- */

void device_count(struct device *device, enum device_op op, uint64_t bytes)
{
    struct device_counter *counter = &device->counters[thread_number() % DEVICE_COUNTERS];
    atomic_fetch_add_explicit(&counter->bytes[op], bytes, memory_order_relaxed);
}

uint64_t device_counted_bytes(const struct device *device, enum device_op op)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < DEVICE_COUNTERS; i++)
        bytes += atomic_load_explicit(&device->counters[i].bytes[op], memory_order_relaxed);
    return bytes;
}
