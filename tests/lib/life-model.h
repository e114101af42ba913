/* SPDX-License-Identifier: Apache-2.0
 *
 * The model of a life of disks (life-steps.h): flat content of devices, of what groups froze, of
 * detached disks and copies; and what was done. It lies in memory that processes share, so that it
 * outlives one that is killed, and has no pointers. Names of files are relative to the image
 * directory.
 *
 *     disk    attached
 *     left    an image that could be attached: the top of a detached disk, or a copy
 *     group   committed; `is_deleting` from its delete on until the job is done
 *     named   a file that an operator named: the daemon never removes it
 *     loose   an image under a top that was removed: it stays until a job plans its tree
 */
#ifndef TESTS_LIFE_MODEL_H
#define TESTS_LIFE_MODEL_H

#include "base/err.h"
#include "store/row.h"
#include "tests/lib/testlib.h"

enum {
    LIFE_DISKS_MAX = 4,
    LIFE_MEMBERS_MAX = 3,
    LIFE_GROUPS_MAX = 12,
    LIFE_LEFT_MAX = 24,
    LIFE_COPIES_MAX = 4,
    LIFE_FILES_MAX = 256,
    LIFE_IMAGES_MAX = 12, /* when there are so many, none is added */
    LIFE_NAME_BYTES = 80,
    LIFE_EXPORT_BYTES = 2 * LIFE_NAME_BYTES,
    LIFE_LOG_BYTES = 1 << 16,
    LIFE_VIEW_BYTES = 3 << 19,
};

struct life_view {
    uint64_t size_bytes;
    unsigned char bytes[LIFE_VIEW_BYTES];
};

struct life_disk {
    bool is_used;
    char name[LIFE_NAME_BYTES];
    unsigned tree; /* the same number: of one tree of images */
    struct life_view view;
};

struct life_left {
    bool is_used;
    char file[LIFE_NAME_BYTES];
    bool is_raw;
    unsigned tree;
    struct life_view view;
};

struct life_group {
    bool is_used, is_held, is_deleting;
    char name[LIFE_NAME_BYTES], id[STORE_ID_CHARS + 1], job[STORE_ID_CHARS + 1];
    size_t count;
    struct life_disk members[LIFE_MEMBERS_MAX]; /* as they were frozen */
};

struct life_copy {
    bool is_used;
    size_t group;
    char job[STORE_ID_CHARS + 1];
    struct life_left made; /* once the job is done */
};

/* Names of files. */
struct life_files {
    size_t count;
    char files[LIFE_FILES_MAX][LIFE_NAME_BYTES];
};

enum life_kind {
    LIFE_CREATE,
    LIFE_ATTACH, /* of what is left */
    LIFE_WRITE,
    LIFE_ZERO,
    LIFE_DISCARD,
    LIFE_TAKE,
    LIFE_ROLL_BACK,
    LIFE_CLONE,
    LIFE_DELETE,
    LIFE_COPY,
    LIFE_RESIZE,
    LIFE_DETACH,
    LIFE_HOLD,
    LIFE_RELEASE,
    LIFE_KINDS,
};

/* A change that is asked for. */
struct life_change {
    enum life_kind kind;
    uint64_t refusals, doubts; /* bits of the codes with which it must, or may, be refused */
    char name[LIFE_NAME_BYTES], file[LIFE_NAME_BYTES];
    char job[STORE_ID_CHARS + 1]; /* that does it */
    size_t disk, group, member, left;
    size_t count;
    size_t disks[LIFE_MEMBERS_MAX]; /* to be frozen */
    bool is_raw, deletes_file, has_files;
    bool has_user;                /* somebody has the export open meanwhile */
    bool is_flushed, keeps_space; /* of a write */
    struct cluster_shape shape;
    uint64_t offset, length, seed; /* of a write; `length` is the size of what is made or grows */
};

struct life {
    struct random random;
    uint64_t seed, step, kills, counts[LIFE_KINDS], refused, checked;
    unsigned names, trees;
    bool has_pending;
    struct life_change pending; /* asked for by a process that was killed, unless it was done */
    struct life_disk disks[LIFE_DISKS_MAX];
    struct life_left left[LIFE_LEFT_MAX];
    struct life_group groups[LIFE_GROUPS_MAX];
    struct life_copy copies[LIFE_COPIES_MAX];
    struct life_files named, loose;
    struct life_files beneath; /* the top of a disk that is being detached */
    size_t log_bytes;
    char log[LIFE_LOG_BYTES];
};

/* A model of nothing, in shared memory; for each life it is begun anew. */
struct life *life_new(void);
void life_begin(struct life *life, uint64_t seed);

/* Adds a line to what was done. */
void life_note(struct life *life, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints the reason, the seed and what was done, and ends the process with status 1. */
void life_fail(const struct life *life, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/* A new name that begins with that letter. */
void life_name(struct life *life, char letter, char name[LIFE_NAME_BYTES]);

bool life_has_file(const struct life_files *files, const char *file);
void life_add_file(struct life *life, struct life_files *files, const char *file);

void life_view_copy(struct life_view *to, const struct life_view *from);

/* Past the end it has zeros. */
void life_view_grow(struct life_view *view, uint64_t size_bytes);

void life_left_fill(struct life_left *left, const char *file, bool is_raw, unsigned tree,
                    const struct life_view *view);

/* What a write gives. */
void life_data(const struct life_change *change, unsigned char *bytes);

/* A position, or SIZE_MAX. */
size_t life_find_disk(const struct life *life, const char *name);
size_t life_free_disk(const struct life *life);
size_t life_free_left(const struct life *life);

/* One of those in use, at random; SIZE_MAX: none is. */
size_t life_pick_disk(struct life *life);
size_t life_pick_left(struct life *life);
size_t life_pick_group(struct life *life);

#endif
