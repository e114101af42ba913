/* SPDX-License-Identifier: Apache-2.0
 *
 * Strict decoding of request bodies. What a client sent is taken exactly or refused with a problem
 * whose pointer (RFC 6901) names the spot. An object is described by a table of fields; decoding
 * writes through the table into a struct:
 *
 *   static const struct decode_field fields[] = {
 *       {"device", DECODE_TEXT, true, offsetof(struct member, device), DEVICE_NAME_MAX},
 *   };
 *   static const struct decode_table table = DECODE_TABLE(struct member, fields, true);
 *   decode_object(json, "/devices/0", &table, &member, problem)
 *
 *   type            writes                            JSON
 *   DECODE_TEXT     const char *                      string of at most bytes_max; lives as long as
 *                                                     the tree
 *   DECODE_NUMBER   struct decode_number              whole number from 0 to 2^53, by its digits
 *   DECODE_BOOL     bool                              true, false
 *   DECODE_CHOICE   struct decode_choice              true, false; tells that it was given
 *   DECODE_OBJECT   const struct cJSON *              object, not looked into
 *   DECODE_ARRAY    const struct cJSON *              array, not looked into
 *
 * A field that is absent leaves its place untouched; null is no value. The first fault in the order
 * of the text is the one reported; missing fields come last.
 */
#ifndef SERVICE_HTTP_DECODE_H
#define SERVICE_HTTP_DECODE_H

#include "base/cleanup.h"
#include "service/http/reply.h"
#include "service/http/request.h"

#include <cjson/cJSON.h>
#include <limits.h>
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
    size_t
        bytes_max; /* DECODE_TEXT: never 0, so that no text goes unbounded into memory or store */
};

/* The body of a route: its fields, and the struct that they are decoded into. */
struct decode_table {
    const struct decode_field *fields;
    size_t count;
    size_t bytes; /* of the struct */
    bool is_required;
};

#define DECODE_TABLE(type, its_fields, required)                                                   \
    {                                                                                              \
        .fields = (its_fields), .count = sizeof(its_fields) / sizeof((its_fields)[0]),             \
        .bytes = sizeof(type), .is_required = (required)                                           \
    }

struct decode_number {
    bool given;
    uint64_t value;
};

struct decode_choice {
    bool given;
    bool value;
};

#define DECODE_FIELDS_MAX 16

/* No text is larger: that of a path. */
#define DECODE_TEXT_MAX_BYTES PATH_MAX

/* Of an image format's name; the longest that QEMU knows has 9. */
#define DECODE_FORMAT_MAX_BYTES 32

/* The body's tree, an object; NULL and *problem: MalformedJSON, WrongType, OutOfResources. */
struct cJSON *decode_body(const struct request *request, struct problem *problem);

/* Decodes the object `json` into `out`; `pointer` is its place in the body ("" for the body itself).
 * UnknownField, DuplicateField, MissingField, WrongType, InvalidValue. */
int decode_object(const struct cJSON *json, const char *pointer, const struct decode_table *table,
                  void *out, struct problem *problem);

#define LABELS_MAX      64
#define LABEL_BYTES_MAX 256

/* The object `json` of at most LABELS_MAX strings, checked, as JSON text; "{}" if `json` is NULL.
 * Heap. */
char *decode_labels(const struct cJSON *json, const char *pointer, struct problem *problem);

#endif
