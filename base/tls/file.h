/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of TLS: read whole, never open to everybody if they are secret.
 */
#ifndef BASE_TLS_FILE_H
#define BASE_TLS_FILE_H

#include "base/err.h"

#include <gnutls/gnutls.h>
#include <stdbool.h>

/* Overwrites the content and frees it. */
void tls_datum_clear(gnutls_datum_t *datum);

/* Reads the whole file, and a NUL behind it that is not counted. A secret one must not be
 * accessible to others. Codes: OpenFileFailed, InvalidValue, OutOfResources; all name the file. */
int tls_file_read(const char *path, bool secret, gnutls_datum_t *content, struct err *err);

/* Sets InvalidValue: the library's `error`, or 0: the file is empty. Returns -1. */
int tls_file_useless(const char *path, int error, struct err *err);

#endif
