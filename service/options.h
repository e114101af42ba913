/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line. Strings point into argv or are literals; they live as long as the program.
 */
#ifndef SERVICE_OPTIONS_H
#define SERVICE_OPTIONS_H

#include "block/block.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_ADDRESSES_MAX 16

struct options {
    const char *state_dir, *image_dir, *runtime_dir;
    bool image_dir_given;                      /* then it must exist */
    const char *listen[OPTIONS_ADDRESSES_MAX]; /* REST; none: unix:RUNTIME/api.sock */
    size_t listen_count;
    const char *nbd[OPTIONS_ADDRESSES_MAX]; /* NBD; none: unix:RUNTIME/nbd.sock */
    size_t nbd_count;
    uint64_t index_memory_bytes;
    struct nbd_tls_spec nbd_tls;
};

#define OPTIONS_RUN (-1)

/* OPTIONS_RUN, or the status with which the program is to exit at once: help was asked for (0), or
 * the command line is wrong (2); what there is to say has been written. */
int options_parse(int argc, char **argv, struct options *options);

#endif
