/* SPDX-License-Identifier: Apache-2.0
 *
 * See frozen-attribute.h.
 */
#include "block/image/frozen-attribute.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

bool frozen_attribute_set(int fd, const struct identity *identity)
{
    if (frozen_attribute_is_set(fd, identity))
        return false;
    if (identity->is_lasting)
        (void)fsetxattr(fd, FROZEN_ATTRIBUTE, identity->text, strlen(identity->text), 0);
    return true;
}

bool frozen_attribute_is_set(int fd, const struct identity *identity)
{
    char text[FILE_IDENTITY_BYTES];
    ssize_t length = fgetxattr(fd, FROZEN_ATTRIBUTE, text, sizeof(text));
    return identity->is_lasting && length > 0 && (size_t)length == strlen(identity->text) &&
           memcmp(text, identity->text, (size_t)length) == 0;
}

int frozen_attribute_clear(int fd)
{
    return fremovexattr(fd, FROZEN_ATTRIBUTE) == 0 || errno == ENODATA || errno == ENOTSUP ? 0
                                                                                           : -errno;
}
