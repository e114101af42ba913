/* SPDX-License-Identifier: Apache-2.0
 *
 * One line per event on standard error, in the form that journald understands: "<priority>message".
 * For events that an operator must know and no caller receives. Never log and return an error.
 * Any thread may call these; a line is written whole.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
