/* SPDX-License-Identifier: Apache-2.0
 *
 * See options-file.h. libinih splits lines into sections, names and values, but gives no line
 * numbers and cuts long lines; so lines are read and counted here.
 */
#include "service/options-file.h"

#include "base/cleanup.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTION "snapgroupd"

struct options_file {
    const char *path;
    FILE *stream;
    unsigned line; /* the last one that was read; from 1 */
    int result;    /* -1: `err` is filled */
    options_file_take take;
    void *context;
    struct err *err;
};

static int file_wrong(struct options_file *file, const char *why)
{
    file->result =
        err_set(file->err, ErrInvalidParameter, 0, "%s:%u: %s", file->path, file->line, why);
    return -1;
}

/* As fgets(), for libinih: a line of at most size - 1 bytes. */
static char *line_read(char *line, int size, void *context)
{
    struct options_file *file = context;
    CLEANUP_FREE char *whole = NULL;
    size_t bytes = 0;
    errno = 0;
    ssize_t length = file->result == 0 ? getline(&whole, &bytes, file->stream) : -1;
    if (length < 0) {
        if (errno)
            file_wrong(file, strerror(errno));
        return NULL;
    }
    file->line++;
    if (length >= size)
        file_wrong(file, "the line is too long");
    else if (strlen(whole) != (size_t)length)
        file_wrong(file, "the line holds a NUL byte");
    return file->result == 0 ? memcpy(line, whole, (size_t)length + 1) : NULL;
}

/* For libinih: 0 is an error. */
static int setting_take(void *context, const char *section, const char *name, const char *value)
{
    struct options_file *file = context;
    CLEANUP_FREE char *source = NULL;
    if (file->result != 0)
        return 0;
    if (strcmp(section, SECTION) != 0)
        file_wrong(file, "settings belong under [" SECTION "]");
    else if (asprintf(&source, "%s:%u", file->path, file->line) < 0)
        file_wrong(file, "there is no memory");
    else
        file->result = file->take(file->context, source, name, value, file->err);
    return file->result == 0;
}

int options_file_read(const char *path, options_file_take take, void *context, struct err *err)
{
    struct options_file file = {
        .path = path ? path : OPTIONS_FILE_DEFAULT, .take = take, .context = context, .err = err};
    file.stream = fopen(file.path, "re");
    if (!file.stream && !path && errno == ENOENT)
        return 0;
    if (!file.stream)
        return err_set(err, ErrOpenFileFailed, errno, "cannot open '%s'", file.path);
    int wrong_line = ini_parse_stream(line_read, &file, setting_take, &file);
    fclose(file.stream);
    if (wrong_line > 0 && file.result == 0) {
        file.line = (unsigned)wrong_line;
        return file_wrong(&file, "this is neither [section] nor NAME = VALUE");
    }
    return file.result;
}
