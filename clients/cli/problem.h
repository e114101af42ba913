/* SPDX-License-Identifier: Apache-2.0
 *
 * What a reply that is an error means: whether to try again, and which exit status.
 */
#ifndef CLI_PROBLEM_H
#define CLI_PROBLEM_H

#include "clients/cli/client.h"

#include <cjson/cJSON.h>

/* Fills the failure, with the body as it came; the reply may be any with a status from 400 on. */
int problem_fail(const struct reply *reply, struct failure *failure);

/* Whether the problem says that the same request may succeed later. */
bool problem_may_pass(const cJSON *problem, long status);

/* Whether it says that the first try of this request is still running. */
bool problem_is_running(const cJSON *problem);

/* Of a job or a group: a failure by the problem in `error`, which may be null. */
int problem_fail_work(const cJSON *error, const char *what, struct failure *failure);

#endif
