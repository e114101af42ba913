/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata contexts in the handshake.
 */
#ifndef BLOCK_NBD_META_H
#define BLOCK_NBD_META_H

#include "block/nbd/option.h"

/* LIST_META_CONTEXT and SET_META_CONTEXT. */
int nbd_meta_option(struct nbd_handshake *handshake);

/* The device is about to be chosen: puts to use what the session's contexts need. Codes: of
 * export_use(), NotRelated. */
int nbd_meta_begin(struct nbd_handshake *handshake, struct device *device, struct err *err);

/* Whether the session's contexts were selected for this export. */
bool nbd_meta_contexts_are_of(const struct nbd_handshake *handshake, const unsigned char *name,
                              size_t length);

#endif
