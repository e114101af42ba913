/* SPDX-License-Identifier: Apache-2.0
 *
 * The dashboard's files, clients/dashboard/, as base/embed-files.cmake puts them into the
 * executable: each as it is, and compressed. They are in no order.
 */
#ifndef SERVICE_HTTP_UI_FILE_H
#define SERVICE_HTTP_UI_FILE_H

#include <stddef.h>

struct ui_file {
    const char *path; /* behind "/ui/"; "": the page */
    const char *type; /* of the media, without parameters */
    const char *text;
    size_t bytes;
    const char *gzip;
    size_t gzip_bytes;
};

extern const struct ui_file ui_files[];
extern const size_t ui_files_count;

#endif
