/* SPDX-License-Identifier: Apache-2.0
 *
 * See stage.h.
 */
#include "block/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <uuid/uuid.h>

#define STAGE_NAME_BYTES 80

/* FNV-1a, 64 bits: spreads the names of one directory; nothing depends on its being hard to invert.
 */
static uint64_t name_hash(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3;
    return hash;
}

static void stage_name(const struct image_place *place, const unsigned char id[GROUP_ID_BYTES],
                       char name[STAGE_NAME_BYTES])
{
    char text[UUID_STR_LEN];
    uuid_unparse_lower(id, text);
    snprintf(name, STAGE_NAME_BYTES, ".snapgroupd-%s-%016llx.tmp", text,
             (unsigned long long)name_hash(place->name));
}

int stage_create(const struct image_place *place, const unsigned char id[GROUP_ID_BYTES],
                 struct err *err)
{
    char name[STAGE_NAME_BYTES];
    stage_name(place, id, name);
    int fd = openat(place->dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be created", place->path);
    return fd;
}

int stage_publish(const struct image_place *place, const unsigned char id[GROUP_ID_BYTES],
                  struct err *err)
{
    char name[STAGE_NAME_BYTES];
    stage_name(place, id, name);
    if (linkat(place->dirfd, name, place->dirfd, place->name, 0) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be created", place->path);
    return 0;
}

static int place_unlink(const struct image_place *place, const char *name, struct err *err)
{
    if (unlinkat(place->dirfd, name, 0) != 0 && errno != ENOENT)
        return err_set(err, ErrOpenFileFailed, errno, "'%s' beside '%s' cannot be removed", name,
                       place->path);
    return 0;
}

int stage_settle(const struct image_place *place, const unsigned char id[GROUP_ID_BYTES],
                 struct err *err)
{
    char name[STAGE_NAME_BYTES];
    stage_name(place, id, name);
    return place_unlink(place, name, err);
}

int stage_discard(const struct image_place *place, const unsigned char id[GROUP_ID_BYTES],
                  struct err *err)
{
    char name[STAGE_NAME_BYTES];
    stage_name(place, id, name);
    struct stat first, real;
    if (fstatat(place->dirfd, name, &first, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT)
            return 0;
        return err_set(err, ErrOpenFileFailed, errno, "'%s' beside '%s' cannot be examined", name,
                       place->path);
    }
    bool is_ours = fstatat(place->dirfd, place->name, &real, AT_SYMLINK_NOFOLLOW) == 0 &&
                   real.st_dev == first.st_dev && real.st_ino == first.st_ino;
    if (is_ours && place_unlink(place, place->name, err) != 0)
        return -1;
    return place_unlink(place, name, err);
}
