/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a command failed: its exit status, and what is written to standard error, once, by main.c.
 *
 * Functions that can fail return 0 or -1 (a pointer or NULL) and fill the caller's `struct
 * failure`; it is untouched on success.
 */
#ifndef CLI_FAILURE_H
#define CLI_FAILURE_H

#include <stddef.h>

/* docs/man/snapgroupctl.1.scd explains them. */
enum exit_status {
    EXIT_DONE,
    EXIT_REFUSED,     /* the daemon refuses, or the work failed */
    EXIT_USAGE,       /* the command line, the environment or the file is wrong */
    EXIT_NOT_FOUND,   /* 404 */
    EXIT_CONFLICT,    /* 409, 412 */
    EXIT_UNREACHABLE, /* no reply, or a problem that may pass */
};

#define FAILURE_MESSAGE_BYTES 4096

struct failure {
    enum exit_status status;
    char *problem; /* the body of the daemon's problem, or NULL; free it */
    char message[FAILURE_MESSAGE_BYTES];
};

/* Fills `failure` and returns -1. A message that is too long is truncated. */
int fail(struct failure *failure, enum exit_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

int fail_memory(struct failure *failure);

#endif
