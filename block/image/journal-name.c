/* SPDX-License-Identifier: Apache-2.0
 *
 * See journal-name.h.
 */
#include "block/image/journal-name.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int journal_boot_id(char boot_id[BOOT_ID_BYTES], struct err *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char known[BOOT_ID_BYTES]; /* once it was read; it begins with no 0 */
    LOCK_GUARD(&lock);
    if (!*known) {
        CLEANUP_CLOSE int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, boot_id, BOOT_ID_BYTES) != BOOT_ID_BYTES)
            return err_set(err, ErrOpenFileFailed, errno,
                           "the boot id of this system cannot be read");
        memcpy(known, boot_id, BOOT_ID_BYTES);
    }
    memcpy(boot_id, known, BOOT_ID_BYTES);
    return 0;
}

void journal_name_fill(const struct identity *identity, const char *suffix,
                       char name[JOURNAL_NAME_BYTES])
{
    assert(strlen(identity->text) + strlen(suffix) < JOURNAL_NAME_BYTES);
    strcpy(stpcpy(name, identity->text), suffix);
}

int journal_name(int fd, const char *suffix, char name[JOURNAL_NAME_BYTES])
{
    struct identity identity;
    int ret = identity_of(fd, &identity);
    if (ret == 0)
        journal_name_fill(&identity, suffix, name);
    return ret;
}

int journal_image_of(int fd, struct journal_image *image)
{
    struct statx stx;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &stx) != 0)
        return -errno;
    *image = (struct journal_image){
        .dev_major = stx.stx_dev_major,
        .dev_minor = stx.stx_dev_minor,
        .ino = stx.stx_ino,
        .birth_ns = (unsigned long long)stx.stx_btime.tv_sec * 1000000000 + stx.stx_btime.tv_nsec,
    };
    return identity_of(fd, &image->identity);
}

bool journal_name_is_of(const char *name, const struct journal_image *image)
{
    unsigned major_, minor_;
    unsigned long long ino, birth_ns;
    if (sscanf(name, "%x.%x-%llx-%llx.", &major_, &minor_, &ino, &birth_ns) == 4)
        return image->ino == ino && image->birth_ns == birth_ns &&
               (birth_ns || (image->dev_major == major_ && image->dev_minor == minor_));
    size_t length = strlen(image->identity.text);
    return strncmp(name, image->identity.text, length) == 0 && name[length] == '.';
}

unsigned long long journal_name_ino(const char *name)
{
    unsigned long long ino;
    return sscanf(name, "%*x.%*x-%llx-", &ino) == 1 || sscanf(name, "%llx-", &ino) == 1 ? ino : 0;
}
