/* SPDX-License-Identifier: Apache-2.0
 *
 * One large request, executed and answered on the connection's thread, in pieces that fit the
 * connection's own memory. Nonzero: the connection must end.
 */
#ifndef BLOCK_NBD_PIECES_H
#define BLOCK_NBD_PIECES_H

#include "block/nbd/connection.h"

/* A checked READ; `out` is empty. */
int nbd_read_in_pieces(struct nbd_connection *connection, const struct nbd_request *request);

/* A request of which a part has arrived and the header is at the head of `in`. */
int nbd_write_in_pieces(struct nbd_connection *connection, const struct nbd_request *request);

#endif
