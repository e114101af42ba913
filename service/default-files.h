/* SPDX-License-Identifier: Apache-2.0
 *
 * The file of an overlay or of a clone when none is named. It is chosen before it is made, and
 * making it never replaces another one: who comes second chooses again, or fails.
 */
#ifndef SERVICE_DEFAULT_FILES_H
#define SERVICE_DEFAULT_FILES_H

#include "base/err.h"

struct service;

/* "DEVICE+GROUP.qcow2" in the image directory; of a clone, with `group` NULL, "DEVICE.qcow2". Where
 * that file is there, or is away and needed, the first of "DEVICE+GROUP+2.qcow2" and so on that is
 * free; of a clone "DEVICE++2.qcow2". No name has a `+`, so nobody else gets these. Whatever else
 * is wrong with that file is for its maker to say. Heap, or NULL and OutOfResources. */
char *default_file_choose(struct service *service, const char *device, const char *group,
                          struct err *err);

#endif
