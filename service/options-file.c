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
    unsigned line; /* of the setting that is read; from 1 */
    bool is_wrong; /* an error was found, and its message written */
    options_file_take take;
    void *context;
};

static void file_wrong(struct options_file *file, const char *why)
{
    fprintf(stderr, "snapgroupd: %s:%u: %s\nTry 'snapgroupd --help'.\n", file->path, file->line,
            why);
    file->is_wrong = true;
}

/* As fgets(), for libinih: a line of at most size - 1 bytes. */
static char *line_read(char *line, int size, void *context)
{
    struct options_file *file = context;
    CLEANUP_FREE char *whole = NULL;
    size_t bytes = 0;
    errno = 0;
    ssize_t length = !file->is_wrong ? getline(&whole, &bytes, file->stream) : -1;
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
    return file->is_wrong ? NULL : memcpy(line, whole, (size_t)length + 1);
}

/* For libinih: 0 is an error. */
static int setting_take(void *context, const char *section, const char *name, const char *value)
{
    struct options_file *file = context;
    if (file->is_wrong)
        return 0;
    if (strcmp(section, SECTION) != 0) {
        file_wrong(file, "settings belong under [" SECTION "]");
        return 0;
    }
    CLEANUP_FREE char *source = NULL;
    if (asprintf(&source, "%s:%u", file->path, file->line) < 0) {
        file_wrong(file, "there is no memory");
        return 0;
    }
    file->is_wrong = !file->take(file->context, source, name, value);
    return !file->is_wrong;
}

bool options_file_read(const char *path, options_file_take take, void *context)
{
    struct options_file file = {
        .path = path ? path : OPTIONS_FILE_DEFAULT, .take = take, .context = context};
    file.stream = fopen(file.path, "re");
    if (!file.stream) {
        if (!path && errno == ENOENT)
            return true;
        fprintf(stderr, "snapgroupd: cannot open '%s': %s\n", file.path, strerror(errno));
        return false;
    }
    int ret = ini_parse_stream(line_read, &file, setting_take, &file);
    fclose(file.stream);
    if (ret != 0 && !file.is_wrong) {
        if (ret > 0)
            file.line = (unsigned)ret;
        file_wrong(&file,
                   ret > 0 ? "this is neither [section] nor NAME = VALUE" : "there is no memory");
    }
    return !file.is_wrong;
}
