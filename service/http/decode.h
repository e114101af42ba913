/* SPDX-License-Identifier: Apache-2.0
 *
 * Strict decoding of request bodies: everything that a client sent is used exactly, or rejected
 * with a problem whose pointer (RFC 6901) names the place. A table of fields describes an object,
 * and says where in a struct each of them goes:
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
 *   DECODE_NUMBER   struct decode_number              whole number from 0 to 2^53, exact
 *   DECODE_BOOL     struct decode_bool                true, false
 *   DECODE_OBJECT   const struct cJSON *              object, its members are decoded later
 *   DECODE_OBJECT_OR_NULL                             likewise, or null, in merge patches
 *   DECODE_ARRAY    const struct cJSON *              array, its members are decoded later
 *   DECODE_ARRAY_OR_NULL                              likewise, or null, in merge patches
 *
 * A field that is absent leaves the struct as it was; null is no value of the other types. The
 * first fault in the text is reported; missing fields come last.
 */
#ifndef SERVICE_HTTP_DECODE_H
#define SERVICE_HTTP_DECODE_H

#include "base/cleanup.h"
#include "service/http/limits.h"
#include "service/http/reply.h"

#include <cjson/cJSON.h>
#include <limits.h>
#include <stdint.h>

CLEANUP_DEFINE(json, struct cJSON *, cJSON_Delete)

enum decode_type {
    DECODE_TEXT,
    DECODE_NUMBER,
    DECODE_BOOL,
    DECODE_OBJECT,
    DECODE_OBJECT_OR_NULL,
    DECODE_ARRAY,
    DECODE_ARRAY_OR_NULL,
};

struct decode_field {
    const char *name;
    enum decode_type type;
    bool required;
    size_t offset; /* in the struct */
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

struct decode_bool {
    bool given;
    bool value;
};

#define DECODE_FIELDS_MAX 16

/* No text is larger: that of a path. */
#define DECODE_TEXT_MAX_BYTES PATH_MAX

/* Of an image format's name; the longest that QEMU knows has 9. */
#define DECODE_FORMAT_MAX_BYTES 32

/* The tree of a body, which must be an object. The text is changed where it has a number that a
 * double would round (json-syntax.h). NULL: MalformedJSON, WrongType, OutOfResources. */
struct cJSON *decode_body(char *text, size_t bytes, struct problem *problem);

/* Decodes the object `json` into `out`; `pointer` is its place in the body ("" for the body
 * itself). UnknownField, DuplicateField, MissingField, WrongType, InvalidValue. */
int decode_object(const struct cJSON *json, const char *pointer, const struct decode_table *table,
                  void *out, struct problem *problem);

/* Points at the member `name` of the object at `pointer`, or, where that is too long, at the
 * object. Returns -1. */
int decode_point(struct problem *problem, const char *pointer, const char *name);

/* The object `json` of at most LABELS_MAX strings, checked, as JSON text; "{}" if `json` is NULL.
 * Heap. */
char *decode_labels(const struct cJSON *json, const char *pointer, struct problem *problem);

#endif
