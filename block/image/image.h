/* SPDX-License-Identifier: Apache-2.0
 *
 * Image files and where they may be: everything beneath one image directory, nothing outside. Paths
 * come from clients and from headers, both hostile; the kernel judges them (openat2 with
 * RESOLVE_BENEATH: no "..", no symbolic link leads out). Private to block/.
 */
#ifndef BLOCK_IMAGE_IMAGE_H
#define BLOCK_IMAGE_IMAGE_H

#include "base/cleanup.h"
#include "base/err.h"
#include "block/types.h"

#include <stdbool.h>

struct image_dir {
    int fd;
    char *path;  /* canonical */
    char *given; /* as the operator wrote it: absolute paths may start with either */
};

int image_dir_open(struct image_dir *dir, const char *path, struct err *err);
void image_dir_close(struct image_dir *dir);

/* OpenFileFailed if the path leads to another directory by now: one mounted over it, or renamed
 * into its place. */
int image_dir_check(const struct image_dir *dir, struct err *err);

/* Opens the regular file `path`; *canonical (heap) gets its resolved path. -1 and *err
 * (OpenFileFailed). */
int image_open(const struct image_dir *dir, const char *path, bool read_only, char **canonical,
               struct err *err);

/* The place of an image that exists or is to be created: its directory, opened and resolved, and
 * its name there. */
struct image_place {
    int dirfd;
    char *path; /* absolute: the directory's canonical path, then the name */
    char *name; /* within `path` */
};

/* The parent directory must exist; the file need not. Refused: no name, "." and "..", embedded
 * oddities. */
int image_place_open(const struct image_dir *dir, const char *path, struct image_place *place,
                     struct err *err);

/* The same where `path` is one of the directory of `other`, which is not looked up again. */
int image_place_open_beside(const struct image_place *other, const char *path,
                            struct image_place *place, struct err *err);

/* The identity of the directory of `path`. */
int image_directory_identity(const struct image_dir *dir, const char *path,
                             char identity[FILE_IDENTITY_BYTES], struct err *err);

/* Like image_place_open(), for files of an earlier daemon. `directory` is the identity that their
 * directory had, or NULL. 1: opened; 0: `directory` is NULL and there is no directory; -1: *err,
 * also if the storage is away, that is if there is no directory or one on another file system. */
int image_place_find(const struct image_dir *dir, const char *path, const char *directory,
                     struct image_place *place, struct err *err);
void image_place_close(struct image_place *place);

/* OpenFileFailed (EEXIST and others) unless there is no file of that name. */
int image_place_check_free(const struct image_place *place, struct err *err);

static inline void cleanup_image_place(struct image_place *place)
{
    image_place_close(place);
}
#define IMAGE_PLACE_INIT                                                                           \
    {                                                                                              \
        .dirfd = -1                                                                                \
    }
#define CLEANUP_PLACE __attribute__((cleanup(cleanup_image_place)))

/* How the image at that place names the image `to` (canonical, absolute) in its header: relative,
 * so that a tree of images can be moved as a whole, and never mistaken for a protocol ("a:b"
 * becomes "./a:b"). Heap, or NULL and *err: OutOfResources, OpenFileFailed (the name is too long).
 */
char *image_backing_name(const struct image_place *place, const char *to, struct err *err);

#endif
