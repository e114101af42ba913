/* SPDX-License-Identifier: Apache-2.0
 *
 * The error of a control path: what went wrong, in a form that a REST client can act on.
 *
 * Control paths return 0 or -1 (a pointer or NULL) and fill the caller's `struct err`, their last
 * argument; it is untouched on success. Data paths return 0 or -errno and never use it. It uses no
 * heap, so an error can be reported when memory is short.
 *
 * ERR_CODES is the one table of codes: name, HTTP status, whether the same request may succeed
 * later, unchanged, though nobody changes what the daemon keeps: a job ends, a client disconnects,
 * storage comes back. It is false where a device has to be detached or a group deleted first.
 * service/http/reply.c alone reads the statuses. A test compares the table with api/openapi.yaml.
 * The first four names are QEMU's of 2012.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

#define ERR_CODES(X)                                                                               \
    X(DeviceNotFound, 404, false)                                                                  \
    X(DeviceInUse, 409, true)                                                                      \
    X(OpenFileFailed, 422, false)     /* 507, true: ENOSPC, EDQUOT; true: EAGAIN */                \
    X(InvalidBlockFormat, 422, false) /* unknown format, unsupported feature, damaged image */     \
    X(DeviceIsReadOnly, 422, false)                                                                \
    X(DeviceFailed, 409, false)                                                                    \
    X(UnflushedData, 409, false) /* acknowledged data would be lost; the body can allow it */      \
    X(ImageIsKept, 409, false)   /* its file was to go, but is needed or not ours */               \
    X(ImageInUse, 409, false)    /* until the device, group or image that needs it goes */         \
    X(DeviceExists, 409, false)                                                                    \
    X(DuplicateDevice, 422, false)                                                                 \
    X(EmptyGroup, 422, false)                                                                      \
    X(GroupNotFound, 404, false)                                                                   \
    X(EventsGone, 410, false) /* pruned, or of another database */                                 \
    X(NotRelated, 422, false) /* two images, or a group and a device, have no image in common */   \
    X(GroupExists, 409, false)                                                                     \
    X(GroupHeld, 409, false)     /* by the holds that its row names */                             \
    X(GroupDeleting, 409, false) /* nothing can be put on its images any more */                   \
    X(JobNotFound, 404, false)                                                                     \
    X(JobFinished, 409, false)                                                                     \
    X(TooManyHolds, 409, false)                                                                    \
    X(TokenNotFound, 404, false)                                                                   \
    X(TokenExists, 409, false)                                                                     \
    X(TooManyTokens, 409, false)                                                                   \
    X(MalformedRequest, 400, false) /* HTTP itself: the head, or the framing of the body */        \
    X(MalformedJSON, 400, false)                                                                   \
    X(UnknownField, 400, false)                                                                    \
    X(DuplicateField, 400, false)                                                                  \
    X(MissingField, 400, false)                                                                    \
    X(WrongType, 400, false)                                                                       \
    X(InvalidParameter, 400, false) /* a query parameter or a path segment */                      \
    X(InvalidHeader, 400, false)    /* a field of the request's header */                          \
    X(IdempotencyKeyReused, 422, false)                                                            \
    X(IdempotencyInProgress, 409, true)                                                            \
    X(InvalidValue, 422, false)                                                                    \
    X(Unauthorized, 401, false) /* no token, or none that is valid */                              \
    X(Forbidden, 403, false)                                                                       \
    X(InsufficientScope, 403, false)                                                               \
    X(RateLimited, 429, true) /* the caller failed too often to prove who it is */                 \
    X(NotFound, 404, false)                                                                        \
    X(MethodNotAllowed, 405, false)                                                                \
    X(NotAcceptable, 406, false) /* the client takes none of the types that the call has */        \
    X(RequestTimeout, 408, true)                                                                   \
    X(PreconditionFailed, 412, false) /* the resource is not as the request demands */             \
    X(BodyTooLarge, 413, false)                                                                    \
    X(URITooLong, 414, false)                                                                      \
    X(UnsupportedMediaType, 415, false)                                                            \
    X(DeadlineExceeded, 504, true) /* storage did not answer; of a group: nothing was frozen */    \
    X(NotReady, 503, true)                                                                         \
    X(StoreFailed, 503, true)                                                                      \
    X(StoreBusy, 503, true) /* another program keeps the database locked; nothing was changed */   \
    X(OutOfResources, 503, true)                                                                   \
    X(HeadersTooLarge, 431, false)                                                                 \
    X(VersionNotSupported, 505, false)                                                             \
    X(InternalError, 500, false)

enum err_code {
#define ERR_ENUM(name, status, retryable) Err##name,
    ERR_CODES(ERR_ENUM)
#undef ERR_ENUM
        ERR_CODE_COUNT
};

#define ERR_MESSAGE_BYTES 1024
#define ERR_HOLDER_BYTES  80

/* A client that has a device, as far as it is known. Zeroed: there is none. */
struct err_client {
    char address[128];  /* over TCP: "192.0.2.1:53412", "[::1]:4711" */
    char tls_name[128]; /* the first name that it has proven with TLS; or "" */
    long pid;           /* over a Unix socket: the process that connected; 0: over TCP */
    unsigned uid;       /* of it */
};

struct err {
    enum err_code code;
    int errnum; /* the errno that caused it, or 0 */
    char message[ERR_MESSAGE_BYTES];
    const char *holder_kind; /* of DeviceInUse: who has it ("group", ...), or NULL: not known */
    char holder_id[ERR_HOLDER_BYTES];
    struct err_client holder_client; /* if holder_kind is "export": one of its clients */
};

/*
 * Fills `err` and returns -1, so that a failing function ends in `return err_set(...)`. The message
 * is a phrase that names the object and what to do: no newline, no full stop. With errnum != 0 its
 * text is appended after ": ". A message that is too long is truncated. `err` may not be NULL.
 * EMFILE, ENFILE and ENOMEM change the code to OutOfResources, unless it is retryable already.
 */
int err_set(struct err *err, enum err_code code, int errnum, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds who holds what the error is about; `kind` is a literal. Returns -1, as err_set() does. */
int err_add_holder(struct err *err, const char *kind, const char *id);

/* The same, of an export that clients are connected to. `client`: one of them. */
int err_add_clients(struct err *err, const char *export, const struct err_client *client);

/* "OpenFileFailed" and so on; never NULL for a code of the table. */
const char *err_code_name(enum err_code code);

/* The code whose name is `name`, or ERR_CODE_COUNT if there is none. */
enum err_code err_code_from_name(const char *name);

/* The table's HTTP status; reply.c applies the one exception noted there. */
int err_code_status(enum err_code code);
bool err_code_retryable(enum err_code code);

/* DeviceInUse or ImageInUse: the daemon's own threads may wait for both. */
bool err_is_in_use(const struct err *err);

/* StoreFailed or StoreBusy: what the database has is as before, or not known. */
bool err_is_of_store(const struct err *err);

#endif
