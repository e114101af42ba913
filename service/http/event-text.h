/* SPDX-License-Identifier: Apache-2.0
 *
 * An event as JSON, and as a message of a text/event-stream (WHATWG HTML, section 9.2).
 */
#ifndef SERVICE_HTTP_EVENT_TEXT_H
#define SERVICE_HTTP_EVENT_TEXT_H

#include "store/event-row.h"

struct cJSON;

struct cJSON *event_encode(const struct event_row *row);

/* "id: 7", "event: group.committed", "data: {...}", an empty line; heap, or NULL without memory. */
char *event_format(const struct event_row *row);

#endif
