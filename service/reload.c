/* SPDX-License-Identifier: Apache-2.0
 *
 * See reload.h. What can fail comes first, and changes nothing until the last of it has succeeded:
 *
 *   options, the runtime directory, REST's sockets and certificates -> NBD's certificates and keys
 *   -> all of it is applied
 *
 * The service manager is notified of the beginning and of the end (sd_notify(3)).
 */
#include "service/reload.h"

#include "base/log.h"
#include "service/context.h"
#include "service/directory.h"
#include "service/http/server.h"
#include "store/idempotency.h"

#include <systemd/sd-daemon.h>

enum { NAMES_BYTES = 512 };

static int reload_apply(const struct reload *reload, const struct options *options,
                        struct http *http, struct err *err)
{
    const struct http_terms terms = {.groups = &options->allow_groups,
                                     .scopes = &options->tls_client_scopes,
                                     .cert_dir = options->tls_cert_dir};
    if (options->allow_groups.count > 0 && directory_admit(reload->runtime_dir, err) != 0)
        return -1;
    if (http_prepare_terms(http, &terms, err) != 0)
        return -1;
    if (block_nbd_set_tls(reload->service->block, &options->nbd_tls, err) != 0) {
        http_cancel_terms(http);
        return -1;
    }
    http_apply_terms(http, &terms);
    block_set_index_memory(reload->service->block, options->index_memory_bytes);
    block_set_table_memory(options->table_memory_bytes);
    store_keys_keep(reload->service->store, options->idempotency_retention_s);
    return 0;
}

/* Changes the log, and says there what has changed: also if the level is raised or lowered. */
static void reload_log(const struct reload *reload, const struct options *options)
{
    char changed[NAMES_BYTES], missing[NAMES_BYTES];
    const struct options *before = reload->applied ? reload->applied : reload->started;
    options_changes(before, options, true, changed, sizeof(changed));
    options_changes(reload->started, options, false, missing, sizeof(missing));
    log_set_form(options->log_form);
    if (options->log_level > before->log_level)
        log_set_level(options->log_level);
    log_event(*missing ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, NULL, 0, "reloaded%s%s%s%s",
              *changed ? ": changed " : "", changed, *missing ? "; a restart is needed for " : "",
              missing);
    log_set_level(options->log_level);
}

static void options_free(struct options *options)
{
    if (options)
        options_clear(options);
    free(options);
}
CLEANUP_DEFINE(options, struct options *, options_free)

static int reload_try(struct reload *reload, struct http *http, struct err *err)
{
    CLEANUP(options) struct options *options = calloc(1, sizeof(*options));
    if (!options)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the options");
    if (options_parse(reload->started->argc, reload->started->argv, options, err) != 0 ||
        reload_apply(reload, options, http, err) != 0)
        return -1;
    reload_log(reload, options);
    options_free(reload->applied);
    reload->applied = steal(options);
    return 0;
}

void reload_run(struct reload *reload, struct http *http)
{
    struct err err;
    sd_notify(0, "RELOADING=1");
    if (reload_try(reload, http, &err) != 0)
        log_error("nothing was reloaded: %s", err.message);
    sd_notify(0, "READY=1");
}

void reload_close(struct reload *reload)
{
    options_free(steal(reload->applied));
}
