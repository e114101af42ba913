/* SPDX-License-Identifier: Apache-2.0
 *
 * Members of a reply's JSON. Text is made valid UTF-8 first: file names and messages may hold any
 * bytes. Numbers are written as digits, so that every uint64_t is exact, without an exponent.
 */
#ifndef SERVICE_HTTP_ENCODE_H
#define SERVICE_HTTP_ENCODE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NULL becomes null. */
void encode_text(struct cJSON *object, const char *name, const char *text);
void encode_bool(struct cJSON *object, const char *name, bool value);
void encode_null(struct cJSON *object, const char *name);
void encode_number(struct cJSON *object, const char *name, uint64_t value);

/* Microseconds since the epoch, as RFC 3339 text. */
void encode_time(struct cJSON *object, const char *name, uint64_t time_us);

/* Adds `json` unchanged: text that this program has written. */
void encode_json(struct cJSON *object, const char *name, const char *json);

/* Adds an empty array or object to an object, an empty object to an array. Their parent
 * owns them. */
struct cJSON *encode_array(struct cJSON *object, const char *name);
struct cJSON *encode_object(struct cJSON *object, const char *name);
struct cJSON *encode_item(struct cJSON *array);

#endif
