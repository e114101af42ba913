/* SPDX-License-Identifier: Apache-2.0
 *
 * See check.h.
 */
#include "service/check.h"

#include "base/listen-address.h"
#include "service/http/certificates.h"
#include "service/options-tls.h"

#include <errno.h>
#include <sys/stat.h>

/* `may_be_remote`: addresses beyond loopback are served, too. */
static int address_check(const char *text, bool may_be_remote, const char *otherwise,
                         struct err *err)
{
    struct listen_address address;
    if (listen_address_parse(&address, text, err) != 0)
        return -1;
    bool is_remote = address.fd < 0 && !address.path && !tcp_address_is_loopback(&address.tcp);
    if (is_remote && !may_be_remote)
        return err_set(err, ErrInvalidValue, 0, "'%s' is not a loopback address: %s", text,
                       otherwise);
    return 0;
}

static int rest_check(const struct options *options, struct err *err)
{
    for (size_t i = 0; i < options->listen.count; i++) {
        const char *text = options->listen.list[i], *tls = options_tls_address(text);
        if (address_check(tls ? tls : text, tls != NULL,
                          "REST serves other machines with TLS only: write tls:ADDR:PORT, and "
                          "--tls-cert-dir DIR",
                          err) != 0)
            return -1;
    }
    if (!options_have_rest_tls(&options->listen))
        return 0;
    CLEANUP_BY(http_certificates_close) struct http_certificates certificates;
    http_certificates_open(&certificates);
    return http_certificates_load(&certificates, options->tls_cert_dir, err);
}

static int nbd_check(const struct options *options, struct err *err)
{
    bool proves = false;
    if (block_nbd_check_tls(&options->nbd_tls, &proves, err) != 0)
        return -1;
    for (size_t i = 0; i < options->nbd.count; i++)
        if (address_check(options->nbd.list[i], proves,
                          "NBD serves other machines only with TLS that authenticates every client",
                          err) != 0)
            return -1;
    return 0;
}

static int image_dir_check(const struct options *options, struct err *err)
{
    struct stat stat_;
    if (!options->image_dir_given)
        return 0;
    if (stat(options->image_dir, &stat_) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "cannot open directory '%s'",
                       options->image_dir);
    if (!S_ISDIR(stat_.st_mode))
        return err_set(err, ErrOpenFileFailed, ENOTDIR, "cannot open directory '%s'",
                       options->image_dir);
    return 0;
}

int check_options(const struct options *options, struct err *err)
{
    return image_dir_check(options, err) == 0 && rest_check(options, err) == 0 &&
                   nbd_check(options, err) == 0
               ? 0
               : -1;
}
