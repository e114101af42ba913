/* SPDX-License-Identifier: Apache-2.0
 *
 * See allowed-clients.h.
 */
#include "service/allowed-clients.h"

#include <cjson/cJSON.h>

CLEANUP_DEFINE(array, struct cJSON *, cJSON_Delete)

int allowed_clients_parse(const char *text, struct allowed_clients **list, struct err *err)
{
    size_t count = 0;
    *list = NULL;
    if (!text)
        return 0;
    CLEANUP(array) struct cJSON *array = cJSON_Parse(text);
    int size = cJSON_GetArraySize(array);
    CLEANUP_FREE const char **names = calloc((size_t)size + 1, sizeof(*names));
    if (!array || !names)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for a list of clients");
    const struct cJSON *name;
    cJSON_ArrayForEach(name, array)
    {
        if (cJSON_IsString(name))
            names[count++] = name->valuestring;
    }
    if (count == 0 || count != (size_t)size)
        return err_set(err, ErrStoreFailed, 0, "the store has a list of clients that is none");
    *list = allowed_clients_new(names, count, err);
    return *list ? 0 : -1;
}
