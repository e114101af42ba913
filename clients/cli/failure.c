/* SPDX-License-Identifier: Apache-2.0
 *
 * See failure.h.
 */
#include "clients/cli/failure.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

int fail(struct failure *failure, enum exit_status status, const char *format, ...)
{
    assert(failure && status != EXIT_DONE);
    failure->status = status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure->message, sizeof(failure->message), format, arguments);
    va_end(arguments);
    return -1;
}

int fail_memory(struct failure *failure)
{
    return fail(failure, EXIT_REFUSED, "there is no memory left");
}
