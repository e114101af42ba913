/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLOCK_NBD_HANDSHAKE_H
#define BLOCK_NBD_HANDSHAKE_H

struct nbd_connection;

/* The handshake, on the connection's thread. 0: the session has a device in use, and transmission
 * follows; -errno: hang up. */
int nbd_handshake(struct nbd_connection *connection);

#endif
