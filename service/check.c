/* SPDX-License-Identifier: Apache-2.0
 *
 * See check.h.
 */
#include "service/check.h"

#include "base/listener.h"
#include "service/http/certificates.h"
#include "service/options-tls.h"

#include <errno.h>
#include <sys/stat.h>

static int rest_check(const struct options *options, struct err *err)
{
    struct listen_address parsed;
    for (size_t i = 0; i < options->listen.count; i++) {
        const char *text = options->listen.list[i], *tls = options_tls_address(text);
        if (listener_parse(&parsed, tls ? tls : text, tls ? NULL : OPTIONS_REST_LOCAL_ONLY, err) !=
            0)
            return -1;
    }
    if (!options_have_rest_tls(&options->listen))
        return 0;
    return http_certificates_check(options->tls_cert_dir, err);
}

static int image_dir_check(const struct options *options, struct err *err)
{
    struct stat stat_;
    if (!options->image_dir_given)
        return 0;
    int errnum = stat(options->image_dir, &stat_) != 0 ? errno
                 : S_ISDIR(stat_.st_mode)              ? 0
                                                       : ENOTDIR;
    if (errnum)
        return err_set(err, ErrOpenFileFailed, errnum, "cannot open directory '%s'",
                       options->image_dir);
    return 0;
}

int check_options(const struct options *options, struct err *err)
{
    return image_dir_check(options, err) == 0 && rest_check(options, err) == 0 &&
                   block_nbd_check(&options->nbd_tls, options->nbd.list, options->nbd.count, err) ==
                       0
               ? 0
               : -1;
}
