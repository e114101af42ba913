/* SPDX-License-Identifier: Apache-2.0
 *
 * See client-names.h.
 */
#include "service/http/client-names.h"

#include "base/tls/peer.h"
#include "service/context.h"

#include <assert.h>
#include <string.h>

#define POINTER "/allowed_clients"

/* Whether a client can have the name (base/tls/peer.h). */
static bool name_is_possible(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++)
        if (name[i] < ' ' || name[i] > '~')
            return false;
    return length > 0 && length <= ALLOWED_CLIENT_BYTES_MAX;
}

static int name_check(const struct cJSON *names, const struct cJSON *name, struct err *err)
{
    static_assert(ALLOWED_CLIENT_BYTES_MAX == TLS_NAME_BYTES - 1, "every name that is known");
    if (!cJSON_IsString(name))
        return err_set(err, ErrWrongType, 0, "a client's name must be a string");
    if (!name_is_possible(name->valuestring))
        return err_set(err, ErrInvalidValue, 0,
                       "a client's name has 1 to %d printable ASCII characters",
                       ALLOWED_CLIENT_BYTES_MAX);
    for (const struct cJSON *other = names->child; other != name; other = other->next)
        if (strcmp(other->valuestring, name->valuestring) == 0)
            return err_set(err, ErrInvalidValue, 0, "client '%s' is named twice; name each once",
                           name->valuestring);
    return 0;
}

/* Names that nobody can prove would shut everybody out. */
static int names_check_use(const struct service *service, struct err *err)
{
    if (block_nbd_knows_clients(service->block))
        return 0;
    return err_set(err, ErrInvalidValue, 0,
                   "NBD clients of this daemon prove no names, so nobody could connect; start it "
                   "with --nbd-tls and with --nbd-tls-verify-peer or --nbd-tls-psk, or leave "
                   "'allowed_clients' out");
}

static int names_check(const struct service *service, const struct cJSON *names,
                       struct problem *problem)
{
    size_t position = 0;
    const struct cJSON *name;
    int count = cJSON_GetArraySize(names);
    if (count == 0 || count > ALLOWED_CLIENTS_MAX) {
        err_set(&problem->err, ErrInvalidValue, 0,
                "'allowed_clients' has 1 to %d names; leave it out to admit everybody, or send "
                "null in a PATCH",
                ALLOWED_CLIENTS_MAX);
        return problem_point(problem, POINTER);
    }
    cJSON_ArrayForEach(name, names)
    {
        if (name_check(names, name, &problem->err) != 0)
            return problem_point(problem, POINTER "/%zu", position);
        position++;
    }
    return names_check_use(service, &problem->err) != 0 ? problem_point(problem, POINTER) : 0;
}

char *decode_allowed_clients(const struct service *service, const struct cJSON *json,
                             struct problem *problem)
{
    if (names_check(service, json, problem) != 0)
        return NULL;
    char *text = cJSON_PrintUnformatted(json);
    if (!text)
        err_set(&problem->err, ErrOutOfResources, 0, "there is no memory for the list of clients");
    return text;
}
