/* SPDX-License-Identifier: Apache-2.0
 *
 * The name of a backing file in a header.
 */
#ifndef BLOCK_FORMAT_QCOW2_BACKING_NAME_H
#define BLOCK_FORMAT_QCOW2_BACKING_NAME_H

#include "base/err.h"

/* Parses the header's `words`: *name is the file's own name; *format, if the words name a format,
 * is replaced. Both heap. -1 and *err: InvalidBlockFormat, OutOfResources. */
int qcow2_backing_name(const char *words, char **name, char **format, struct err *err);

#endif
