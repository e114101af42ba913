/* SPDX-License-Identifier: Apache-2.0
 *
 * The error table and the one function that fills an error. See err.h.
 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int status;
    bool retryable;
} table[] = {
#define ERR_ROW(name, status, retryable) {#name, status, retryable},
    ERR_CODES(ERR_ROW)
#undef ERR_ROW
};

/* A shortage of descriptors or memory is temporary, whatever failed. A retryable code stays: it may
 * say more. So does that of a failed sync, which is for good, whatever its cause. */
static enum err_code err_code_of_cause(enum err_code code, int errnum)
{
    bool is_shortage = errnum == EMFILE || errnum == ENFILE || errnum == ENOMEM;
    bool is_final = code == ErrUnflushedData || err_code_retryable(code);
    return is_shortage && !is_final ? ErrOutOfResources : code;
}

int err_set(struct err *err, enum err_code code, int errnum, const char *format, ...)
{
    /* The arguments may point into err->message itself. */
    char message[ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);

    size_t length = strlen(message);
    if (errnum) {
        char text[128];
        snprintf(message + length, sizeof(message) - length, ": %s",
                 strerror_r(errnum, text, sizeof(text)));
    }
    err->code = err_code_of_cause(code, errnum);
    err->errnum = errnum;
    memcpy(err->message, message, sizeof(message));
    err->holder_kind = NULL;
    return -1;
}

int err_add_holder(struct err *err, const char *kind, const char *id)
{
    err->holder_kind = kind;
    snprintf(err->holder_id, sizeof(err->holder_id), "%s", id);
    err->holder_client = (struct err_client){.pid = 0};
    return -1;
}

int err_add_clients(struct err *err, const char *export, const struct err_client *client)
{
    err_add_holder(err, "export", export);
    err->holder_client = *client;
    return -1;
}

const char *err_code_name(enum err_code code)
{
    return (unsigned)code < ERR_CODE_COUNT ? table[code].name : "InternalError";
}

enum err_code err_code_from_name(const char *name)
{
    for (int code = 0; code < ERR_CODE_COUNT; code++)
        if (strcmp(table[code].name, name) == 0)
            return (enum err_code)code;
    return ERR_CODE_COUNT;
}

int err_code_status(enum err_code code)
{
    return (unsigned)code < ERR_CODE_COUNT ? table[code].status : 500;
}

bool err_code_retryable(enum err_code code)
{
    return (unsigned)code < ERR_CODE_COUNT && table[code].retryable;
}

bool err_is_in_use(const struct err *err)
{
    return err->code == ErrDeviceInUse || err->code == ErrImageInUse;
}

bool err_is_of_store(const struct err *err)
{
    return err->code == ErrStoreFailed || err->code == ErrStoreBusy;
}
