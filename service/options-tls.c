/* SPDX-License-Identifier: Apache-2.0
 *
 * See options-tls.h. An option that has no effect would leave an operator in the belief that it
 * has.
 */
#include "service/options-tls.h"

#include <stddef.h>
#include <string.h>

const char *options_tls_address(const char *address)
{
    static const char prefix[] = OPTIONS_TLS_PREFIX;
    return strncmp(address, prefix, sizeof(prefix) - 1) == 0 ? address + sizeof(prefix) - 1 : NULL;
}

bool options_have_rest_tls(const struct option_addresses *listen)
{
    for (size_t i = 0; i < listen->count; i++)
        if (options_tls_address(listen->list[i]))
            return true;
    return false;
}

/* Whether the text is "NAME=SCOPE". */
static bool client_scope_is_valid(const char *text)
{
    const char *scope = strrchr(text, '=');
    return scope && scope > text &&
           (strcmp(scope, "=read") == 0 || strcmp(scope, "=snapshot") == 0 ||
            strcmp(scope, "=admin") == 0);
}

static int client_scopes_check(const struct tls_options *options, struct err *err)
{
    for (size_t i = 0; i < options->client_scopes->count; i++)
        if (!client_scope_is_valid(options->client_scopes->list[i]))
            return err_set(err, ErrInvalidParameter, 0,
                           "--tls-client-scope '%s' is not NAME=read, NAME=snapshot or NAME=admin",
                           options->client_scopes->list[i]);
    return 0;
}

static const char *rest_find_wrong(const struct tls_options *options)
{
    bool has_tls = options_have_rest_tls(options->listen);
    for (size_t i = 0; i < options->listen->count; i++) {
        const char *address = options_tls_address(options->listen->list[i]);
        if (address && strncmp(address, "unix:", 5) == 0)
            return "--listen tls:unix:PATH: TLS is for TCP addresses; use unix:PATH";
    }
    if (has_tls && !options->cert_dir)
        return "--listen tls:ADDR:PORT needs --tls-cert-dir";
    if (options->client_scopes->count > 0 && !has_tls)
        return "--tls-client-scope needs --listen tls:ADDR:PORT";
    if (options->cert_dir && !has_tls && options->nbd->cert_dir != options->cert_dir)
        return "--tls-cert-dir needs --listen tls:ADDR:PORT, or --nbd-tls";
    return NULL;
}

static const char *nbd_find_wrong(const struct nbd_tls_spec *tls)
{
    if (tls->mode == NBD_TLS_OFF && (tls->cert_dir || tls->psk_file || tls->verify_peer))
        return "--nbd-tls-* options need --nbd-tls optional or required";
    if (tls->mode != NBD_TLS_OFF && !tls->cert_dir && !tls->psk_file)
        return "--nbd-tls needs --nbd-tls-cert-dir, --nbd-tls-psk, or both";
    if (tls->verify_peer && !tls->cert_dir)
        return "--nbd-tls-verify-peer needs --nbd-tls-cert-dir";
    return NULL;
}

int options_settle_tls(const struct tls_options *options, struct err *err)
{
    struct nbd_tls_spec *nbd = options->nbd;
    if (nbd->mode != NBD_TLS_OFF && !nbd->cert_dir && (nbd->verify_peer || !nbd->psk_file))
        nbd->cert_dir = options->cert_dir;
    const char *wrong = nbd_find_wrong(nbd);
    if (!wrong)
        wrong = rest_find_wrong(options);
    if (wrong)
        return err_set(err, ErrInvalidParameter, 0, "%s", wrong);
    return client_scopes_check(options, err);
}
