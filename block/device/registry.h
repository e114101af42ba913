/* SPDX-License-Identifier: Apache-2.0
 *
 * The block layer's one object: which devices there are, who uses them, where images may be.
 * Private to block/.
 *
 * A file may be open in several chains at once as long as nobody writes it; registry_admit() sees
 * to that for every file before anything of it is read (file-table.h).
 *
 * Locks, in the order they are taken: lock; a device's own. journals_lock and the file
 * table's stand alone. None of them is held while a file is opened, examined, read, written, synced
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

struct nbd_server;
struct left_file;

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

    /* Set by block_journals_open(), before any image is opened. */
    int journals_fd; /* -1: images have no journals */
    char *journals_path;
    pthread_mutex_t journals_lock; /* taken last; guards the list and who has claimed what */
    pthread_cond_t journals_changed;
    struct left_file *left; /* journals and notes that were found, newest first; none ever goes */
};

/* The device of that name, published or not, or NULL. The lock is held. */
struct device *registry_find_locked(struct block *block, const char *name);

/* Whoever opens a chain, and what he accepts; a chain_guard's `arg` for registry_admit(), which claims
 * each of its files. */
struct opener {
    struct block *block;
    const char *user;       /* as in struct file_use */
    bool is_restored;       /* it is opened by itself or for an export, not attached by a user */
    bool discard_unflushed; /* what journals have is given up, and that a sync failed is accepted */
    const char *identity;   /* the top's, as it was recorded; NULL or "": not known */
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

/* journals.c: gives a node that is open for writing its journal, if images have journals. */
int journals_add(struct block *block, struct node *node, struct err *err);

/* journals.c: as a chain_guard; gives *node an image whose last writes are only in a journal, or has the
 * image take them; refuses it where that cannot be, or where an fdatasync of it failed. Codes:
 * UnflushedData (it stays so until somebody gives the data up, or brings the right image back),
 * OpenFileFailed, DeviceInUse, InvalidBlockFormat, OutOfResources. */
int journals_admit(const struct opener *opener, const struct chain_file *file, struct node **node,
                   struct err *err);

/* journals.c: for a device that is closed and was never opened: nothing is left of the images of its chain, as
 * far as it can be opened, or, `discard`, that is deleted. UnflushedData, DeviceInUse. */
int journals_sweep(struct block *block, const char *image, const char *format, bool discard,
                   struct err *err);

/* journals.c: whether a journal or a note is left of an image that had that path. */
bool journals_has_left(struct block *block, const char *image);

/* journals.c: gives up what the node's journal has, and forgets that a sync failed. */
void journals_discard(struct block *block, struct node *node);
void journals_close(struct block *block);

#endif
