/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /ui/, /ui/{file}, /ui/{folder}/{file}: the dashboard. It is files alone, the same for
 * everybody, so no token is needed; what it shows, its scripts ask for with the token of their
 * user. The policy lets the page load and call nothing but this daemon, run no text as script, and
 * be in no frame.
 */
#include "service/http/routes.h"

#include "service/http/accept.h"
#include "service/http/condition.h"
#include "service/http/ui-file.h"

#include <stdio.h>
#include <string.h>

/* Pico's stylesheet has its signs as data URLs. */
static const char policy[] = "default-src 'self'; img-src 'self' data:; object-src 'none'; "
                             "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const struct ui_file *ui_file_find(const char *folder, const char *name)
{
    char path[128];
    int length =
        snprintf(path, sizeof(path), "%s%s%s", folder ? folder : "", folder ? "/" : "", name);
    if (length < 0 || (size_t)length >= sizeof(path))
        return NULL;
    for (size_t i = 0; i < ui_files_count; i++)
        if (strcmp(ui_files[i].path, path) == 0)
            return &ui_files[i];
    return NULL;
}

static void reply_file(struct reply *reply, const struct request *request,
                       const struct ui_file *file)
{
    bool is_text = strncmp(file->type, "text/", 5) == 0;
    bool is_packed = request_accepts_gzip(request);
    char type[64];
    snprintf(type, sizeof(type), "%s%s", file->type, is_text ? "; charset=utf-8" : "");
    reply_static(reply, type, is_packed ? file->gzip : file->text,
                 is_packed ? file->gzip_bytes : file->bytes);
    reply_tag(reply);
    reply->varies_by_coding = true;
    if (is_packed)
        reply_header_add(reply, "Content-Encoding", "gzip");
    reply_header_add(reply, "Content-Security-Policy", "%s", policy);
    reply_header_add(reply, "X-Content-Type-Options", "nosniff");
    reply_header_add(reply, "Referrer-Policy", "no-referrer");
    reply_header_add(reply, "Cross-Origin-Opener-Policy", "same-origin");
    reply_header_add(reply, "Cross-Origin-Resource-Policy", "same-origin");
}

static void ui_reply(const struct request *request, struct reply *reply, const char *folder,
                     const char *name)
{
    struct err err;
    const struct ui_file *file = ui_file_find(folder, name);
    if (file && request_accepts(request, file->type)) {
        reply_file(reply, request, file);
        return;
    }
    if (file)
        err_set(&err, ErrNotAcceptable, 0,
                "this file is of type %s, which the header Accept does not have", file->type);
    else
        err_set(&err, ErrNotFound, 0, "the dashboard has no such file; it is at /ui/");
    reply_error(reply, &err);
}

void ui_get(struct service *service, const struct request *request, struct reply *reply)
{
    (void)service;
    ui_reply(request, reply, NULL, "");
}

void ui_file_get(struct service *service, const struct request *request, struct reply *reply)
{
    (void)service;
    ui_reply(request, reply, NULL, request->argument);
}

void ui_folder_file_get(struct service *service, const struct request *request, struct reply *reply)
{
    (void)service;
    ui_reply(request, reply, request->argument, request->second_argument);
}
