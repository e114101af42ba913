/* SPDX-License-Identifier: Apache-2.0
 *
 * The options: command line, environment and configuration file, from one table (options.c).
 * Called by main.c.
 */
#ifndef SERVICE_OPTIONS_H
#define SERVICE_OPTIONS_H

#include "base/log.h"
#include "block/block.h"
#include "service/log-sink.h"
#include "service/option-value.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct option_text;

/* Strings belong to argv or to `texts`, or are literals. */
struct options {
    struct option_text *texts; /* heap: owners of values from the environment and the file */
    const char *config;        /* NULL: the default file, if there */
    bool wants_check, wants_help, wants_version; /* in place of a daemon */
    int argc;                                    /* the command line, for a reload */
    char **argv;
    const char *state_dir, *image_dir, *runtime_dir;
    bool image_dir_given;              /* then it must exist */
    struct option_addresses listen;    /* REST; none: unix:RUNTIME/api.sock */
    struct option_addresses nbd;       /* NBD; none: unix:RUNTIME/nbd.sock */
    struct option_groups allow_groups; /* whose members may call over Unix sockets */
    uint64_t index_memory_bytes, table_memory_bytes;
    uint64_t idempotency_retention_s;          /* how long keys are kept */
    const char *tls_cert_dir;                  /* of REST, and of NBD if it has none of its own */
    struct option_addresses tls_client_scopes; /* "NAME=SCOPE", checked */
    struct nbd_tls_spec nbd_tls;
    enum log_form log_form;
    enum log_level log_level;
};
void options_clear(struct options *options);

/* `options` is to be cleared in every case. With wants_help or wants_version, the rest is not
 * filled. InvalidParameter, OutOfResources. */
int options_parse(int argc, char **argv, struct options *options, struct err *err);

/* Writes the names of the options that differ, "--a, --b", cut to `bytes`; "" if there are none: of
 * those that a reload takes, or of those that only a start takes. */
void options_changes(const struct options *old, const struct options *new, bool reloadable,
                     char *names, size_t bytes);

/* What --help says of an option that a reload takes. */
#define OPTIONS_RELOADABLE "(reloadable)"

/* On standard output. */
void options_print_help(void);

#endif
