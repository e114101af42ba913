/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of options and arguments, read from text. EXIT_USAGE names `what`, the option or the
 * argument.
 */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include "clients/cli/failure.h"

#include <cjson/cJSON.h>
#include <stdint.h>

/* The largest integer that JSON keeps exactly. */
#define VALUE_MAX ((INT64_C(1) << 53))

/* Bytes; K, M, G, T (of 1024) may follow, with "iB" or without. */
int value_size(const char *what, const char *text, int64_t *size, struct failure *failure);

/* Milliseconds: a number of seconds ("10", "1.5"), or one with a unit: ms, s, m, h. */
int value_time(const char *what, const char *text, int64_t *time_ms, struct failure *failure);

/* A whole number from `least` to `most`. */
int value_number(const char *what, const char *text, int64_t least, int64_t most, int64_t *number,
                 struct failure *failure);

/* Adds KEY=VALUE to a JSON object; the first '=' ends the key, and a key comes once. */
int value_label(const char *what, const char *text, cJSON *labels, struct failure *failure);

#endif
