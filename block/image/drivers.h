/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of drivers, by the name of their format.
 */
#ifndef BLOCK_IMAGE_DRIVERS_H
#define BLOCK_IMAGE_DRIVERS_H

#include "block/image/driver.h"

/* Adds a driver, or replaces the one of its name. No other thread may run yet. */
void driver_register(const struct driver *driver);

/* The driver of that name, or NULL; the names of all ("raw or qcow2"), in `text`. */
#define DRIVER_NAMES_BYTES 128
const struct driver *driver_find(const char *name);
const char *driver_names(char text[DRIVER_NAMES_BYTES]);

/* The same, if it can create images. NULL and *err (InvalidBlockFormat). */
const struct driver *driver_find_creating(const char *name, struct err *err);

/* The shape that overlays of a disk of that size get: the default for a shape of 0, fitted. */
struct cluster_shape driver_overlay_shape(struct cluster_shape wanted, uint64_t size_bytes);

#endif
