/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of drivers. See drivers.h.
 */
#include "block/image/drivers.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { DRIVERS_MAX = 16 };
static const struct driver *drivers[DRIVERS_MAX];

const struct driver *driver_find(const char *name)
{
    for (size_t i = 0; i < DRIVERS_MAX && drivers[i]; i++)
        if (strcmp(drivers[i]->name, name) == 0)
            return drivers[i];
    return NULL;
}

const char *driver_names(char text[DRIVER_NAMES_BYTES])
{
    size_t length = 0;
    *text = '\0';
    for (size_t i = 0; i < DRIVERS_MAX && drivers[i] && length < DRIVER_NAMES_BYTES; i++) {
        bool is_last = i + 1 == DRIVERS_MAX || !drivers[i + 1];
        const char *separator = i == 0 ? "" : is_last ? " or " : ", ";
        length += (size_t)snprintf(text + length, DRIVER_NAMES_BYTES - length, "%s%s", separator,
                                   drivers[i]->name);
    }
    return text;
}

const struct driver *driver_find_creating(const char *name, struct err *err)
{
    char names[DRIVER_NAMES_BYTES];
    const struct driver *driver = driver_find(name);
    if (driver && driver->create)
        return driver;
    if (driver)
        err_set(err, ErrInvalidBlockFormat, 0,
                "images of format '%s' cannot be created; attach an existing one", name);
    else
        err_set(err, ErrInvalidBlockFormat, 0, "unknown format '%s', use %s", name,
                driver_names(names));
    return NULL;
}

struct cluster_shape driver_overlay_shape(struct cluster_shape wanted, uint64_t size_bytes)
{
    struct cluster_shape shape = wanted;
    if (!wanted.cluster_bytes)
        shape = (struct cluster_shape){OVERLAY_CLUSTER_BYTES, OVERLAY_EXTENDED_L2};
    for (size_t i = 0; i < DRIVERS_MAX && drivers[i]; i++) {
        const struct image_spec spec = {.size_bytes = size_bytes,
                                        .cluster_bytes = shape.cluster_bytes,
                                        .extended_l2 = shape.extended_l2};
        struct err ignored;
        int fitted = drivers[i]->supports_backing && drivers[i]->create
                         ? drivers[i]->create(-1, &spec, &ignored)
                         : -1;
        if (fitted > 0)
            shape.cluster_bytes = (uint32_t)fitted;
    }
    return shape;
}

void driver_register(const struct driver *driver)
{
    size_t i = 0;
    while (i < DRIVERS_MAX && drivers[i] && strcmp(drivers[i]->name, driver->name) != 0)
        i++;
    assert(i < DRIVERS_MAX);
    drivers[i] = driver;
}
