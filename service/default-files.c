/* SPDX-License-Identifier: Apache-2.0
 *
 * See default-files.h.
 */
#include "service/default-files.h"

#include "base/cleanup.h"
#include "block/block.h"
#include "service/context.h"
#include "store/images.h"

#include <errno.h>
#include <stdio.h>

static char *default_file_name(const char *device, const char *group, unsigned number,
                               struct err *err)
{
    char tail[16] = "";
    char *name;
    const char *plus = group || number > 1 ? "+" : "";
    if (number > 1)
        snprintf(tail, sizeof(tail), "+%u", number);
    if (asprintf(&name, "%s%s%s%s.qcow2", device, plus, group ? group : "", tail) >= 0)
        return name;
    err_set(err, ErrOutOfResources, ENOMEM, "there is no memory for the name of a file");
    return NULL;
}

static bool default_file_is_taken(struct service *service, const char *name)
{
    struct err err;
    bool is_taken;
    CLEANUP_FREE char *path = block_resolve_new(service->block, name, &is_taken, &err);
    return path && (is_taken || store_image_is_needed(service->store, path, &err) > 0);
}

char *default_file_choose(struct service *service, const char *device, const char *group,
                          struct err *err)
{
    for (unsigned number = 1;; number++) {
        char *name = default_file_name(device, group, number, err);
        if (!name || !default_file_is_taken(service, name))
            return name;
        free(name);
    }
}
