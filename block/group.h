/* SPDX-License-Identifier: Apache-2.0
 *
 * The group transaction (design: "The group-snapshot transaction"). One thread runs a group; its
 * members are flushed, staged and finished side by side.
 *
 *   group_begin --> group_prepare --> group_cut --> group_finish_begin --> group_finish_await ...
 *        |               |               |      group_release_member, once it is frozen and
 *        |               |               |      recorded --> group_free
 *        |               |               (the caller has recorded `committing` before group_cut)
 *        +---------------+--> group_abort --> group_free
 *
 * group_begin validates all members, holds their devices and begins to flush them; group_prepare
 * creates every overlay, durable, opens it, and waits for the flushes. Both may fail, change no
 * existing file, and set `*failed_member` to the position of the first failing member. After
 * group_prepare nothing can fail: group_cut freezes all members by one store in memory, for which
 * no request waits; then each member by itself waits for its changes that were in flight, and is
 * made durable. One whose storage hangs holds its own device only.
 *
 * A rollback is a group too: it freezes all members, and gives each an overlay that is not put on
 * its top but on an image that was frozen before. No client sees both: from its beginning until its
 * member is released a device admits none.
 *
 * A member may grow: its overlay is larger than what it is put on, and past the end of that it
 * reads as zeros. From the cut on the device has the new size; who was told the old one before is
 * served within that (block/nbd/session.h).
 */
#ifndef BLOCK_GROUP_H
#define BLOCK_GROUP_H

#include "block/devices.h"
#include "block/frozen.h"

struct group;

struct group_member {
    const char *device;
    const char *snapshot_file;     /* path of the overlay to create */
    const char *format;            /* of the overlay */
    const struct group_base *base; /* of a rollback, where all members have one; else NULL */
    uint64_t size_bytes; /* of the overlay, with which the disk grows: more than it has, in whole
                          * sectors; 0: it keeps its size. Not of a rollback */
};

/* The image that a member is rolled back to. */
struct group_base {
    const char *image; /* absolute */
    const char *format;
    const char *identity; /* NULL: unknown */
    bool disconnects;     /* the same of all members: group_prepare() asks the clients to leave */
};

/* The images of a member; valid until group_free(). */
struct group_member_info {
    const char *backing_file;   /* absolute: the image that is frozen */
    const char *backing_format; /* its format */
    const char *backing_identity;
    uint64_t size_bytes;            /* of the disk */
    const char *snapshot_file;      /* absolute: the overlay */
    const char *directory_identity; /* of its directory; see block_directory_identity() */
    const char *snapshot_identity;  /* "" before group_prepare, and once it is released */
    /* The files that the group freezes with this member, but those frozen already. */
    const struct frozen_file *frozen_files;
    size_t frozen_count;
    uint64_t copy_wait_us; /* once frozen: the longest wait of a change that had to copy from the
                            * frozen image for one in flight there */
    bool is_frozen;        /* durable and read-only, and the device is held */
    bool is_released;      /* the same, and the device is not held any more */
};

/* Codes: EmptyGroup, DuplicateDevice, DeviceNotFound, DeviceInUse, DeviceIsReadOnly, DeviceFailed,
 * InvalidBlockFormat, OpenFileFailed; InvalidValue: a disk cannot grow to that size; of a rollback
 * also NotRelated: base and device have no image
 * in common; DeviceInUse: a client is connected, unless it is to leave. NULL on failure.
 * `*failed_member` is SIZE_MAX if no member caused the failure. */
struct group *group_begin(struct block *block, const unsigned char id[OWNER_ID_BYTES],
                          const struct group_member *members, size_t count, size_t *failed_member,
                          struct err *err);

/*
 * Checks what group_begin() does, and that the overlays' file systems are not full, but holds no
 * device: a group that runs meanwhile notices nothing. On success `each` gets every member, in list
 * order, as it would be (group_member_info). Codes: those of group_begin.
 */
int group_plan(struct block *block, const struct group_member *members, size_t count,
               int (*each)(void *context, size_t position, const struct group_member_info *info,
                           struct err *err),
               void *context, size_t *failed_member, struct err *err);

/* -1: group_abort() removes what was created. Codes: OpenFileFailed, DeviceFailed; of a rollback
 * DeviceInUse too: a client did not leave. */
int group_prepare(struct group *group, size_t *failed_member, struct err *err);

/* Cannot fail, and holds no request. *cut_at_us: microseconds since the epoch. */
void group_cut(struct group *group, uint64_t *cut_at_us);

/* After the cut: has each member finished by itself, by threads of the group: waits until the
 * changes that were in flight in its frozen image have ended, then makes that durable and
 * read-only. If a sync of it fails, the device turns `failed` and the member is frozen all the
 * same; after any other error, such as no space, the member is retried until it succeeds. Any
 * thread may go on; only the next one is to be called by one thread at a time. */
void group_finish_begin(struct group *group);

enum group_finish {
    GROUP_FINISH_PENDING,
    GROUP_FINISH_DONE,    /* all are frozen */
    GROUP_FINISH_STOPPED, /* the block layer stops (block_stop_opening), and members are left that
                           * cannot be made durable: for the next start */
};

/* Waits until `count` members are frozen (SIZE_MAX: all), those included that were released, or
 * `timeout_ms` have passed (UINT64_MAX: for ever), or it is STOPPED. */
enum group_finish group_finish_await(struct group *group, size_t count, uint64_t timeout_ms);

/* Once it is DONE: how long after the cut the last member was frozen. */
uint64_t group_sealed_us(const struct group *group);

/* The device of a frozen member is about to be released, once that is recorded: who asks for it
 * waits for that, rather than be refused. Or it is not, after all. */
void group_announce_release(struct group *group, size_t position, bool is_announced);

/* Releases the device of a frozen member: others may have it. */
void group_release_member(struct group *group, size_t position);

/* What a member waits for after the cut, before it is frozen. */
struct group_member_wait {
    bool is_waiting;       /* false: for nothing; the rest is 0 */
    bool is_flushing;      /* for its flush, which may be retried */
    size_t changes;        /* in flight in the image to be frozen */
    uint64_t since_cut_us; /* how long the oldest of them has been in flight at least */
};

/* Any thread, before group_free(); only memory is looked at. */
void group_member_wait(struct group *group, size_t position, struct group_member_wait *wait);

/* Removes every overlay that this group created. -1 and *err if one could not be removed (a restart
 * will). */
int group_abort(struct group *group, struct err *err);

void group_member_info(struct group *group, size_t position, struct group_member_info *info);

/* Releases the devices that are held. After begin/prepare, group_abort() must have come first;
 * after the cut, DONE or STOPPED. */
void group_free(struct group *group);

#endif
