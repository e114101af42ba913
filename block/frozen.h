/* SPDX-License-Identifier: Apache-2.0
 *
 * Frozen members: their exports, and the files that are never written again.
 */
#ifndef BLOCK_FROZEN_H
#define BLOCK_FROZEN_H

#include "block/devices.h"

/* ---- exports ---- */

/* The device that an image was frozen from, and the clients that it last had. */
struct frozen_owner {
    const unsigned char *id; /* OWNER_ID_BYTES; NULL: that of the device of the name now, if any */
    struct allowed_clients *clients;
};

/* Exports the frozen image read-only as "DEVICE@GROUP_NAME" and "DEVICE@GROUP_ID". It is opened for
 * the first client, if it has that identity (NULL: unknown), and closed after the last. It admits
 * whom its device admits; if that is attached no longer, the owner's clients. */
int block_frozen_add(struct block *block, const char *device, const char *group_name,
                     const char *group_id, const char *image, const char *identity,
                     const char *format, const struct frozen_owner *owner, struct err *err);

/* Withdraws both names, "DEVICE@GROUP_ID" being one of them: no client finds it until it is
 * restored as often, or for good. Its place among the device's groups, and its image if a merge
 * moves that, stay known. DeviceInUse: a client has it open. No error if there is none. */
int block_frozen_withdraw(struct block *block, const char *device, const char *group_id,
                          struct err *err);
void block_frozen_restore(struct block *block, const char *device, const char *group_id);

/* Forgets it. It is withdrawn, or there is none. */
void block_frozen_remove(struct block *block, const char *device, const char *group_id);

/* Whether it could be taken back now. DeviceInUse. */
int block_frozen_check_unused(struct block *block, const char *device, const char *group_id,
                              struct err *err);

/* A file that a group froze, or one beneath it. It is never written through this daemon again,
 * whatever its name: block_device_open() fails with DeviceInUse. A group lists its files
 * (group_member_info) for the record and marks them in group_cut(); a restart marks them by
 * block_frozen_file_add() before any device is opened. */
struct frozen_file {
    char identity[FILE_IDENTITY_BYTES];
    char *path;      /* absolute: where it was */
    bool is_by_path; /* its file system keeps no identities: it is known by its path as well */
};
int block_frozen_file_add(struct block *block, const char *identity, const char *path,
                          struct err *err);

/* The file is gone: another one may have its path. */
void block_frozen_file_forget(struct block *block, const char *identity, const char *path);

/* Whether the file at `image` is marked, and nobody here has it open: 1: *file, whose path is heap
 * and where it is now; 0; -1: *err. Waits for storage. */
int block_frozen_file_find(struct block *block, const char *image, struct frozen_file *file,
                           struct err *err);

/* Nothing needs the file as it was frozen: first it says so no longer itself (frozen-attribute.h),
 * then, once that is recorded, it may be opened for writing. OpenFileFailed. */
int block_frozen_file_unmark(struct block *block, const struct frozen_file *file, struct err *err);
void block_frozen_file_release(struct block *block, const struct frozen_file *file);

/* The files of the chain of `image` that are not marked yet, top to base, for groups recorded
 * without them. *files is heap, freed by frozen_files_free(). Codes: as for block_device_open(). */
int block_chain_files(struct block *block, const char *image, const char *format,
                      struct frozen_file **files, size_t *count, struct err *err);
void frozen_files_free(struct frozen_file *files, size_t count);

#endif
