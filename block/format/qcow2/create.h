/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.create and driver.shape_fit.
 */
#ifndef BLOCK_FORMAT_QCOW2_CREATE_H
#define BLOCK_FORMAT_QCOW2_CREATE_H

#include "block/format/qcow2/state.h"

int qcow2_create(int fd, const struct image_spec *spec, struct err *err);
void qcow2_shape_fit(struct cluster_shape *shape, uint64_t size_bytes);

#endif
