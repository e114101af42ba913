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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_ADDRESSES_MAX 16

struct option_addresses {
    const char *list[OPTIONS_ADDRESSES_MAX];
    size_t count;
};

struct option_text;

/* Strings belong to argv or to `texts`, or are literals. */
struct options {
    struct option_text *texts; /* heap: owners of values from the environment and the file */
    const char *config;        /* NULL: the default file, if there */
    bool check_config;         /* exit after the check */
    const char *state_dir, *image_dir, *runtime_dir;
    bool image_dir_given;           /* then it must exist */
    struct option_addresses listen; /* REST; none: unix:RUNTIME/api.sock */
    struct option_addresses nbd;    /* NBD; none: unix:RUNTIME/nbd.sock */
    uint64_t index_memory_bytes;
    struct nbd_tls_spec nbd_tls;
    enum log_form log_form;
    enum log_level log_level;
};
void options_clear(struct options *options);

#define OPTIONS_RUN (-1)

/* OPTIONS_RUN, or the exit status of the program: 0 after --help and --version, 2 if an option is
 * wrong; the message has been written. `options` is to be cleared in every case. */
int options_parse(int argc, char **argv, struct options *options);

#endif
