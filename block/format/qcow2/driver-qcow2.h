/* SPDX-License-Identifier: Apache-2.0
 *
 * The driver of qcow2 images. Registered by block_open().
 */
#ifndef BLOCK_FORMAT_QCOW2_DRIVER_QCOW2_H
#define BLOCK_FORMAT_QCOW2_DRIVER_QCOW2_H

#include "block/image/driver.h"

extern const struct driver driver_qcow2;

#endif
