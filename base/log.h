/* SPDX-License-Identifier: Apache-2.0
 *
 * Log lines, for events that an operator must know and no caller receives. Never log and return an
 * error. Any thread may call these.
 *
 * A record goes to the sink: at first a line on standard error in the form that journald
 * understands, "<priority>message"; the service sets another one (service/log-sink.h).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

/* A level's priority in syslog (RFC 5424, table 2). */
int log_priority(enum log_level level);

struct log_field {
    const char *name; /* lower-case letters and '_' */
    const char *value;
};

/* Borrowed for the call of a sink. */
struct log_record {
    enum log_level level;
    const char *message;    /* one line, without its end */
    const char *request_id; /* of the request that this thread serves; or NULL */
    const struct log_field *fields;
    size_t field_count;
};

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* With fields, for sinks that keep them; the message alone must be enough. */
void log_event(enum log_level level, const struct log_field *fields, size_t field_count,
               const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Drops records of less weight than `level`; at first LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);
bool log_has_level(enum log_level level);

/* Any thread may call the sink at any time. */
void log_set_sink(void (*sink)(const struct log_record *record));
void log_text_sink(const struct log_record *record);

/* This thread serves the request `id` (borrowed) from now on; NULL: none. */
void log_set_request(const char *id);
const char *log_request(void);

#endif
