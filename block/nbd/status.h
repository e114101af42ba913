/* SPDX-License-Identifier: Apache-2.0
 *
 * BLOCK_STATUS. Any thread.
 */
#ifndef BLOCK_NBD_STATUS_H
#define BLOCK_NBD_STATUS_H

#include "block/nbd/session.h"

/* Decodes the payload: fills in length and contexts. 0 or -EINVAL. */
int nbd_status_decode(const struct nbd_session *session, struct nbd_request *request,
                      const unsigned char *payload);

/* As nbd_request_reply_bytes() and nbd_request_execute(). */
size_t nbd_status_reply_bytes(const struct nbd_request *request);
size_t nbd_status(const struct nbd_session *session, const struct nbd_request *request,
                  unsigned char *reply);

#endif
