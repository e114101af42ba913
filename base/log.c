/* SPDX-License-Identifier: Apache-2.0
 *
 * See log.h.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 2048 };

static _Atomic(enum log_level) level_max = LOG_LEVEL_INFO;
static _Atomic(void (*)(const struct log_record *)) sink_now = log_text_sink;
static _Thread_local const char *request_now;

int log_priority(enum log_level level)
{
    static const int priorities[] = {3, 4, 6, 7};
    return priorities[level];
}

void log_set_level(enum log_level level)
{
    atomic_store(&level_max, level);
}

bool log_has_level(enum log_level level)
{
    return level <= atomic_load(&level_max);
}

void log_set_sink(void (*sink)(const struct log_record *record))
{
    atomic_store(&sink_now, sink);
}

void log_set_request(const char *id)
{
    request_now = id;
}

const char *log_request(void)
{
    return request_now;
}

void log_text_sink(const struct log_record *record)
{
    char line[MESSAGE_BYTES + 8];
    int length =
        snprintf(line, sizeof(line), "<%d>%s\n", log_priority(record->level), record->message);
    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        return; /* there is no other place to report it */
}

/* Cuts a message that is too long. */
static void log_write(struct log_record record, const char *format, va_list args)
{
    char message[MESSAGE_BYTES];
    if (!log_has_level(record.level))
        return;
    if (vsnprintf(message, sizeof(message), format, args) < 0)
        *message = '\0';
    /* Names come from clients; an event is one line. */
    for (char *c = message; (c = strpbrk(c, "\r\n"));)
        *c = ' ';
    record.message = message;
    record.request_id = request_now;
    atomic_load (&sink_now)(&record);
}

void log_event(enum log_level level, const struct log_field *fields, size_t field_count,
               const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_write((struct log_record){.level = level, .fields = fields, .field_count = field_count},
              format, args);
    va_end(args);
}

#define LOG_FUNCTION(name, record_level)                                                           \
    void name(const char *format, ...)                                                             \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, format);                                                                    \
        log_write((struct log_record){.level = (record_level)}, format, args);                     \
        va_end(args);                                                                              \
    }

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warning, LOG_LEVEL_WARNING)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
