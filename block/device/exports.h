/* SPDX-License-Identifier: Apache-2.0
 *
 * How an export reaches devices: by name, counted, so that detach can refuse while a client is
 * connected. Implemented in block/device/registry.c. Any thread.
 */
#ifndef BLOCK_DEVICE_EXPORTS_H
#define BLOCK_DEVICE_EXPORTS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block;
struct device;
struct nbd_server;
struct nbd_tls_spec;

/* Finds a published device, or opens a frozen member ("vda@group", read-only), and counts one user.
 * NULL and *err: DeviceNotFound, DeviceFailed, OpenFileFailed, InvalidBlockFormat. */
struct device *export_use(struct block *block, const char *name, struct err *err);
void export_unuse(struct block *block, struct device *device);

/* Whether there is such an export, without opening anything: 0, or -1 and *err as above. */
int export_check(struct block *block, const char *name, struct err *err);

/* How far a list has got; begins as zeros. Exports may come and go between two calls: none that stays is
 * left out or named twice. */
struct export_cursor {
    uint64_t device, frozen; /* the last ones' serial numbers */
};

/* Calls `each` for the name of every export that the cursor has not passed yet, devices first. Stops at
 * the first non-zero, which it returns, and comes back to that name. A lock that all exports need is
 * held: `each` waits for nothing and stops soon. */
int export_list(struct block *block, struct export_cursor *cursor,
                int (*each)(void *arg, const char *name), void *arg);

/* nbd/server.c: one server per block layer, any number of listening addresses. */
struct nbd_server *nbd_server_new(struct block *block);

/* TLS for all addresses, which are named after this. Codes: OpenFileFailed, InvalidValue. */
int nbd_server_set_tls(struct nbd_server *server, const struct nbd_tls_spec *spec, struct err *err);

int nbd_server_listen(struct nbd_server *server, const char *address, struct err *err);

/* The address of that number as it was bound; NULL past the last one. */
const char *nbd_server_address(const struct nbd_server *server, size_t index);

/* The address to send clients to, never a wildcard; NULL if there is none. */
const char *nbd_server_reach(const struct nbd_server *server);

/* Whether a client at nbd_server_reach() must use TLS. */
bool nbd_server_needs_tls(const struct nbd_server *server);

/* Stops listening; every connection finishes the requests it has received, then closes; frees. */
void nbd_server_free(struct nbd_server *server);

#endif
