/* SPDX-License-Identifier: Apache-2.0
 *
 * A device: a named disk, its top node and its fence. io.h is its data interface; this is what the
 * registry and the group transaction use. Private to block/.
 *
 * The diagram of its states is in device.c, that of its retries in retry.c.
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

struct export_client;

/* See device.c. From DEVICE_FAILED on every request gets -EIO. */
enum device_state { DEVICE_OPENING, DEVICE_ONLINE, DEVICE_FAILED, DEVICE_ABSENT };

/* See retry.c. */
enum retry_state {
    RETRY_NONE,
    RETRY_ON_REQUEST,
    RETRY_WAITING,
    RETRY_DUE,
    RETRY_OPENING,
    RETRY_OPENING_DUE, /* and requested again since the attempt began */
    RETRY_ABANDONED,
};

/* Threads count on different cache lines. */
enum { DEVICE_COUNTERS = 4 };
struct device_counter {
    alignas(64) atomic_uint_least64_t bytes[DEVICE_OP_COUNT];
};

struct device {
    struct fence fence;
    pthread_mutex_t freeze_lock; /* one thread freezes what is below the top; taken first */
    pthread_mutex_t lock; /* taken after the fence; guards top, reason and changes of state */
    struct node *top; /* owned reference; NULL if it could not be opened. A change inside the fence
                       * may use it without the lock: it is swapped only when nobody is inside */
    struct index *index;             /* of the chain; as old as it */
    char *reason;                    /* why it failed, or NULL */
    bool is_failure_taken;           /* block_take_failure() has returned it; under lock */
    int failures_fd;                 /* the registry's eventfd, or 0: none; constant */
    _Atomic enum device_state state; /* written under lock */
    bool read_only;
    char *name;
    uint64_t size_bytes;
    struct cluster_shape overlay_shape; /* of the overlays to come; set before it is exported */

    /* Guarded by the registry's lock (registry.h). */
    struct device *next;
    struct device *next_named; /* in its bucket of names */
    uint64_t serial;           /* of the export; never 0, and no other one's */
    char holder[64];           /* its exclusive user, as a phrase ("snapshot group ..."); or "" */
    char *image, *format;      /* what it was opened with */
    char identity[FILE_IDENTITY_BYTES];      /* of `image`, as it was recorded; "": not known */
    unsigned clients;                        /* connected exports */
    struct export_client *client_list;       /* who they are, in order of their arrival */
    struct allowed_clients *allowed_clients; /* a reference; NULL: all */
    unsigned char id[OWNER_ID_BYTES];        /* zeros: none; constant */
    unsigned lookers;        /* threads that describe it and hold a reference to its chain */
    bool exported;           /* exports may use it */
    atomic_bool is_unwanted; /* cancels its opening; read without the lock */
    enum retry_state retry;
    unsigned retry_delay_ms;
    uint64_t retry_at_ms; /* CLOCK_MONOTONIC */

    struct device_counter counters[DEVICE_COUNTERS];
};

struct device *device_new(const char *name, const char *image, const char *format, bool read_only);
void device_free(struct device *device);
CLEANUP_DEFINE(device, struct device *, device_free)

/* Gives the device its chain, and the chain an index: it is online. No request uses it yet. The
 * reference is taken over on success only; -1 when memory is short. */
int device_set_top(struct device *device, struct node *top, struct index_memory *memory);

#define DEVICE_HELD_BY_GROUP "snapshot group "

/* DeviceInUse, naming the exclusive user. Returns -1. */
int device_report_holder(const struct device *device, struct err *err);

/* The top with a reference of its own, or NULL. */
struct node *device_top(struct device *device);

/* Records that the chain could not be opened. The last reason stays; a new one is logged. */
void device_set_absent(struct device *device, const char *reason);

/* Whether it failed or is absent; fails it first if an fdatasync of its top failed. */
bool device_has_failed(struct device *device);

/* All bytes of requests that succeeded since the device was attached or the daemon started. */
uint64_t device_counted_bytes(const struct device *device, enum device_op op);

/* Makes the frozen images below the top durable and read-only (node_freeze). 0 or -errno: an image
 * that could not be flushed stays writable, and every flush retries. A failed sync fails the
 * device. */
int device_freeze(struct device *device);

/* The pivot: `overlay` (reference taken over), whose backing node is the top, becomes top; the old
 * top's reference passes to the caller. The fence is raised and drained. Memory only; cannot fail.
 */
struct node *device_swap_top(struct device *device, struct node *overlay);

#endif
