/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration file: INI (snapgroupd.conf(5)), one section [snapgroupd] of NAME = VALUE.
 * Called by options.c.
 */
#ifndef SERVICE_OPTIONS_FILE_H
#define SERVICE_OPTIONS_FILE_H

#include "base/err.h"

#define OPTIONS_FILE_DEFAULT "/etc/snapgroupd/snapgroupd.conf"

/* Takes a setting; `source` is "FILE:LINE". All strings are borrowed for the call. */
typedef int (*options_file_take)(void *context, const char *source, const char *name,
                                 const char *value, struct err *err);

/* Reads the file; NULL: the default file, which may be missing. Ends at the first error, which
 * names its line: that of `take`, InvalidParameter, OpenFileFailed, OutOfResources. */
int options_file_read(const char *path, options_file_take take, void *context, struct err *err);

#endif
