/* SPDX-License-Identifier: Apache-2.0
 *
 * Where an NBD export is served, taken apart from its URI or from --nbd.
 */
#ifndef CLI_EXPORT_H
#define CLI_EXPORT_H

#include "clients/cli/failure.h"

#include <stdbool.h>

#define EXPORT_PORT_DEFAULT 10809

struct export
{
    char *name;
    char *socket; /* or NULL: over TCP */
    char *host;   /* without brackets; a name or an address */
    int port;
    bool has_tls;
    bool is_read_only;
    const char *cert_dir; /* of the client, or NULL: where the program looks by itself */
};
void export_release(struct export *export);

/* Fills all but `is_read_only` and `cert_dir` by a URI of NBD: nbd+unix:///NAME?socket=PATH,
 * nbd://HOST[:PORT]/NAME, nbds and nbds+unix alike. */
int export_parse_uri(struct export *export, const char *uri, struct failure *failure);

/* The same by a name, and by unix:PATH, HOST[:PORT] or tls:HOST[:PORT]. EXIT_USAGE. */
int export_parse_address(struct export *export, const char *name, const char *address,
                         struct failure *failure);

/* Its URI, which the caller frees; NULL without memory. */
char *export_uri(const struct export *export);

#endif
