/* SPDX-License-Identifier: Apache-2.0
 *
 * A device: a named disk, its top node and its fence. io.h is its data interface; this is what the
 * registry and the group transaction use. Private to block/.
 *
 * Life: device_new (no chain) --device_set_top--> online --device_fail--> failed; or failed at
 * once, without a chain, until it opens: --device_set_top, device_revive--> online. device_free
 * closes the chain. Who may free it is the registry's business (`clients`, `holder`).
 */
#ifndef BLOCK_DEVICE_DEVICE_H
#define BLOCK_DEVICE_DEVICE_H

#include "base/cleanup.h"
#include "base/err.h"
#include "block/device/fence.h"
#include "block/device/index.h"
#include "block/image/node.h"
#include "block/io.h"

#include <stdalign.h>
#include <stdatomic.h>

/* Of a device that could not be opened: when to try again (retry.c). */
enum device_retry {
    RETRY_NEVER,
    RETRY_ASKED, /* when somebody wants to use it */
    RETRY_ALWAYS,
};

/* Threads count on different cache lines. */
enum { DEVICE_COUNTERS = 4 };
struct device_counter {
    alignas(64) atomic_uint_least64_t bytes[DEVICE_OP_COUNT];
};

struct device {
    struct fence fence;
    pthread_mutex_t freeze_lock; /* one thread freezes what is below the top; taken first */
    pthread_mutex_t lock;        /* taken after the fence; guards top and reason */
    struct node *top; /* owned reference; NULL if it could not be opened. A change inside the fence
                       * may use it without the lock: it is swapped only when nobody is inside */
    struct index *index; /* of the chain; as old as it */
    char *reason;        /* why it failed */
    atomic_bool failed;  /* every request gets -EIO; for good if it was online before */
    bool read_only;
    char *name;
    uint64_t size_bytes;
    struct cluster_shape overlay_shape; /* of the overlays to come; set before it is exported */

    /* Guarded by the registry's lock (registry.h). */
    struct device *next;
    struct device *next_named; /* in its bucket of names */
    uint64_t serial;           /* of the export; never 0, and no other one's */
    char holder[64]; /* what holds it, as a phrase ("snapshot group ..."); "" if nothing does */
    char *image, *format;               /* what it was opened with */
    char identity[FILE_IDENTITY_BYTES]; /* of `image`, as it was recorded; "": not known */
    unsigned clients;                   /* connected exports */
    unsigned lookers;                   /* who hold a reference to its chain to describe it */
    bool exported;                      /* exports may use it */
    atomic_bool is_unwanted;            /* its opening is to be given up; read without the lock */
    enum device_retry retry;
    unsigned retry_delay_ms;
    uint64_t retry_at_ms; /* CLOCK_MONOTONIC */
    bool is_asked;        /* somebody waits for it: it is due now */
    bool is_being_opened; /* again; then the attempt alone may set the top, and frees an abandoned
                           * device */
    bool is_abandoned;    /* and not in the list any more */

    struct device_counter counters[DEVICE_COUNTERS];
};

struct device *device_new(const char *name, const char *image, const char *format, bool read_only);
void device_free(struct device *device);
CLEANUP_DEFINE(device, struct device *, device_free)

/* Gives the device its chain, and the chain an index. Before anybody uses it. The reference is
 * taken over on success only; -1 when memory is short. */
int device_set_top(struct device *device, struct node *top, struct index_memory *memory);

/* The top with a reference of its own, or NULL. */
struct node *device_top(struct device *device);

/* From now on every request gets -EIO. The first reason stays; it is logged. */
void device_fail(struct device *device, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same for a device that has no chain yet: the last reason counts; it is logged if it is
 * another. */
void device_fail_again(struct device *device, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A device that failed without a chain has one now. Nobody uses it yet. */
void device_revive(struct device *device);

/* Whether it has; also if an fdatasync of its top failed that nobody has asked for. */
bool device_has_failed(struct device *device);

/* All bytes of requests that succeeded since the device was attached or the daemon started. */
uint64_t device_counted_bytes(const struct device *device, enum device_op op);

/* Makes the images below the top that groups have frozen durable and read-only (node_freeze). 0, or
 * -errno: what could not be flushed stays as it is, nothing is lost, and the next call tries again;
 * every flush is one. A failed sync fails the device. */
int device_freeze(struct device *device);

/* The pivot: `overlay` (reference taken over), whose backing node is the top, becomes top; the old
 * top's reference passes to the caller. The fence is raised and drained. Memory only; cannot fail.
 */
struct node *device_swap_top(struct device *device, struct node *overlay);

#endif
