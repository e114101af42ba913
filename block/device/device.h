/* SPDX-License-Identifier: Apache-2.0
 *
 * A device: a named disk, its chain of nodes and its changes in flight. io.h is its data interface;
 * this is what the registry and the group transaction use. Private to block/.
 *
 * The diagram of its states is in device.c, that of its retries in retry.c.
 */
#ifndef BLOCK_DEVICE_DEVICE_H
#define BLOCK_DEVICE_DEVICE_H

#include "base/cleanup.h"
#include "base/err.h"
#include "base/hash-table.h"
#include "block/device/changes.h"
#include "block/device/index.h"
#include "block/device/readers.h"
#include "block/device/twin.h"
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
    struct changes changes;
    struct readers readers;      /* all requests: their chain and index stay while they are in */
    pthread_mutex_t freeze_lock; /* one thread freezes what is below the top; taken first */
    pthread_mutex_t lock;        /* guards newest, reason and changes of state */
    struct node *newest; /* owned reference; NULL if the chain could not be opened. It is the top,
                          * or the overlay armed on the top for a cut to come */
    struct index *_Atomic index; /* of the chain; knows the top. Replaced with it */
    /* Of a top that a job merges; or NULL. Set under block->lock, freed after readers_wait(). */
    struct twin *_Atomic twin;
    atomic_uint_least64_t copy_wait_us; /* the longest wait for a change of the unsealed image */
    char *reason;                       /* why it failed, or NULL */
    bool is_failure_taken;              /* block_take_failure() has returned it; under lock */
    int failures_fd;                    /* the registry's eventfd, or 0: none; constant */
    _Atomic enum device_state state;    /* written under lock */
    bool read_only;
    char *name;
    _Atomic uint64_t size_bytes;
    struct cluster_shape overlay_shape; /* of the overlays to come; set before it is exported */

    /* Guarded by the registry's lock (registry.h). */
    struct device *previous, *next;
    struct hash_link named;
    uint64_t serial;      /* of the export; never 0, and no other one's */
    char holder[64];      /* its exclusive user, as a phrase ("snapshot group ..."); or "" */
    char *image, *format; /* what it was opened with */
    char identity[FILE_IDENTITY_BYTES];      /* of `image`, as it was recorded; "": not known */
    unsigned clients;                        /* connected exports */
    struct export_client *client_list;       /* who they are, in order of their arrival */
    struct allowed_clients *allowed_clients; /* a reference; NULL: all */
    unsigned char id[OWNER_ID_BYTES];        /* zeros: none; constant */
    unsigned lookers;        /* threads that describe it and hold a reference to its chain */
    bool is_returning;       /* its group holds it only until its row says that it does not */
    bool exported;           /* exports may use it */
    bool is_closed;          /* to new clients, for a while */
    bool is_collapsing;      /* a job merges its live top: it ends soon once there is a holder */
    const struct node *base; /* of a rollback: what its next chain is on, meanwhile; or NULL */
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
int device_set_top(struct device *device, struct node *top, struct index_memory *memory,
                   const struct cut *cut);

#define DEVICE_HELD_BY_GROUP "snapshot group "

/* DeviceInUse, naming the exclusive user. Returns -1. */
int device_report_holder(const struct device *device, struct err *err);

/* The top with a reference of its own, or NULL. */
struct node *device_top(struct device *device);

/* Records that the chain could not be opened. The last reason stays; a new one is logged. */
void device_set_absent(struct device *device, const char *reason);

/* Whether it failed or is absent; fails it first if an fdatasync of its top failed. */
bool device_has_failed(struct device *device);

/* Whether a request of that range, which is one of `readers`, may go ahead: 0, -EIO or -EINVAL. */
int device_check_range(struct device *device, uint64_t offset, uint64_t length);

/* All bytes of requests that succeeded since the device was attached or the daemon started. */
uint64_t device_counted_bytes(const struct device *device, enum device_op op);

/* Arms `overlay` (reference taken over), whose backing node is the top, for that epoch: see
 * index_arm(). The old top's reference passes to the caller. Memory only; cannot fail. */
struct node *device_arm(struct device *device, struct node *overlay, uint64_t epoch);

/* Gives the device another chain, of any size, whose index knows its top, and returns the old ones
 * in their places; the old index is freed after readers_wait(). No change is in flight and none
 * comes (exports.h). Both locks of lists are held. Memory only; cannot fail. */
void device_exchange_chain(struct device *device, struct node **top, struct index **index);

/* Whether the chain has the image, as its requests see it. block->lock is held. */
bool device_has_image(struct device *device, const struct node *image);

/* Announces the heir of the device's index, made for that change of its chain, and makes it the
 * index. Returns the old one. The cut's lock and block->lock are held. Memory only; cannot fail. */
struct index *device_renew_index(struct device *device, const struct index_bypass *bypass,
                                 struct index *heir);

/* After the cut to an overlay that is larger: the device has its size from now on, for which there
 * is room. block->lock is held. Memory only; cannot fail. */
void device_grow(struct device *device, struct index_room *room);

/* After the cut: waits until the old top has no change in flight; from then on it is frozen.
 * Returns the longest time that a change of the new top waited for one of the old, in microseconds.
 */
uint64_t device_seal(struct device *device);

/* Makes the frozen images below the top durable and read-only (node_freeze), once they are sealed.
 * 0 or -errno: an image that could not be flushed stays writable, and every flush retries. A failed
 * sync fails the device. */
int device_freeze(struct device *device);

#endif
