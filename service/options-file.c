/* SPDX-License-Identifier: Apache-2.0
 *
 * See options-file.h. libinih splits lines into sections, names and values, but gives no line
 * numbers and cuts long lines; so lines are read and counted here.
 */
#include "service/options-file.h"

#include "base/cleanup.h"
#include "service/options.h"

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
    int status;    /* OPTIONS_RUN until the first error */
    options_file_take take;
    void *context;
};

static void file_wrong(struct options_file *file, const char *why)
{
    fprintf(stderr, "snapgroupd: %s:%u: %s\nTry 'snapgroupd --help'.\n", file->path, file->line,
            why);
    file->status = 2;
}

/* As fgets(), for libinih: a line of at most size - 1 bytes. */
static char *line_read(char *line, int size, void *context)
{
    struct options_file *file = context;
    CLEANUP_FREE char *whole = NULL;
    size_t bytes = 0;
    errno = 0;
    ssize_t length = file->status == OPTIONS_RUN ? getline(&whole, &bytes, file->stream) : -1;
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
    return file->status == OPTIONS_RUN ? memcpy(line, whole, (size_t)length + 1) : NULL;
}

/* For libinih: 0 is an error. */
static int setting_take(void *context, const char *section, const char *name, const char *value)
{
    struct options_file *file = context;
    if (file->status != OPTIONS_RUN)
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
    file->status = file->take(file->context, source, name, value);
    return file->status == OPTIONS_RUN;
}

int options_file_read(const char *path, options_file_take take, void *context)
{
    struct options_file file = {.path = path ? path : OPTIONS_FILE_DEFAULT,
                                .status = OPTIONS_RUN,
                                .take = take,
                                .context = context};
    file.stream = fopen(file.path, "re");
    if (!file.stream) {
        if (!path && errno == ENOENT)
            return OPTIONS_RUN;
        fprintf(stderr, "snapgroupd: cannot open '%s': %s\n", file.path, strerror(errno));
        return 2;
    }
    int ret = ini_parse_stream(line_read, &file, setting_take, &file);
    fclose(file.stream);
    if (ret != 0 && file.status == OPTIONS_RUN) {
        if (ret > 0)
            file.line = (unsigned)ret;
        file_wrong(&file,
                   ret > 0 ? "this is neither [section] nor NAME = VALUE" : "there is no memory");
    }
    return file.status;
}
