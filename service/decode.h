/* SPDX-License-Identifier: Apache-2.0
 *
 * Strict decoding of request bodies. What a client sent is taken exactly or refused with a problem
 * whose pointer (RFC 6901) names the spot. An object is described by a table of fields; decoding
 * writes through the table into a struct:
 *
 *   static const struct decode_field fields[] = {
 *       {"device", DECODE_TEXT, true, offsetof(struct member, device)},
 *   };
 *   decode_object(json, "/devices/0", fields, 1, &member, problem)
 *
 *   type            writes                            JSON
 *   DECODE_TEXT     const char *                      string; lives as long as the tree
 *   DECODE_NUMBER   struct decode_number              whole number from 0 to 2^53
 *   DECODE_BOOL     bool                              true, false
 *   DECODE_CHOICE   struct decode_choice              true, false; tells that it was given
 *   DECODE_OBJECT   const struct cJSON *              object, not looked into
 *   DECODE_ARRAY    const struct cJSON *              array, not looked into
 *
 * A field that is absent leaves its place untouched; null is no value. The first fault in the order
 * of the text is the one reported; missing fields come last.
 */
#ifndef SERVICE_DECODE_H
#define SERVICE_DECODE_H

#include "base/cleanup.h"
#include "service/reply.h"
#include "service/request.h"

#include <cjson/cJSON.h>
#include <stdint.h>

CLEANUP_DEFINE(json, struct cJSON *, cJSON_Delete)

enum decode_type {
    DECODE_TEXT,
    DECODE_NUMBER,
    DECODE_BOOL,
    DECODE_CHOICE,
    DECODE_OBJECT,
    DECODE_ARRAY
};

struct decode_field {
    const char *name;
    enum decode_type type;
    bool required;
    size_t offset; /* of the place in the struct */
};

struct decode_number {
    bool given;
    uint64_t value;
};

struct decode_choice {
    bool given;
    bool value;
};

#define DECODE_FIELDS_MAX 16

/* The body's tree, an object; NULL and *problem: MalformedJSON, WrongType, OutOfResources. */
struct cJSON *decode_body(const struct request *request, struct problem *problem);

/* `json` must be an object with the fields described; `pointer` is where it stands ("" for the
 * body). Codes: UnknownField, DuplicateField, MissingField, WrongType, InvalidValue. */
int decode_object(const struct cJSON *json, const char *pointer, const struct decode_field *fields,
                  size_t count, void *out, struct problem *problem);

#define LABELS_MAX      64
#define LABEL_BYTES_MAX 256

/* The object `json` of at most LABELS_MAX strings, checked, as JSON text; "{}" if `json` is NULL.
 * Heap. */
char *decode_labels(const struct cJSON *json, const char *pointer, struct problem *problem);

#endif
