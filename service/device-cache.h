/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of devices, and their texts, which are read far more often than anything
 * changes. An entry is right as long as no row of `devices` has changed (store_devices_generation)
 * and, for its text, the device's stamp is the same (block_device_stamps), and whether NBD needs
 * TLS. All are compared at every call: nobody has to remember to invalidate anything.
 */
#ifndef SERVICE_DEVICE_CACHE_H
#define SERVICE_DEVICE_CACHE_H

#include "service/device-views.h"

/* Texts beyond this are not kept. */
#define DEVICE_CACHE_BYTES ((size_t)16 << 20)

struct device_cache;

/* NULL and *err (OutOfResources). */
struct device_cache *device_cache_new(struct err *err);
void device_cache_free(struct device_cache *cache);

/* Makes a device's heap text; NULL without memory. */
typedef char *device_encoder(const struct service *service, const struct device_view *view);

/* A device's text, and what its version is made of. */
struct device_text {
    char *text; /* heap */
    size_t bytes;
    char id[STORE_ID_CHARS + 1];
    uint64_t revision;
};

/* As devices_get(), encoded: what it reports is looked at, and may wait for storage. */
int device_cache_get(struct service *service, const char *name, device_encoder *encode,
                     struct device_text *text, struct err *err);

/* A page of texts, as of devices_list(). Heap. */
struct device_page {
    char *text; /* separated by commas */
    size_t bytes;
    bool has_more;
    char last[DEVICE_NAME_MAX + 1]; /* if has_more: the name to continue after */
};

/* What a list has; all that is given must hold. Zeroed: all devices. */
#define DEVICE_FILTER_LABELS_MAX 8
struct device_filter {
    const char *name; /* or NULL */
    bool has_state, is_failed;
    size_t label_count;
    char
        *labels[DEVICE_FILTER_LABELS_MAX]; /* each as JSON has it within an object: "key":"value" */
};

/* A page looks at so many devices that the filter may not have: it may have fewer items than asked
 * for, or none, though the list goes on. */
#define DEVICE_SCAN_MAX 1000

/* Up to `limit` devices after the name `after` (NULL: from the first). OutOfResources, and codes of
 * the store. */
int device_cache_list(struct service *service, const struct device_filter *filter,
                      const char *after, size_t limit, device_encoder *encode,
                      struct device_page *page, struct err *err);

#endif
