/* SPDX-License-Identifier: Apache-2.0
 *
 * See log-sink.h. Where a form fails (no memory, no journald), the record is a line of text.
 */
#include "service/log-sink.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "service/clock.h"
#include "service/utf8.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>

CLEANUP_DEFINE(json, cJSON *, cJSON_Delete)

/* ---- JSON ---- */

static bool json_add(cJSON *object, const char *name, const char *text)
{
    CLEANUP_FREE char *repaired = utf8_repair(text);
    return repaired && cJSON_AddStringToObject(object, name, repaired);
}

/* Heap, with the line's end; NULL without memory. */
static char *json_format(const struct log_record *record)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    CLEANUP(json) cJSON *object = cJSON_CreateObject();
    char at[CLOCK_TEXT_BYTES];
    clock_format(clock_now_us(), at);
    if (!object || !json_add(object, "at", at) ||
        !json_add(object, "level", levels[record->level]) ||
        !json_add(object, "message", record->message) ||
        (record->request_id && !json_add(object, "request_id", record->request_id)))
        return NULL;
    for (size_t i = 0; i < record->field_count; i++)
        if (!json_add(object, record->fields[i].name, record->fields[i].value))
            return NULL;
    CLEANUP_FREE char *text = cJSON_PrintUnformatted(object);
    char *line = NULL;
    return text && asprintf(&line, "%s\n", text) >= 0 ? line : NULL;
}

static void json_sink(const struct log_record *record)
{
    CLEANUP_FREE char *line = json_format(record);
    if (!line || write(STDERR_FILENO, line, strlen(line)) < 0)
        log_text_sink(record);
}

/* ---- the journal ---- */

enum { ENTRY_FIELDS_MAX = 16 };

struct entry {
    struct iovec fields[ENTRY_FIELDS_MAX];
    size_t count;
};

static void entry_clear(struct entry *entry)
{
    for (size_t i = 0; i < entry->count; i++)
        free(entry->fields[i].iov_base);
}

/* A field PREFIXname=value, its name in capitals. */
static bool entry_add(struct entry *entry, const char *prefix, const char *name, const char *value)
{
    char *text = NULL;
    int length =
        entry->count < ENTRY_FIELDS_MAX ? asprintf(&text, "%s%s=%s", prefix, name, value) : -1;
    if (length < 0)
        return false;
    for (char *c = text; *c != '='; c++)
        *c = (char)toupper((unsigned char)*c);
    entry->fields[entry->count++] = (struct iovec){.iov_base = text, .iov_len = (size_t)length};
    return true;
}

static bool entry_fill(struct entry *entry, const struct log_record *record)
{
    static const char prefix[] = "snapgroupd_";
    char priority[2] = {(char)('0' + log_priority(record->level))};
    bool is_filled =
        entry_add(entry, "", "message", record->message) &&
        entry_add(entry, "", "priority", priority) &&
        entry_add(entry, "", "syslog_identifier", "snapgroupd") &&
        (!record->request_id || entry_add(entry, prefix, "request_id", record->request_id));
    for (size_t i = 0; is_filled && i < record->field_count; i++)
        is_filled = entry_add(entry, prefix, record->fields[i].name, record->fields[i].value);
    return is_filled;
}

static void journal_sink(const struct log_record *record)
{
    CLEANUP_BY(entry_clear) struct entry entry = {0};
    if (!entry_fill(&entry, record) || sd_journal_sendv(entry.fields, (int)entry.count) != 0)
        log_text_sink(record);
}

/* systemd.exec(5): JOURNAL_STREAM names the device and the inode of the journal's stream. */
static bool stderr_is_journal(void)
{
    uintmax_t device, inode;
    struct stat stat_;
    const char *stream = getenv("JOURNAL_STREAM");
    return stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &stat_) == 0 && stat_.st_dev == device && stat_.st_ino == inode;
}

void log_set_form(enum log_form form)
{
    if (form == LOG_FORM_AUTO)
        form = stderr_is_journal() ? LOG_FORM_JOURNAL : LOG_FORM_TEXT;
    /* libsystemd drops records silently without it. */
    if (form == LOG_FORM_JOURNAL && access("/run/systemd/journal/socket", W_OK) != 0)
        form = LOG_FORM_TEXT;
    log_set_sink(form == LOG_FORM_JSON      ? json_sink
                 : form == LOG_FORM_JOURNAL ? journal_sink
                                            : log_text_sink);
}
