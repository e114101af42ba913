/* SPDX-License-Identifier: Apache-2.0
 *
 * The NBD server: one per block layer, any number of listening addresses. Called by block.c.
 */
#ifndef BLOCK_NBD_SERVER_H
#define BLOCK_NBD_SERVER_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block;
struct nbd_server;
struct nbd_tls_spec;

/* NULL: out of memory or descriptors. */
struct nbd_server *nbd_server_new(struct block *block);

/* Whether nbd_server_set_tls() would succeed, and nbd_server_listen() take each address, as far as
 * that can be told without a socket. */
int nbd_server_check(const struct nbd_tls_spec *spec, const char *const *addresses, size_t count,
                     struct err *err);

/* TLS on every address, for connections that begin later; reads the files. On failure nothing
 * changes. Codes: OpenFileFailed; InvalidValue, also if an address beyond loopback is served and
 * clients would not have to prove who they are. */
int nbd_server_set_tls(struct nbd_server *server, const struct nbd_tls_spec *spec, struct err *err);

int nbd_server_listen(struct nbd_server *server, const char *address, struct err *err);

/* The address of that number as it was bound; NULL past the last one. */
const char *nbd_server_address(const struct nbd_server *server, size_t index);

/* The address to send clients to, never a wildcard; NULL if there is none. */
const char *nbd_server_reach(const struct nbd_server *server);

/* Connections now. */
unsigned nbd_server_connections(struct nbd_server *server);

/* The memory that connections share (budget.h). */
void nbd_server_memory(struct nbd_server *server, uint64_t *used_bytes, uint64_t *limit_bytes);

/* Whether a client at nbd_server_reach() must use TLS. */
bool nbd_server_needs_tls(const struct nbd_server *server);

/* Whether there are clients that prove their names, with a certificate or a pre-shared key. */
bool nbd_server_knows_clients(struct nbd_server *server);

/* Stops listening; every connection finishes the requests it has received, then closes. False: some
 * have requests that wait for storage, for that long since all others have ended; the server stays
 * as it is, and is not freed any more. Once. */
bool nbd_server_stop(struct nbd_server *server, unsigned hang_ms);

/* The same without a limit, if it was not stopped; frees. */
void nbd_server_free(struct nbd_server *server);

#endif
