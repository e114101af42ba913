/* SPDX-License-Identifier: Apache-2.0
 *
 * READ. Any thread.
 */
#ifndef BLOCK_NBD_READ_H
#define BLOCK_NBD_READ_H

#include "block/nbd/session.h"

/* As nbd_request_reply_bytes() and nbd_request_execute(). */
size_t nbd_read_reply_bytes(const struct nbd_session *session, const struct nbd_request *request);
size_t nbd_read(const struct nbd_session *session, const struct nbd_request *request,
                unsigned char *reply, bool cached);

/* Offset of the data in a READ's reply, if they are one piece. */
size_t nbd_read_data_offset(const struct nbd_session *session);

/* Executes the next piece of a READ of which *done bytes are answered, writes its part of the reply
 * and adds to *done. Returns the length; 0: an error that can no longer be reported. */
size_t nbd_read_piece(const struct nbd_session *session, const struct nbd_request *request,
                      uint64_t *done, unsigned char *reply);

#endif
