/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.create.
 */
#ifndef BLOCK_FORMAT_QCOW2_CREATE_H
#define BLOCK_FORMAT_QCOW2_CREATE_H

#include "block/format/qcow2/state.h"

int qcow2_create(int fd, const struct image_spec *spec, struct err *err);

#endif
