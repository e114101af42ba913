/* SPDX-License-Identifier: Apache-2.0
 *
 * A block layer on the scratch directory with a few small disks, for tests of devices and groups.
 */
#ifndef TESTS_DISKS_H
#define TESTS_DISKS_H

#include "block/device/registry.h"
#include "block/group.h"
#include "block/merge.h"
#include "tests/lib/testlib.h"

enum { DISK_BYTES = 1 << 20 };

/* cmocka set-up and tear-down of one test: *state is the block layer with the qcow2 devices "d0",
 * "d1", "d2" (images d0.qcow2, ...), the faulty driver in place, without faults. */
int disks_begin(void **state);
int disks_end(void **state);

/* Random, new for each test: marks of two owners of files. */
extern unsigned char owner_id[OWNER_ID_BYTES], other_owner_id[OWNER_ID_BYTES];

struct device *disk(struct block *block, const char *name);

/* Creates the image and attaches it. */
void disk_add(struct block *block, const char *name, const char *image, const char *format);

/* Attaches a qcow2 image and exports it, and the reverse; errors fail the test. */
void disk_attach(struct block *block, const char *name, const char *image);
void disk_attach_read_only(struct block *block, const char *name, const char *image);
void disk_detach(struct block *block, const char *name);

/* One byte value over a 4 KiB block, written and read; errors fail the test. */
void disk_write(struct block *block, const char *name, unsigned block_number, unsigned char value);
unsigned char disk_read(struct block *block, const char *name, unsigned block_number);

/* The same from an image file, as qemu-io sees it. */
bool image_has(const char *image, const char *format, unsigned block_number, unsigned char value);

/* A group over the named devices with overlays NAME.SUFFIX, begun; NULL with *err and
 * *failed_member else. */
struct group *group_of(struct block *block, const char *suffix, size_t count,
                       const char *const *names, size_t *failed_member, struct err *err);

/* The same, prepared; an error fails the test. */
struct group *group_must_prepare(struct block *block, const char *suffix, size_t count,
                                 const char *const *names);

void group_must_cut(struct group *group);

/* After the cut: until all members are frozen. Returns how long after it. */
uint64_t group_must_finish(struct group *group);

/* The whole transaction; an error fails the test. */
void group_take(struct block *block, const char *suffix, size_t count, const char *const *names);

/* A client of DEVICE@GROUP, whose image is DEVICE.qcow2; end with export_unuse(). */
struct device *frozen_use(struct block *block, const char *device, const char *group);

/* A merge of one image of the scratch directory, qcow2 like the other, into one beneath it. */
struct merge *images_merge_begin(struct block *block, const char *lower, const char *upper);

/* All of it; errors fail the test. */
void images_merge(struct block *block, const char *lower, const char *upper);

/* Copies all that is left, from the start: what the last merge_copy() gave, which is not 0. */
int merge_rest(struct merge *merge, struct err *err);

/* Names, sizes and checksums of all that is in the scratch directory (heap). */
char *scratch_listing(void);
void scratch_listing_must_be(const char *expected);

#endif
