/* SPDX-License-Identifier: Apache-2.0
 *
 * Which peers may connect, and how many of them. On the accepting thread, except for
 * nbd_connection_enter_locked().
 */
#ifndef BLOCK_NBD_ADMISSION_H
#define BLOCK_NBD_ADMISSION_H

#include "block/nbd/connection.h"

/* Whether the peer may speak to us; prepares its socket and says who it is. */
bool nbd_peer_admit(const struct listener *listener, int fd, struct nbd_peer *peer);

/* Who is at the other end of a connection, for refusals to name. */
void nbd_peer_describe(const struct nbd_connection *connection, struct err_client *client);

/* Whether at least `spare` descriptors are free beside `fd`, the newest one. */
bool nbd_files_are_spared(int fd, unsigned spare);

/* Takes a place for a connection of that peer, of which the caller sets up `live`: 0, or -EUSERS if
 * those that it may have are taken. If there are too many handshakes, the oldest ends. */
int nbd_admit_locked(struct nbd_server *server, const struct nbd_peer *peer);

/* Moves a connection to a later state (server.c); an evicted one stays so until it is finished. */
void nbd_connection_enter_locked(struct nbd_connection *connection,
                                 enum nbd_connection_state state);

#endif
