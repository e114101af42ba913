/* SPDX-License-Identifier: Apache-2.0
 *
 * Log lines on standard error. See log.h. The priorities are syslog's (RFC 5424, table 2).
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static void log_line(int priority, const char *format, va_list args)
{
    char line[2048];
    int start = snprintf(line, sizeof(line), "<%d>", priority);
    int length = vsnprintf(line + start, sizeof(line) - (size_t)start - 1, format, args);
    length = length < 0 ? start : start + length;
    if (length > (int)sizeof(line) - 2)
        length = (int)sizeof(line) - 2;
    for (int i = start; i < length; i++)
        if (line[i] == '\n' || line[i] == '\r') /* names come from clients; an event is one line */
            line[i] = ' ';
    line[length++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        return; /* there is no other place to report it */
}

#define LOG_FUNCTION(name, priority)                                                               \
    void name(const char *format, ...)                                                             \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, format);                                                                    \
        log_line(priority, format, args);                                                          \
        va_end(args);                                                                              \
    }

LOG_FUNCTION(log_error, 3)
LOG_FUNCTION(log_warning, 4)
LOG_FUNCTION(log_info, 6)
