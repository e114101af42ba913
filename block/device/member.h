/* SPDX-License-Identifier: Apache-2.0
 *
 * One member of a group transaction (group.c). Private to device/. Called by the thread that runs
 * the group; each function fails with the codes of the group function of its name.
 */
#ifndef BLOCK_DEVICE_MEMBER_H
#define BLOCK_DEVICE_MEMBER_H

#include "base/parallel.h"
#include "block/device/object.h"
#include "block/group.h"

#include <uuid/uuid.h>

struct member {
    struct device *device; /* held */
    const struct driver *driver;
    struct image_place place;
    char *backing_name;   /* as recorded in the overlay's header */
    char *backing_file;   /* absolute */
    struct node *overlay; /* open, on top of the device's top; the device's after the cut */
    struct node *frozen;  /* the old top, after the cut */
    struct node *base;    /* of a rollback: what the overlay is on; else NULL */
    struct index *index;  /* of a rollback: the overlay's; the old one after the cut */
    int flushed;          /* result of member_flush() */
    bool is_staged;
    bool is_published;
    bool names_changed; /* the directory is to be synced */
    dev_t directory_dev;
    ino_t directory_ino;
    struct frozen_file *files;  /* that this group is the first to freeze */
    struct frozen_mark **marks; /* one for each; the file table's after the cut */
    size_t file_count;
    uint64_t copy_wait_us; /* after group_finish() */
};

/* See group.c. */
enum transaction_state {
    TRANSACTION_BEGINNING,
    TRANSACTION_BEGUN,
    TRANSACTION_PREPARING,
    TRANSACTION_PREPARED,
    TRANSACTION_CUT,
    TRANSACTION_FINISHED,
    TRANSACTION_ABORTED,
};

struct group {
    struct block *block;
    unsigned char id[OWNER_ID_BYTES];
    char text[UUID_STR_LEN];
    enum transaction_state state;
    uint64_t cut_us; /* CLOCK_MONOTONIC */
    bool is_plan;    /* devices are looked at, not held */
    bool is_rollback;
    bool disconnects; /* clients, if it is a rollback */
    bool is_flushing;
    struct parallel flushing; /* the images to be frozen, from begin to prepare */
    size_t count;
    struct member members[];
};

/* Holds the device and checks that the member can be frozen. Creates nothing. */
int member_begin(struct group *group, struct member *member, const struct group_member *spec,
                 struct err *err);

/* Flushes the image to be frozen, while everything still runs: little is left to flush later, and a
 * disk that fails now fails the attempt, not the snapshot. Any thread. */
void member_flush(struct member *member);

/* DeviceFailed or OpenFileFailed if that failed. */
int member_check_flush(const struct member *member, struct err *err);

/* Writes the overlay under its staged name and opens it. Any thread. */
int member_stage(struct group *group, struct member *member, struct err *err);

/* Gives the staged overlay its name. */
int member_publish(struct group *group, struct member *member, struct err *err);

/* After the cut: waits until the old top is sealed; makes it durable and read-only. Any thread. */
void member_finish(struct member *member);

/* Removes what member_stage() and member_publish() made; group_sync_removals() makes it durable. */
int member_abort(struct group *group, struct member *member, struct err *err);

/* Releases the device, and what the member refers to. */
void member_free(struct group *group, struct member *member);

#endif
