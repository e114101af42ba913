/* SPDX-License-Identifier: Apache-2.0
 *
 * The control interface of the block layer: devices, image files, the group transaction, exports.
 * Everything here may block on disks and be called from any thread, unless it says otherwise. Paths
 * are relative to the image directory or absolute beneath it; nothing outside it is ever opened
 * (openat2, RESOLVE_BENEATH). Strings passed in are copied; those handed out belong to the receiver
 * where a _free or _clear is named.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "base/cleanup.h"
#include "base/err.h"
#include "block/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block;
struct device;
struct group;

#define INDEX_MEMORY_DEFAULT_BYTES (256ULL << 20) /* of 2 TiB in 64 KiB pieces */

#define DEVICE_NAME_MAX   64  /* characters of a device's name */
#define GROUP_NAME_MAX    128 /* of a group's */
#define GROUP_MEMBERS_MAX 1024

/* ---- life ---- */

/* `image_dir` must exist. NULL and *err (OpenFileFailed) on failure. */
struct block *block_open(const char *image_dir, struct err *err);

/* How much memory the indexes of all devices may take together: what tells where each part of a
 * device lies. Enough is 1/8192 of the bytes that are in use all the time; with less, reads walk
 * their chain more often. */
void block_set_index_memory(struct block *block, uint64_t budget_bytes);

/* Keeps a journal for every image that is opened for writing from now on, in
 * `runtime_dir`/journals, so that what was acknowledged survives the daemon's being killed. What a
 * killed daemon left there is replayed when its image is opened; where that cannot be done, image
 * and journal stay as they are, and block_device_open() refuses and says why. Once, before anything
 * is opened. OpenFileFailed. */
int block_journals_open(struct block *block, const char *runtime_dir, struct err *err);

/* Writes what the journals had to those images that no device has opened since. */
void block_journals_finish(struct block *block);

/* Everything that an earlier daemon left of the image is durable on return. OpenFileFailed. */
int block_image_sync(struct block *block, const char *path, struct err *err);

/* Stops all exports (requests under way are finished), flushes and closes every device. Returns -1
 * and *err if a flush failed; everything is closed and freed all the same, but for what an attempt
 * to open an image uses that does not end: the process is to end then. */
int block_close(struct block *block, struct err *err);

/* Whether images are still where they were when block_open() was called: OpenFileFailed if
 * something was mounted over the image directory since. */
int block_check_image_dir(const struct block *block, struct err *err);

/* The image directory's canonical absolute path. */
const char *block_image_dir(const struct block *block);

/* ---- image files ---- */

/* The absolute path of `path` with its parent directory resolved (the file itself need not exist).
 * Heap; NULL and *err (OpenFileFailed) if it leaves the image directory or its parent cannot be
 * opened. */
char *block_resolve(struct block *block, const char *path, struct err *err);

/* Whether a driver of that name exists. */
bool block_format_known(const char *format);

/* Creates the image `path` of `size_bytes`, durable. It must not exist yet. `shape` is for formats
that have clusters; NULL: the format's default. Until block_image_keep() a second name
(".snapgroupd-ID-HASH.tmp" beside it; where there are no hard links a file
".snapgroupd-ID-HASH.mark") marks it as made by `id`, so that after a crash block_image_discard()
removes exactly this file or nothing. Codes: OpenFileFailed, InvalidBlockFormat, InvalidValue (the
clusters are too small for a disk of that size).
 */
int block_image_create(struct block *block, const char *path, const char *format,
                       uint64_t size_bytes, const struct cluster_shape *shape,
                       const unsigned char id[OWNER_ID_BYTES], struct err *err);

/* The image is wanted: removes the marking name, if it is there. */
int block_image_keep(struct block *block, const char *path, const unsigned char id[OWNER_ID_BYTES],
                     struct err *err);

/* The identity of the directory of `path`, by which a discard recognises the storage later.
 * OpenFileFailed. */
int block_directory_identity(struct block *block, const char *path,
                             char identity[FILE_IDENTITY_BYTES], struct err *err);

/* The image is not wanted: removes both names, if `id` made them. Idempotent. `directory` is from
 * block_directory_identity(): where the directory does not exist or is on another file system, the
 * storage is away and nothing is known of the image (OpenFileFailed). NULL: not known; then a
 * missing directory counts as removed. */
int block_image_discard(struct block *block, const char *path, const char *directory,
                        const unsigned char id[OWNER_ID_BYTES], struct err *err);

/* Whether the path leads to the file with that identity (NULL: to any). May wait for a storage. */
bool block_image_is(struct block *block, const char *path, const char *identity);

/* ---- devices ---- */

struct device_spec {
    const char *name;
    const char *image;  /* the top image to open now */
    const char *format; /* of that image; the ones under it are recorded in the headers */
    bool read_only;
    bool is_restored; /* by a start, not by a user: an error says so */
    /* Acknowledged data that are only in journals of the chain's images are given up, and images
     * that could not be made durable since the machine was booted are taken as they are. */
    bool discard_unflushed;
    const char *
        identity; /* of the top image, as block_device_info() told it once: another file is refused.
                           * NULL: not known */
    struct cluster_shape overlay; /* of the overlays to come; cluster_bytes 0: the default */
};

/*
 * Opens the chain and reserves the name; exports do not see the device until
 * block_device_export(). Every file of the chain is locked for as long as it is open, with QEMU's
 * lock bytes. What a killed daemon left in journals of these files is replayed. Codes: DeviceExists
 * (name taken), DeviceInUse (a file of the chain is in use by another device in a way that excludes
 * this one; the message names it; or it is frozen and not to be read only), OpenFileFailed (also:
 * locked by another process, QEMU or other), InvalidBlockFormat, UnflushedData (a journal cannot be
 * replayed, for good, or a sync of an image failed: see discard_unflushed), NotReady (called off).
 */
int block_device_open(struct block *block, const struct device_spec *spec, struct err *err);
void block_device_export(struct block *block, const char *name);

/* Any thread: gives up the opening of a device, if one of that name is under way and takes long
 * (repair): the block_device_open() then fails with NotReady within a fraction of a second. What is
 * quick is finished. Whether there was one. */
bool block_device_call_off(struct block *block, const char *name);

/* Any thread: the same for every opening under way or to come. */
void block_stop_opening(struct block *block);

/* A device that cannot be served now: exported, state `failed`, so that it can be seen and
 * detached. `cause` is what block_device_open() said of it. Unless that can only be damage the
 * device is tried again, by itself and when a client connects or a group names it, and turns
 * `online`. */
int block_device_open_failed(struct block *block, const struct device_spec *spec,
                             const struct err *cause, struct err *err);

/* Flushes and closes, exported or not. DeviceNotFound; DeviceInUse (message says by what) while a
client is connected or a group holds it; UnflushedData: what was acknowledged is not in the images,
or a sync of one failed; the device stays as it was.
 */
int block_device_close(struct block *block, const char *name, struct err *err);

/* Closes it whether or not that succeeds: what was acknowledged and is not in the images is given
 * up with `discard`, else it stays in its journals for whoever opens the images next. Codes as
 * above, but for UnflushedData. */
int block_device_abandon(struct block *block, const char *name, bool discard, struct err *err);
struct chain_image {
    char *image; /* absolute */
    char identity[FILE_IDENTITY_BYTES];
    const char *format;
    uint64_t size_bytes, allocated_bytes;
};

struct device_info {
    bool failed;
    bool read_only;
    char *reason;        /* of the failure, or NULL */
    char *top;           /* absolute path of the top image */
    const char *format;  /* of the top image; NULL if it could not be opened */
    uint64_t size_bytes; /* as a guest sees it */
    size_t chain_length; /* top to base; 0 if it could not be opened */
    struct chain_image *chain;
    unsigned clients;             /* connected right now */
    struct cluster_shape overlay; /* what the next overlay gets: larger than asked for where the
                                   * disk is too large for the clusters asked for */
};
int block_device_info(struct block *block, const char *name, struct device_info *info,
                      struct err *err);

/* The same, but never waits for a storage that does not answer: there allocated_bytes is what it
 * was when it was last looked at. */
int block_device_info_known(struct block *block, const char *name, struct device_info *info,
                            struct err *err);
void device_info_clear(struct device_info *info);

/* ---- frozen members ---- */

/* Offers the frozen image read-only as the exports "DEVICE@GROUP_NAME" and "DEVICE@GROUP_ID"; it is
 * opened when the first client asks for it, if it is the file of that identity (NULL: not known),
 * and closed after the last. */
int block_frozen_add(struct block *block, const char *device, const char *group_name,
                     const char *group_id, const char *image, const char *identity,
                     const char *format, struct err *err);

/*
 * Files that a group froze, and all that lie beneath them. None is ever written through this daemon
 * again, whatever its name: block_device_open() refuses it for writing (DeviceInUse). A group says
 * which ones those are (group_member_info), so that they can be recorded, and marks them when it is
 * pivoted; after a restart, block_frozen_file_add() does, before any device is opened.
 */
struct frozen_file {
    char identity[FILE_IDENTITY_BYTES];
    char *path; /* absolute: where it was */
};
int block_frozen_file_add(struct block *block, const char *identity, const char *path,
                          struct err *err);

/* The files of the chain of `image` that are not known as frozen, top to base, as they are found
 * now: for groups that were recorded without. *files is heap; free with frozen_files_free. Codes:
 * as for block_device_open(). */
int block_chain_files(struct block *block, const char *image, const char *format,
                      struct frozen_file **files, size_t *count, struct err *err);
void frozen_files_free(struct frozen_file *files, size_t count);

/* ---- the group transaction (design: "The group-snapshot transaction") ----
 *
 *   group_begin --> group_prepare --> group_pivot --> group_finish --> group_free
 *        |               |              (the caller has recorded `committing` before group_pivot)
 *        +---------------+--> group_abort --> group_free
 *
 * group_begin resolves and validates all members and holds the devices, group_prepare creates every
 * overlay, durable, and opens it; both may fail, touch nothing that existed, and leave
 * `*failed_member` at the first failing member's position. After group_prepare nothing can fail:
 * group_pivot raises the fence on all members, waits for writes in flight, swaps every top, lowers
 * the fences.
 */
struct group_member {
    const char *device;
    const char *snapshot_file; /* path of the overlay to create */
    const char *format;        /* of the overlay */
};

/* What a member became; valid while the group lives. */
struct group_member_info {
    const char *backing_file;   /* absolute: the image that is frozen */
    const char *backing_format; /* its format */
    const char *backing_identity;
    const char *snapshot_file;     /* absolute: the overlay */
    const char *snapshot_identity; /* "" before group_prepare */
    /* What the group freezes with this member, as far as it is not frozen yet. */
    const struct frozen_file *frozen_files;
    size_t frozen_count;
    uint64_t pause_us; /* after group_pivot: the longest any request of it was held */
};

/* Codes: EmptyGroup, DuplicateDevice, DeviceNotFound, DeviceInUse, DeviceIsReadOnly, DeviceFailed,
 * InvalidBlockFormat, OpenFileFailed. NULL on failure. `*failed_member` is SIZE_MAX if no member is
 * to blame. */
struct group *group_begin(struct block *block, const unsigned char id[OWNER_ID_BYTES],
                          const struct group_member *members, size_t count, size_t *failed_member,
                          struct err *err);

/* 0, or -1 with nothing left behind but what group_abort() removes. Codes: OpenFileFailed. */
int group_prepare(struct group *group, size_t *failed_member, struct err *err);

/* Cannot fail. *cut_at_us: microseconds since the epoch; *pause_us: the longest member's. */
void group_pivot(struct group *group, uint64_t *cut_at_us, uint64_t *pause_us);

/* Makes the frozen images durable and read-only. A member whose frozen image cannot be flushed
 * turns its device `failed`; the group stands. */
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

/* ---- exports ---- */

enum nbd_tls_mode {
    NBD_TLS_OFF,      /* it is not offered */
    NBD_TLS_OPTIONAL, /* a client may do without it, but beyond loopback */
    NBD_TLS_REQUIRED, /* no client gets anywhere without it */
};

struct nbd_tls_spec {
    enum nbd_tls_mode mode;
    const char *cert_dir; /* server-cert.pem, server-key.pem; or NULL: no certificates */
    bool verify_peer;     /* a client needs a certificate by cert_dir's ca-cert.pem, and not in its
                             ca-crl.pem, if that exists */
    const char *psk_file; /* lines NAME:HEXKEY; or NULL: no pre-shared keys */
};

/* TLS for NBD on every address; before the first block_nbd_listen(). The files are read now, not
 * later. Codes: OpenFileFailed, InvalidValue; the message names the file. */
int block_nbd_set_tls(struct block *block, const struct nbd_tls_spec *spec, struct err *err);

/* Starts serving NBD on `address`: "unix:PATH" or "ADDR:PORT" (port 0 picks one; beyond loopback
 * only if TLS makes every client prove who it is, and it is required there in any mode). May be
 * called more than once. Codes: InvalidValue, OpenFileFailed. */
int block_nbd_listen(struct block *block, const char *address, struct err *err);

/* The listening address of that number, from 0, as it was bound ("unix:/run/x/nbd.sock",
 * "0.0.0.0:10809"), with the port that was picked; NULL past the last one. */
const char *block_nbd_address(const struct block *block, size_t index);

/* Where to send clients: the first Unix socket, else the first address of one host, else for a
 * wildcard the loopback address; NULL if NBD is not served. */
const char *block_nbd_reach(const struct block *block);

/* Whether a client at block_nbd_reach() must use TLS. */
bool block_nbd_needs_tls(const struct block *block);

/* Stops listening, lets requests under way finish, closes every connection. */
void block_nbd_stop(struct block *block);

#endif
