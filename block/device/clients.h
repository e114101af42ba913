/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may open the exports of a device: lists of names, and clients that have some. Private to
 * block/. devices.h has what makes the lists.
 */
#ifndef BLOCK_DEVICE_CLIENTS_H
#define BLOCK_DEVICE_CLIENTS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { CLIENT_NAMES_MAX = 16 };

struct allowed_clients;

/* The names that a client has proven; none: it has proven nothing. Strings are borrowed. */
struct client_names {
    size_t count;
    const char *names[CLIENT_NAMES_MAX];
};

/* Whether the client has one of the names. No list (NULL) admits everybody. Reads memory that never
 * changes: any thread. */
bool allowed_clients_admit(const struct allowed_clients *clients,
                           const struct client_names *client);

/* Fills in the error of a client that is not admitted to the export: Forbidden. Returns -1. */
int client_report_refusal(const struct client_names *client, const char *export, struct err *err);

#endif
