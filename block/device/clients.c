/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may open the exports of a device. See clients.h.
 *
 * A list never changes: a new one takes its place. Who has been admitted is not asked again.
 */
#include "block/device/clients.h"

#include "block/devices.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct allowed_clients {
    atomic_uint references;
    size_t count;
    char *names[];
};

static void allowed_clients_free(struct allowed_clients *clients)
{
    for (size_t i = 0; i < clients->count; i++)
        free(clients->names[i]);
    free(clients);
}

struct allowed_clients *allowed_clients_new(const char *const *names, size_t count, struct err *err)
{
    assert(count > 0);
    struct allowed_clients *clients = calloc(1, sizeof(*clients) + count * sizeof(*clients->names));
    if (clients) {
        atomic_init(&clients->references, 1);
        while (clients->count < count &&
               (clients->names[clients->count] = strdup(names[clients->count])))
            clients->count++;
        if (clients->count == count)
            return clients;
        allowed_clients_free(clients);
    }
    err_set(err, ErrOutOfResources, ENOMEM, "the list of clients cannot be kept");
    return NULL;
}

struct allowed_clients *allowed_clients_ref(struct allowed_clients *clients)
{
    if (clients)
        atomic_fetch_add(&clients->references, 1);
    return clients;
}

void allowed_clients_unref(struct allowed_clients *clients)
{
    if (!clients)
        return;
    unsigned before = atomic_fetch_sub(&clients->references, 1);
    assert(before > 0);
    if (before == 1)
        allowed_clients_free(clients);
}

bool allowed_clients_admit(const struct allowed_clients *clients, const struct client_names *client)
{
    assert(client->count <= CLIENT_NAMES_MAX);
    if (!clients)
        return true;
    for (size_t i = 0; i < clients->count; i++)
        for (size_t j = 0; j < client->count; j++)
            if (strcmp(clients->names[i], client->names[j]) == 0)
                return true;
    return false;
}

int client_report_refusal(const struct client_names *client, const char *export, struct err *err)
{
    if (client->count == 0)
        return err_set(err, ErrForbidden, 0,
                       "export '%s' is limited to certain clients; connect with TLS, and with the "
                       "certificate or pre-shared key of one of them",
                       export);
    return err_set(err, ErrForbidden, 0,
                   "export '%s' is limited to other clients than '%s'; use the certificate or "
                   "pre-shared key of one of them, or have this name added to allowed_clients",
                   export, client->names[0]);
}
