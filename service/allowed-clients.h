/* SPDX-License-Identifier: Apache-2.0
 *
 * The NBD clients that may open the exports of a device, between the text of a row and the block
 * layer's list. The text is a JSON array of names, or NULL: everybody.
 */
#ifndef SERVICE_ALLOWED_CLIENTS_H
#define SERVICE_ALLOWED_CLIENTS_H

#include "base/cleanup.h"
#include "block/block.h"

CLEANUP_DEFINE(allowed_clients, struct allowed_clients *, allowed_clients_unref)

/* *list is a reference, NULL for NULL. OutOfResources; StoreFailed: the text is no such array. */
int allowed_clients_parse(const char *text, struct allowed_clients **list, struct err *err);

#endif
