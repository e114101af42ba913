/* SPDX-License-Identifier: Apache-2.0
 *
 * The group transaction (design: "The group-snapshot transaction"). One thread runs a group; its
 * members are flushed, staged and finished side by side.
 *
 *   group_begin --> group_prepare --> group_cut --> group_finish --> group_free
 *        |               |              (the caller has recorded `committing` before group_cut)
 *        +---------------+--> group_abort --> group_free
 *
 * group_begin validates all members, holds their devices and begins to flush them; group_prepare
 * creates every overlay, durable, opens it, and waits for the flushes. Both may fail, change no
 * existing file, and set `*failed_member` to the position of the first failing member. After
 * group_prepare nothing can fail: group_cut freezes all members by one store in memory, for which
 * no request waits; group_finish waits for the changes that were in flight.
 *
 * A rollback is a group too: it freezes all members, and gives each an overlay that is not put on
 * its top but on an image that was frozen before. No client sees both: from its beginning to its
 * end the devices admit none.
 */
#ifndef BLOCK_GROUP_H
#define BLOCK_GROUP_H

#include "block/devices.h"

struct group;

struct group_member {
    const char *device;
    const char *snapshot_file;     /* path of the overlay to create */
    const char *format;            /* of the overlay */
    const struct group_base *base; /* of a rollback; else NULL */
};

/* The image that a member is rolled back to. */
struct group_base {
    const char *image; /* absolute */
    const char *format;
    const char *identity; /* NULL: unknown */
};

/* The images of a member; valid until group_free(). */
struct group_member_info {
    const char *backing_file;   /* absolute: the image that is frozen */
    const char *backing_format; /* its format */
    const char *backing_identity;
    uint64_t size_bytes;           /* of the disk */
    const char *snapshot_file;     /* absolute: the overlay */
    const char *snapshot_identity; /* "" before group_prepare */
    /* The files that the group freezes with this member, but those frozen already. */
    const struct frozen_file *frozen_files;
    size_t frozen_count;
    uint64_t copy_wait_us; /* after group_finish: the longest wait of a change that had to copy from
                            * the frozen image for one in flight there */
};

/* Codes: EmptyGroup, DuplicateDevice, DeviceNotFound, DeviceInUse, DeviceIsReadOnly, DeviceFailed,
 * InvalidBlockFormat, OpenFileFailed. NULL on failure. `*failed_member` is SIZE_MAX if no member
 * caused the failure. */
struct group *group_begin(struct block *block, const unsigned char id[OWNER_ID_BYTES],
                          const struct group_member *members, size_t count, size_t *failed_member,
                          struct err *err);

/* The same of a rollback: each member has a base, which has an image of its chain in common with
 * the device (else NotRelated). Clients that are connected are asked to leave with `disconnect`, by
 * group_prepare(); else they are a reason to fail: DeviceInUse. */
struct group *group_begin_rollback(struct block *block, const unsigned char id[OWNER_ID_BYTES],
                                   const struct group_member *members, size_t count,
                                   bool disconnect, size_t *failed_member, struct err *err);

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

/* Waits until the changes that were in flight in the frozen images have ended, then makes these
 * durable and read-only. A member whose frozen image cannot be flushed turns its device `failed`;
 * the group remains valid. *sealed_us: how long after the cut that was. */
void group_finish(struct group *group, uint64_t *sealed_us);

/* Removes every overlay that this group created. -1 and *err if one could not be removed (a restart
 * will). */
int group_abort(struct group *group, struct err *err);

void group_member_info(const struct group *group, size_t position, struct group_member_info *info);

/* Releases the devices. After begin/prepare, group_abort() or group_finish() must have come first.
 */
void group_free(struct group *group);

#endif
