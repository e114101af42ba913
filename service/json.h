/* SPDX-License-Identifier: Apache-2.0
 *
 * cJSON for use cases: what jobs keep as text.
 */
#ifndef SERVICE_JSON_H
#define SERVICE_JSON_H

#include "base/cleanup.h"

#include <cjson/cJSON.h>

CLEANUP_DEFINE(cjson, cJSON *, cJSON_Delete)

#endif
