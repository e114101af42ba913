/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLOCK_NBD_TRANSMISSION_H
#define BLOCK_NBD_TRANSMISSION_H

struct nbd_connection;

/* The transmission phase, on the connection's thread: serves requests until either side ends it. */
void nbd_transmission(struct nbd_connection *connection);

#endif
