/* SPDX-License-Identifier: Apache-2.0
 *
 * The control interface of devices and frozen members. See block.h, which includes this.
 */
#ifndef BLOCK_DEVICES_H
#define BLOCK_DEVICES_H

#include "base/err.h"
#include "block/limits.h"
#include "block/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block;

/* ---- who may open the exports ---- */

/* Names of NBD clients, which their certificates or pre-shared keys prove. Never changes;
 * references are counted. `count` is not 0. NULL and *err (OutOfResources). */
struct allowed_clients;
struct allowed_clients *allowed_clients_new(const char *const *names, size_t count,
                                            struct err *err);

/* Both take NULL too, which as a list stands for everybody. */
struct allowed_clients *allowed_clients_ref(struct allowed_clients *clients);
void allowed_clients_unref(struct allowed_clients *clients);

/* Limits the exports of the device and of its frozen images to these clients; NULL: to nobody in
 * particular. Who is connected stays. No effect if there is no such device. Does not wait. */
void block_device_allow(struct block *block, const char *name, struct allowed_clients *clients);

/* ---- devices ---- */

struct device_spec {
    const char *name;
    const char *image;  /* the top image to open now */
    const char *format; /* of that image; the ones under it are recorded in the headers */
    bool read_only;
    bool is_restored; /* by start-up, not by a user: error messages differ */
    /* Discards acknowledged data that are only in journals of the chain, and accepts images whose
     * sync failed since the machine was booted. */
    bool discard_unflushed;
    /* Of the top image, as block_device_info() reported it: another file is rejected. NULL:
     * unknown. */
    const char *identity;
    struct cluster_shape overlay;     /* of the overlays to come; cluster_bytes 0: the default */
    unsigned char id[OWNER_ID_BYTES]; /* by which its frozen images know it; zeros: none */
    struct allowed_clients *clients;  /* that may open its exports; NULL: all */
};

/* Opens the chain and reserves the name; exports do not see the device until block_device_export().
 * Every file of the chain is locked while it is open, with QEMU's lock bytes. Journals that a
 * killed daemon left of these files are replayed. Codes: DeviceExists, DeviceInUse (another device
 * uses a file of the chain in a way that excludes this one; or a frozen file would be written),
 * OpenFileFailed (also: locked by another process), InvalidBlockFormat, UnflushedData (a journal
 * cannot be replayed, or a sync of an image failed: see discard_unflushed), NotReady (cancelled).
 * */
int block_device_open(struct block *block, const struct device_spec *spec, struct err *err);
void block_device_export(struct block *block, const char *name);

/* Any thread: cancels the opening of that device, if it takes long (repair): block_device_open()
 * fails with NotReady within a fraction of a second. False if there is none. */
bool block_device_call_off(struct block *block, const char *name);

/* Any thread: the same for every current and future opening, and an end of block_image_await(). */
void block_stop_opening(struct block *block);

/* Adds a device that could not be opened: exported, state `failed`, so it can be listed and
 * detached. `cause` is the error of block_device_open(). Unless the cause is damage, the opening is
 * retried, periodically and when a client connects or a group names the device, until it is
 * `online`. */
int block_device_open_failed(struct block *block, const struct device_spec *spec,
                             const struct err *cause, struct err *err);

/* Flushes and closes, exported or not. DeviceNotFound; DeviceInUse while a client is connected or a
 * group holds it; UnflushedData: acknowledged data are not in the images, or a sync failed; then
 * the device stays as it was. */
int block_device_close(struct block *block, const char *name, struct err *err);

/* The same; its top is removed, durably, before other devices can open it. Its path must lead to
 * the open file, unless somebody removed that, and `id` must be in its header: ImageIsKept. Also
 * DeviceFailed (it is not open), OpenFileFailed. */
int block_device_remove(struct block *block, const char *name,
                        const unsigned char id[OWNER_ID_BYTES], struct err *err);

/* DeviceInUse, naming one of its clients, if the device has any; without waiting. */
int block_device_check_clients(struct block *block, const char *name, struct err *err);

/* Closes even if the flush fails. Acknowledged data that are not in the images are discarded with
 * `discard`; else they stay in journals for the next opening. Codes as above, but for
 * UnflushedData. */
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
    unsigned clients;                   /* connected right now */
    uint64_t io_bytes[DEVICE_OP_COUNT]; /* of requests that succeeded since the device was attached
                                         * or the daemon started */
    struct cluster_shape
        overlay; /* of the next overlay; larger than requested if the disk needs it */
};
int block_device_info(struct block *block, const char *name, struct device_info *info,
                      struct err *err);

/* The same without waiting for storage: on unresponsive storage allocated_bytes is the last known.
 * */
int block_device_info_known(struct block *block, const char *name, struct device_info *info,
                            struct err *err);
void device_info_clear(struct device_info *info);

struct device_failure {
    char name[DEVICE_NAME_MAX + 1];
    char reason[1024];
};

/* Returns a failure of an exported device once, since the device was online last, also if it never
 * was. False: there is none; the descriptor of block_failures_fd() becomes readable when there may
 * be another one. */
bool block_take_failure(struct block *block, struct device_failure *failure);

/* An eventfd, which the caller reads, and does not close. */
int block_failures_fd(const struct block *block);

/* A hash of the whole report but `io_bytes`, of 64 bits: reports with the same stamp are taken for
 * the same. Never 0. */
uint64_t device_info_stamp(const struct device_info *info);

/* The stamps that reports of block_device_info() would have, or, unless `may_wait`, those of
 * block_device_info_known(). 0: there is no such device. */
void block_device_stamps(struct block *block, const char *const *names, size_t count, bool may_wait,
                         uint64_t *stamps);

/* The chain of an image that no device has open, top to base, without allocated_bytes. *chain is
 * heap, freed by chain_images_free(). Codes: as for block_device_open(). */
int block_chain_list(struct block *block, const char *image, const char *format,
                     struct chain_image **chain, size_t *length, struct err *err);
void chain_images_free(struct chain_image *chain, size_t length);

#endif
