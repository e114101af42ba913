/* SPDX-License-Identifier: Apache-2.0
 *
 * The one object of the block layer, and the order of its locks. Private to block/.
 *
 * Locks, in the order they are acquired: block->lock, then a device's own, then those of the
 * journal directory, of the file table and of the openings; that of the cut is taken first. None is
 * held while a file is opened, examined, read, written, synced or closed, so an image on
 * unresponsive storage blocks only its own users. A thread that depends on such an operation waits
 * for `changed`.
 */
#ifndef BLOCK_DEVICE_OBJECT_H
#define BLOCK_DEVICE_OBJECT_H

#include "base/hash-table.h"
#include "block/device/device.h"
#include "block/device/opening.h"
#include "block/image/file-table.h"
#include "block/image/image.h"
#include "block/image/journal-dir.h"

struct nbd_server;

/* A frozen image that is offered as "DEVICE@GROUP". */
struct frozen {
    struct frozen *next;
    struct hash_link named, aliased;
    uint64_t serial;    /* of the export; never 0, and no other one's */
    char *name, *alias; /* DEVICE@GROUP_NAME and DEVICE@GROUP_ID */
    char *image, *format;
    char *group;                             /* its group's name */
    char *identity;                          /* of the image; NULL: not known */
    unsigned char device_id[OWNER_ID_BYTES]; /* of the device it was frozen from; zeros: none */
    struct allowed_clients *allowed_clients; /* a reference; NULL: all; guarded by block->lock */
    struct device *device; /* open while in use, else NULL; guarded by block->lock */
    bool is_opening;       /* a client opens it; likewise */
    unsigned withdrawals;  /* by deletes under way: nobody finds it meanwhile; likewise */
};

/* retry.c; guarded by block->lock. */
struct retrier {
    pthread_cond_t
        changed; /* a device is due at another time, or an attempt or a thread has ended */
    unsigned threads, idle; /* idle: looking for what is due */
    unsigned attempts;      /* under way, those of others too */
    bool is_stopping;
};

struct block {
    pthread_mutex_t lock;   /* guards the lists and what device.h names */
    pthread_cond_t changed; /* a frozen member was opened, `lookers` is 0, or a client came to or
                             * left a device that is closed to clients */
    struct file_table *files;
    struct image_dir dir;
    struct readers walkers; /* who walks chains outside of a device's requests */
    struct openings openings;
    struct index_memory index_memory;     /* of all devices */
    struct cut cut;                       /* likewise */
    struct device *devices, *last_device; /* in order of their opening */
    struct hash_table named;              /* the same */
    unsigned return_waiters;              /* who wait for devices that groups return; under lock */
    int failures_fd;                      /* block_failures_fd(); constant */
    bool is_stopping;                     /* no opening is wanted any more; under lock */
    struct frozen *frozen;                /* newest first */
    struct hash_table frozen_named, frozen_aliased; /* the same */
    uint64_t serial;                                /* of the newest export */
    struct retrier retrier;
    struct last_flushes *hung_flushes; /* NULL, or what a stop that hangs has left to its threads */
    struct nbd_server *server;         /* NULL until the first block_nbd_listen() */

    struct journal_dir *journals; /* NULL: images have no journals; set before any is opened */
};

#endif
