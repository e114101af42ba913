/* SPDX-License-Identifier: Apache-2.0
 *
 * Bodies of requests, made of options. Every function adds what its option has, and nothing if that
 * was not given. EXIT_USAGE.
 */
#ifndef CLI_BODY_H
#define CLI_BODY_H

#include "clients/cli/send.h"

int body_add_text(struct call *call, cJSON *body, const char *name, const char *text);
int body_add_option(struct call *call, cJSON *body, const char *name, enum option option);
int body_add_flag(struct call *call, cJSON *body, const char *name, enum option option);
int body_add_size(struct call *call, cJSON *body, const char *name, enum option option);

/* A time as milliseconds. */
int body_add_time(struct call *call, cJSON *body, const char *name, enum option option);

/* KEY=VALUE, of an option that may be repeated, as an object. */
int body_add_labels(struct call *call, cJSON *body, const char *name, enum option option);

/* The values of an option that may be repeated, as an array. */
int body_add_list(struct call *call, cJSON *body, const char *name, enum option option);

/* A merge patch of --label and --unlabel. */
int body_add_label_patch(struct call *call, cJSON *body);

/* Sends `body` as JSON, with a key if it is a POST; `request` has the rest. */
int body_send(struct call *call, struct request request, const cJSON *body, struct reply *reply);

#endif
