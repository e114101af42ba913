/* SPDX-License-Identifier: Apache-2.0
 *
 * The group transaction (design: "The group-snapshot transaction"). One thread runs a group.
 *
 *   group_begin --> group_prepare --> group_pivot --> group_finish --> group_free
 *        |               |              (the caller has recorded `committing` before group_pivot)
 *        +---------------+--> group_abort --> group_free
 *
 * group_begin validates all members and holds their devices; group_prepare creates every overlay,
 * durable, and opens it. Both may fail, change no existing file, and set `*failed_member` to the
 * position of the first failing member. After group_prepare nothing can fail: group_pivot raises
 * all fences, waits for writes in flight, swaps every top, lowers the fences.
 */
#ifndef BLOCK_GROUP_H
#define BLOCK_GROUP_H

#include "block/devices.h"

struct group;

#define GROUP_NAME_MAX    128 /* characters */
#define GROUP_MEMBERS_MAX 1024

struct group_member {
    const char *device;
    const char *snapshot_file; /* path of the overlay to create */
    const char *format;        /* of the overlay */
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
    uint64_t pause_us; /* after group_pivot: the longest a request was held */
};

/* Codes: EmptyGroup, DuplicateDevice, DeviceNotFound, DeviceInUse, DeviceIsReadOnly, DeviceFailed,
 * InvalidBlockFormat, OpenFileFailed. NULL on failure. `*failed_member` is SIZE_MAX if no member
 * caused the failure. */
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

/* -1: group_abort() removes what was created. Codes: OpenFileFailed, DeviceFailed. */
int group_prepare(struct group *group, size_t *failed_member, struct err *err);

/* Cannot fail. *cut_at_us: microseconds since the epoch; *pause_us: the longest member's. */
void group_pivot(struct group *group, uint64_t *cut_at_us, uint64_t *pause_us);

/* Makes the frozen images durable and read-only. A member whose frozen image cannot be flushed
 * turns its device `failed`; the group remains valid. */
void group_finish(struct group *group);

/* Removes every overlay that this group created. -1 and *err if one could not be removed (a restart
 * will). */
int group_abort(struct group *group, struct err *err);

void group_member_info(const struct group *group, size_t position, struct group_member_info *info);

/* Releases the devices. After begin/prepare, group_abort() or group_finish() must have come first.
 */
void group_free(struct group *group);

/* Recovery: removes the overlay `path` if, and only if, its header says that group `id` created it,
 * and the marking name of a creation that was cut short. A file that does not exist is no error;
 * `directory` as for block_image_discard(). */
int block_overlay_discard(struct block *block, const char *path, const char *directory,
                          const char *format, const unsigned char id[OWNER_ID_BYTES],
                          struct err *err);

#endif
