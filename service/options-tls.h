/* SPDX-License-Identifier: Apache-2.0
 *
 * The options of TLS, which depend on each other. Called by options.c and daemon.c.
 */
#ifndef SERVICE_OPTIONS_TLS_H
#define SERVICE_OPTIONS_TLS_H

#include "base/err.h"
#include "block/block.h"
#include "service/option-value.h"

#include <stdbool.h>

#define OPTIONS_TLS_PREFIX "tls:" /* before an address of --listen */

/* Why an address of --listen beyond loopback is refused without "tls:". */
#define OPTIONS_REST_LOCAL_ONLY                                                                    \
    "REST serves other machines with TLS only: write tls:ADDR:PORT, and --tls-cert-dir DIR"

/* The options in question. */
struct tls_options {
    const struct option_addresses *listen;
    const char *cert_dir;
    const struct option_addresses *client_scopes;
    struct nbd_tls_spec *nbd;
};

/* Lets NBD use the certificates of REST where it has none of its own, then checks that the options
 * go together. InvalidParameter. */
int options_settle_tls(const struct tls_options *options, struct err *err);

/* The address without "tls:" before it; NULL: it has none. */
const char *options_tls_address(const char *address);

/* Whether REST is served with TLS anywhere. */
bool options_have_rest_tls(const struct option_addresses *listen);

#endif
