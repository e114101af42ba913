/* SPDX-License-Identifier: Apache-2.0
 *
 * Linked into snapgroupd-no-links, and a unit test, with -Wl,--wrap=linkat: as on a file system
 * without hard links, FAT say.
 */
#include <errno.h>

int __wrap_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags);

int __wrap_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    (void)from_dir, (void)from, (void)to_dir, (void)to, (void)flags;
    errno = EPERM;
    return -1;
}
