/* SPDX-License-Identifier: Apache-2.0
 *
 * Carrying out one merge of a job, from the stage that its row has on. The diagram is in deletes.h.
 */
#ifndef SERVICE_MERGES_H
#define SERVICE_MERGES_H

#include "block/merge.h"
#include "store/jobs.h"

struct service;

/* Whether the push can be made at all: the images are of one size, and the headers of those on
 * upper have room for base's name. `rows` are its tree. InvalidValue; DeviceInUse: one of them is
 * being made, or removed. */
int merges_check(struct service *service, const struct image_row *rows, size_t count,
                 const struct image_row *base, const struct image_row *upper,
                 struct merge_size *size, struct err *err);

/* 0: it is done; 1: the job was told to stop; -1: *err. */
int merges_carry_out(struct service *service, struct job_row *job, struct merge_row *row,
                     struct err *err);

#endif
