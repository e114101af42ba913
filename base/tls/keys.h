/* SPDX-License-Identifier: Apache-2.0
 *
 * Pre-shared keys: a file with a line "NAME:KEY" for each client, KEY in hexadecimal, as psktool
 * writes it. A name that begins with '#' is in hexadecimal.
 */
#ifndef BASE_TLS_KEYS_H
#define BASE_TLS_KEYS_H

#include "base/err.h"

#include <gnutls/gnutls.h>
#include <stddef.h>

struct psk_user;

/* Zeroed at first. Never changes once it is loaded. */
struct tls_keys {
    struct psk_user *users;
    size_t user_count;
};

/* To be cleared in every case. The message names the file: OpenFileFailed, InvalidValue. */
int tls_keys_load(struct tls_keys *keys, const char *path, struct err *err);
void tls_keys_clear(struct tls_keys *keys);

/* The key of that name, which the library frees. An unknown name fails as one with a wrong key
 * does, so that names cannot be tried out. 0 or -1. */
int tls_keys_answer(const struct tls_keys *keys, const gnutls_datum_t *name, gnutls_datum_t *key);

#endif
