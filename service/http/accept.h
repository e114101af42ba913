/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client takes for a reply: the header Accept (RFC 9110, section 12.5.1). Of all ranges that
 * match a media type the most specific one decides, with q=0 against it. Parameters other than q
 * are ignored; a range that is malformed matches nothing.
 */
#ifndef SERVICE_HTTP_ACCEPT_H
#define SERVICE_HTTP_ACCEPT_H

#include "service/http/request.h"

/* Whether the client takes `type` ("application/json"); so does one that does not say. */
bool request_accepts(const struct request *request, const char *type);

/* Whether the client names the coding gzip, and not to refuse it (section 12.5.3). */
bool request_accepts_gzip(const struct request *request);

#endif
