/* SPDX-License-Identifier: Apache-2.0
 *
 * The block layer's one object: which devices there are, who uses them, where images may be.
 * Private to block/.
 *
 * A file may be open in several chains at once as long as nobody writes it; registry_admit() sees
 * to that for every file before anything of it is read (file-table.h).
 *
 * Locks, in the order they are taken: lock; a device's own. Those of the journal directory and
 * of the file table are taken last. None of them is held while a file is opened, examined, read, written, synced
 * or closed: an image on a storage that does not answer holds up who uses that image, and nobody
 * else. Who has to wait for such a thing waits for `changed`.
 */
#ifndef BLOCK_DEVICE_REGISTRY_H
#define BLOCK_DEVICE_REGISTRY_H

#include "block/block.h"
#include "block/device/device.h"
#include "block/image/chain.h"
#include "block/image/file-table.h"
#include "block/image/image.h"
#include "block/image/journal-recovery.h"

struct nbd_server;

/* A frozen image that is offered as "DEVICE@GROUP". */
struct frozen {
    struct frozen *next;
    uint64_t serial;    /* of the export; never 0, and no other one's */
    char *name, *alias; /* DEVICE@GROUP_NAME and DEVICE@GROUP_ID */
    char *image, *format;
    char *group;           /* its group's name */
    char *identity;        /* of the image; NULL: not known */
    struct device *device; /* open while somebody uses it, else NULL; guarded by block->lock */
    bool is_opening;       /* somebody is at it; likewise */
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
    pthread_cond_t changed; /* a frozen member was opened, or a device is looked at no more */
    struct file_table *files;
    struct image_dir dir;
    struct index_memory index_memory; /* of all devices */
    struct device *devices;           /* in order of their opening */
    bool is_stopping;                 /* no opening is wanted any more; under lock */
    struct frozen *frozen;            /* newest first */
    uint64_t serial;                  /* of the newest export */
    struct retrier retrier;
    struct nbd_server *server; /* NULL until the first block_nbd_listen() */

    struct journal_dir *journals; /* NULL: images have no journals; set before any is opened */
};

/* The device of that name, published or not, or NULL. The lock is held. */
struct device *registry_find_locked(struct block *block, const char *name);

/* Whoever opens a chain, and what he accepts; a chain_guard's `arg` for registry_admit(), which claims
 * each of its files. */
struct opener {
    struct block *block;
    const char *user; /* as in struct file_use */
    struct recovery_terms terms;
    const char *identity; /* the top's, as it was recorded; NULL or "": not known */
};

/* Whether every image of the chain is still the file that its path leads to; else OpenFileFailed, naming it. */
int registry_check_in_place(const struct node *top, struct err *err);
int registry_admit(void *arg, const struct chain_file *file, struct file_claim **claim,
                   struct node **node, struct err *err);

/* "device 'NAME'", as in struct file_use. */
#define USER_BYTES (DEVICE_NAME_MAX + 16)
void registry_user(const struct device *device, char user[USER_BYTES]);

/* The files of the chain that are not frozen yet, top to base; *files is heap, free with
 * frozen_files_free. -1 when memory is short. */
int registry_list_unfrozen(struct block *block, const struct node *top, struct frozen_file **files,
                           size_t *count);

void frozen_free(struct frozen *frozen);

/* Opens the chain of a device, to write with a journal; to be given up with node_give_up(). NULL and *err as
 * of block_device_open(). */
struct node *registry_open_chain(struct block *block, const struct device *device,
                                 const struct device_spec *spec, struct err *err);

/* retry.c: failed devices are tried again. Any thread. */
void retry_init(struct block *block);

/* That device, which is in the list and has no chain, has failed to open for that reason. */
void retry_begin(struct block *block, struct device *device, const struct err *cause);

/* If the device of that name waits to be tried again, it is tried now; waits for the outcome, but for some
 * seconds at most. The lock is not held. */
void retry_now(struct block *block, const char *name);

/* Waits for an attempt under way, or that was asked for, as long. The lock is held, but not all the time. */
void retry_wait_locked(struct block *block, const char *name);

/* No attempt is begun any more. False if one is still under way after some seconds: what it uses must stay. */
bool retry_stop(struct block *block);

#endif
