/* SPDX-License-Identifier: Apache-2.0
 *
 * A device as JSON.
 */
#ifndef SERVICE_HTTP_DEVICE_ENCODE_H
#define SERVICE_HTTP_DEVICE_ENCODE_H

#include "service/device-views.h"
#include "service/http/reply.h"

#include <cjson/cJSON.h>

/* The caller owns it; NULL, or with members missing, if memory is short. */
struct cJSON *device_encode(const struct service *service, const struct device_view *view);

/* Replies with the device, and its tag. */
void reply_device(const struct service *service, struct reply *reply,
                  const struct device_view *view);

#endif
