/* SPDX-License-Identifier: Apache-2.0
 *
 * The driver of raw images. Registered by block_open().
 */
#ifndef BLOCK_FORMAT_RAW_H
#define BLOCK_FORMAT_RAW_H

#include "block/image/driver.h"

extern const struct driver driver_raw;

#endif
