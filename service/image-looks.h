/* SPDX-License-Identifier: Apache-2.0
 *
 * What planning asks of the files of images. Waits no longer than PLAN_WAIT_MAX_MS for storage that
 * does not answer (storage-calls.h). Any thread.
 */
#ifndef SERVICE_IMAGE_LOOKS_H
#define SERVICE_IMAGE_LOOKS_H

#include "block/merge.h"
#include "store/row.h"

#include <stddef.h>

struct service;
struct storage_call;

/* As storage_call(), with the wait and the limits of all plans, which it fills in. */
int plan_call(struct service *service, struct storage_call *call, struct err *err);

/* The directories of the images, each once: the `storage` of a call that looks at them all. Heap,
 * or NULL and *err (OutOfResources). */
char *images_storage(const struct image_row *rows, size_t count, struct err *err);

/* The same of an image and all that is recorded to be under it. StoreFailed. */
char *chain_storage(struct service *service, const char *path, struct err *err);

struct image_look {
    bool is_gone; /* its file does not exist, its directory does */
    uint64_t file_bytes;
    bool asks_use, is_used; /* whether it is to be asked; another process has it open */
};

/* Looks at the file of each image. DeadlineExceeded, OutOfResources. */
int images_look(struct service *service, const struct image_row *rows, size_t count,
                struct image_look *looks, struct err *err);

/* Asks whether other processes have the images open that are marked. As images_look(). */
int images_look_used(struct service *service, const struct image_row *rows, size_t count,
                     struct image_look *looks, struct err *err);

/* Whether the push can be made at all: the images are of one size, or base can grow, and the
 * headers of those on upper have room for base's name; *size: what it would push. `rows` are the
 * tree of both. InvalidValue: it cannot; DeviceInUse: one of them is being made, or removed; and as
 * merge_open(); DeadlineExceeded, OutOfResources. */
int push_look(struct service *service, const struct image_row *rows, size_t count,
              const struct image_row *base, const struct image_row *upper, struct merge_size *size,
              struct err *err);

#endif
