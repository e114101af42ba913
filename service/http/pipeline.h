/* SPDX-License-Identifier: Apache-2.0
 *
 * From a connection's requests to their replies.
 */
#ifndef SERVICE_HTTP_PIPELINE_H
#define SERVICE_HTTP_PIPELINE_H

struct http_connection;

/* Serves a connection to its end, on its own thread; does not close it. */
void http_pipeline_serve(struct http_connection *connection);

#endif
