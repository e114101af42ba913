/* SPDX-License-Identifier: Apache-2.0
 *
 * See problem.h. A server in between may send anything: what is no problem is known by its status.
 */
#include "clients/cli/problem.h"

#include <string.h>

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

bool problem_may_pass(const cJSON *problem, long status)
{
    const cJSON *retryable = cJSON_GetObjectItemCaseSensitive(problem, "retryable");
    return cJSON_IsBool(retryable) ? cJSON_IsTrue(retryable)
                                   : status == 429 || status == 502 || status == 503;
}

bool problem_is_running(const cJSON *problem)
{
    return strcmp(text_of(problem, "code"), "IdempotencyInProgress") == 0;
}

static enum exit_status status_of(const cJSON *problem, long status)
{
    if (status == 404)
        return EXIT_NOT_FOUND;
    if (problem_is_running(problem))
        return EXIT_UNREACHABLE;
    if (status == 409 || status == 412)
        return EXIT_CONFLICT;
    return problem_may_pass(problem, status) ? EXIT_UNREACHABLE : EXIT_REFUSED;
}

int problem_fail(const struct reply *reply, struct failure *failure)
{
    cJSON *problem = reply->is_json && reply->body ? cJSON_Parse(reply->body) : NULL;
    const char *detail = text_of(problem, "detail"), *id = text_of(problem, "request_id");
    enum exit_status status = status_of(problem, reply->status);
    free(failure->problem);
    failure->problem = problem ? strdup(reply->body) : NULL;
    if (*detail)
        fail(failure, status, "%s (%s%s%s)", detail, text_of(problem, "code"),
             *id ? ", request " : "", id);
    else
        fail(failure, status, "the reply has status %ld and no explanation", reply->status);
    cJSON_Delete(problem);
    return -1;
}

int problem_fail_work(const cJSON *error, const char *what, struct failure *failure)
{
    long status = (long)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(error, "status"));
    if (!cJSON_IsObject(error))
        return fail(failure, EXIT_REFUSED, "%s", what);
    free(failure->problem);
    failure->problem = cJSON_PrintUnformatted(error);
    return fail(failure, status_of(error, status), "%s: %s (%s)", what, text_of(error, "detail"),
                text_of(error, "code"));
}
