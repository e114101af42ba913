/* SPDX-License-Identifier: Apache-2.0
 *
 * See sync-note.h. A note is the boot id and, on a line of its own, the image's path.
 */
#include "block/image/sync-note.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "block/image/journal-name.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static_assert(sizeof(NOTE_SUFFIX) <= sizeof(JOURNAL_SUFFIX), "a note's name");

void sync_note_write(int dirfd, int image_fd, const char *path, int errnum)
{
    char name[JOURNAL_NAME_BYTES], boot_id[BOOT_ID_BYTES];
    struct err err;
    log_error(
        "image '%s' could not be made durable: %s; its last writes may be lost at a power loss",
        path, strerror(errnum));
    if (dirfd < 0)
        return;
    CLEANUP_CLOSE int fd = -1;
    if (journal_name(image_fd, NOTE_SUFFIX, name) == 0)
        fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    /* A note without a boot id holds for any. */
    if (fd < 0 || (journal_boot_id(boot_id, &err) == 0 &&
                   dprintf(fd, "%.*s\n%s", BOOT_ID_BYTES, boot_id, path) < 0))
        log_error("image '%s': the failed sync cannot be recorded for the next start: %s", path,
                  strerror(errno));
}

bool sync_note_holds(int dirfd, const char *name, char **path)
{
    char now[BOOT_ID_BYTES], then[BOOT_ID_BYTES + 1 + PATH_MAX] = "";
    struct err err;
    CLEANUP_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, then, sizeof(then) - 1);
    if (length >= BOOT_ID_BYTES && journal_boot_id(now, &err) == 0 &&
        memcmp(then, now, BOOT_ID_BYTES) != 0)
        return false;
    if (path)
        *path = strdup(length > BOOT_ID_BYTES ? then + BOOT_ID_BYTES + 1 : "");
    return true;
}
