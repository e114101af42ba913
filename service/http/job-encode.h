/* SPDX-License-Identifier: Apache-2.0
 *
 * A job as replies show it.
 */
#ifndef SERVICE_HTTP_JOB_ENCODE_H
#define SERVICE_HTTP_JOB_ENCODE_H

#include "store/jobs.h"

struct cJSON;

struct cJSON *job_encode(const struct job_row *row);

#endif
