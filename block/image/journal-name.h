/* SPDX-License-Identifier: Apache-2.0
 *
 * Of which image a journal or a note (sync-note.h) is, by its name, and of which boot.
 */
#ifndef BLOCK_IMAGE_JOURNAL_NAME_H
#define BLOCK_IMAGE_JOURNAL_NAME_H

#include "base/err.h"
#include "block/image/identity.h"

#include <stdbool.h>

#define JOURNAL_SUFFIX     ".journal" /* of a journal's name */
#define JOURNAL_NAME_BYTES 72

#define BOOT_ID_BYTES 36
int journal_boot_id(char boot_id[BOOT_ID_BYTES], struct err *err); /* OpenFileFailed */

/* IDENTITY and the suffix: the name of a journal or a note (sync-note.h) of the image that is open
 * as `fd`. 0 or -errno. */
int journal_name(int fd, const char *suffix, char name[JOURNAL_NAME_BYTES]);
void journal_name_fill(const struct identity *identity, const char *suffix,
                       char name[JOURNAL_NAME_BYTES]);

/* The parts of a journal's name, today and with older daemons. */
struct journal_image {
    unsigned dev_major, dev_minor;
    unsigned long long ino, birth_ns;
    struct identity identity;
};
int journal_image_of(int fd, struct journal_image *image); /* 0 or -errno */

/* Whether the journal or note `name` is of that image. Older daemons named them
 * MAJOR.MINOR-INODE-BIRTH; a remount may change the device number, so it is compared only if there
 * is no time of birth. */
bool journal_name_is_of(const char *name, const struct journal_image *image);

/* The inode number in a name of either kind; 0: it has none, and is no image's. */
unsigned long long journal_name_ino(const char *name);

#endif
