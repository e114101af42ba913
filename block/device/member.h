/* SPDX-License-Identifier: Apache-2.0
 *
 * One member of a group transaction (group.c). Private to device/. Called by the thread that runs
 * the group; each function fails with the codes of the group function of its name.
 */
#ifndef BLOCK_DEVICE_MEMBER_H
#define BLOCK_DEVICE_MEMBER_H

#include "base/parallel.h"
#include "block/device/object.h"
#include "block/frozen.h"
#include "block/group.h"

#include <uuid/uuid.h>

/* Of a member, once it is begun. It moves under the group's finish.lock from the cut on.
 *
 *     HELD --group_cut--> UNSEALED --member_seal--> SEALED --member_freeze--> FROZEN
 *      |                                                                        |
 *      +--group_free (rolled back, or stopped before it was frozen)--> RELEASED <--member_release
 */
enum member_state {
    MEMBER_HELD,     /* nothing is frozen; the device is the group's */
    MEMBER_UNSEALED, /* the cut is made; changes of the old top may be in flight */
    MEMBER_SEALED,   /* none is; the old top may have to be made durable */
    MEMBER_FROZEN,   /* durable, unless a sync failed, and read-only */
    MEMBER_RELEASED, /* the device is anybody's */
};

struct member {
    enum member_state state;
    struct device *device; /* held; NULL once it is released */
    const struct driver *driver;
    struct image_place place;
    char *backing_name;      /* as recorded in the overlay's header */
    char *backing_file;      /* absolute */
    struct node *overlay;    /* open, on top of the device's top; the device's after the cut */
    struct node *frozen;     /* the old top, after the cut */
    struct node *base;       /* of a rollback: what the overlay is on; else NULL */
    struct index *index;     /* of a rollback: the overlay's; the old one after the cut */
    uint64_t size_bytes;     /* of the overlay, if the disk grows; else 0 */
    struct index_room *room; /* if it grows: of its index, once it is staged */
    int flushed;             /* these two: results of member_ready(); 0 or -errno */
    bool is_in_place;
    bool is_beside; /* in the directory of the member before it */
    bool is_staged;
    bool is_published;  /* or that was tried */
    bool names_changed; /* the directory is to be synced */
    dev_t directory_dev;
    ino_t directory_ino;
    struct identity directory;  /* "": not known */
    uint64_t path_hash;         /* of the overlay's */
    struct frozen_file *files;  /* that this group is the first to freeze */
    struct frozen_mark **marks; /* one for each; the file table's after the cut */
    size_t file_count;
    uint64_t copy_wait_us;        /* once it is sealed */
    struct member *next_finished; /* by the same thread */
};

/* See group.c. */
enum transaction_state {
    TRANSACTION_BEGINNING,
    TRANSACTION_BEGUN,
    TRANSACTION_PREPARING,
    TRANSACTION_PREPARED,
    TRANSACTION_CUT,
    TRANSACTION_FINISHING,
    TRANSACTION_FINISHED,
    TRANSACTION_ABORTED,
};

/* See finish.c. */
struct finish {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a member was frozen or stopped */
    size_t next;            /* all but `room` and `request`: lock */
    size_t frozen, stopped; /* members */
    uint64_t taken_at_ms;   /* when a thread took a member last; CLOCK_MONOTONIC */
    size_t thread_count, room;
    pthread_t *threads;
    const char *request; /* that the group serves, for the log */
};

struct group {
    struct finish finish;
    struct block *block;
    unsigned char id[OWNER_ID_BYTES];
    char text[UUID_STR_LEN];
    enum transaction_state state; /* finish.lock; only the group's thread changes it */
    uint64_t cut_us;              /* CLOCK_MONOTONIC */
    uint64_t sealed_us;           /* once it is FINISHED: how long after the cut */
    bool is_stopped;              /* the block layer stops, and members are left */
    bool is_plan;                 /* devices are looked at, not held */
    bool is_rollback;
    bool disconnects; /* clients, if it is a rollback */
    bool is_flushing;
    struct parallel flushing; /* the images to be frozen, from begin to prepare */
    size_t count;
    struct member members[];
};

/* Holds the device and checks that the member can be frozen. Creates nothing. `spec` is the
 * member's in a list that has those before it, too, which have begun. */
int member_begin(struct group *group, struct member *member, const struct group_member *spec,
                 struct err *err);

/* Flushes the image to be frozen, and looks whether each of the chain is under its path, while
 * everything still runs: little is left to flush later, and a disk that fails now fails the
 * attempt, not the snapshot. Any thread. */
void member_ready(struct group *group, struct member *member);

/* DeviceFailed or OpenFileFailed if that failed. */
int member_check_ready(struct group *group, const struct member *member, struct err *err);

/* Writes the overlay under its staged name and opens it. Any thread. */
int member_stage(struct group *group, struct member *member, struct err *err);

/* Gives the staged overlay its name. */
int member_publish(struct group *group, struct member *member, struct err *err);

/* After the cut: waits until the old top is sealed. How long a change that had to copy from it
 * waited for one in flight there, in microseconds. Any thread. */
uint64_t member_seal(struct member *member);

/* Makes the sealed old top durable and read-only. False: it is not, and may be tried again; logged
 * if `is_first`. True also if a sync of it failed, which fails the device. Any thread. */
bool member_freeze(struct member *member, bool is_first);

/* See the diagram above; the caller holds finish.lock, or has the group for itself. */
void member_enter_state(struct member *member, enum member_state state);

/* Removes what member_stage() and member_publish() made; group_sync_removals() makes it durable. */
int member_abort(struct group *group, struct member *member, struct err *err);

/* Releases the device. The caller holds finish.lock, or has the group for itself. */
void member_release(struct group *group, struct member *member);

/* The same, if that was not done, and what the member refers to. */
void member_free(struct group *group, struct member *member);

#endif
