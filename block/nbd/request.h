/* SPDX-License-Identifier: Apache-2.0
 *
 * One request of the transmission phase: decoded, checked, executed, answered; by any thread. The
 * connection's thread alone decides which (transmission.c).
 *
 *     request.c --> read.c    READ, in one chunk or in several
 *         |    `--> status.c  BLOCK_STATUS
 *         `-------> reply.c   replies on the wire
 */
#ifndef BLOCK_NBD_REQUEST_H
#define BLOCK_NBD_REQUEST_H

#include "block/nbd/buffer.h"
#include "block/nbd/messages.h"
#include "block/nbd/session.h"

/* What stands at the head of the input. */
enum nbd_head { NBD_HEAD_PARTIAL, NBD_HEAD_COMPLETE, NBD_HEAD_GARBAGE };

size_t nbd_request_header_bytes(const struct nbd_session *session);

/* Decodes the head of the input; *missing is how many bytes a partial request still lacks, as far
 * as is known. A payload over the limit is not waited for: such a request is complete. */
enum nbd_head nbd_request_decode(const struct nbd_session *session, const struct nbd_buffer *in,
                                 struct nbd_request *request, size_t *missing);

/* Whether the client asks for something that there is: 0 or -errno. Takes in what the payload says
 * about the request; afterwards payload_bytes counts data only. */
int nbd_request_check(const struct nbd_session *session, struct nbd_request *request,
                      const unsigned char *payload);

/* Whether executing it may take long whatever is in memory. */
bool nbd_request_is_slow(const struct nbd_request *request);

/* The most that its reply takes on the wire; of none (NULL), what any refusal takes. */
size_t nbd_request_reply_bytes(const struct nbd_session *session,
                               const struct nbd_request *request);

/* Executes a checked request and writes its reply, whether good or not, to `reply`. Returns the
 * reply's length. With `cached` it waits for no disk, for which the request must not be slow: then
 * 0 means that it would have had to, and nothing has happened. */
size_t nbd_request_execute(const struct nbd_session *session, const struct nbd_request *request,
                           const void *payload, unsigned char *reply, bool cached);

/* Executes a checked request whose reply has no data, and leaves the reply to the caller: 0 or
 * -errno. With `cached` as above: -EAGAIN. -ESHUTDOWN: the server stops, and part of the request
 * may have been executed. */
int nbd_request_run(const struct nbd_session *session, const struct nbd_request *request,
                    const void *payload, bool cached);

#endif
