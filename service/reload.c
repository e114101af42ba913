/* SPDX-License-Identifier: Apache-2.0
 *
 * See reload.h. The service manager is notified of the beginning and of the end (sd_notify(3)).
 */
#include "service/reload.h"

#include "base/log.h"

#include <systemd/sd-daemon.h>

static void reload_apply(const struct options *started, const struct options *options,
                         reload_certificates *certificates, void *context)
{
    char names[512];
    log_set_form(options->log_form);
    log_set_level(options->log_level);
    certificates(context);
    options_changes(started, options, names, sizeof(names));
    if (*names)
        log_warning("reloaded; a restart is needed for %s", names);
    else
        log_info("reloaded");
}

void reload_run(const struct options *started, bool is_ready, reload_certificates *certificates,
                void *context)
{
    struct err err;
    CLEANUP_BY(options_clear) struct options options = {0};
    if (is_ready)
        sd_notify(0, "RELOADING=1");
    if (options_parse(started->argc, started->argv, &options, &err) == 0)
        reload_apply(started, &options, certificates, context);
    else
        log_error("nothing was reloaded: %s", err.message);
    if (is_ready)
        sd_notify(0, "READY=1");
}
