/* SPDX-License-Identifier: Apache-2.0
 *
 * See file.h.
 */
#include "base/tls/file.h"

#include "base/cleanup.h"
#include "base/tls/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void tls_datum_clear(gnutls_datum_t *datum)
{
    if (datum->data)
        explicit_bzero(datum->data, datum->size);
    gnutls_free(datum->data);
    *datum = (gnutls_datum_t){.data = NULL};
}

static int file_check_mode(int fd, const char *path, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "TLS file '%s' cannot be looked at", path);
    if (st.st_mode & S_IRWXO)
        return err_set(err, ErrOpenFileFailed, 0,
                       "TLS file '%s' holds a secret and its mode %04o lets everybody at it; take "
                       "that away with chmod o-rwx",
                       path, (unsigned)st.st_mode & 07777);
    return 0;
}

int tls_file_read(const char *path, bool secret, gnutls_datum_t *content, struct err *err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return err_set(err, ErrOpenFileFailed, errno, "TLS file '%s' cannot be opened", path);
    if (secret && file_check_mode(fd, path, err) != 0)
        return -1;
    CLEANUP_BY(tls_datum_clear)
    gnutls_datum_t all = {.data = gnutls_malloc(TLS_FILE_BYTES_MAX + 1)};
    if (!all.data)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for TLS file '%s'", path);
    ssize_t got = 1;
    while (got > 0 && all.size < TLS_FILE_BYTES_MAX) {
        got = read(fd, all.data + all.size, TLS_FILE_BYTES_MAX - all.size);
        if (got < 0)
            return err_set(err, ErrOpenFileFailed, errno, "TLS file '%s' cannot be read", path);
        all.size += (unsigned)got;
    }
    if (got > 0)
        return err_set(err, ErrInvalidValue, 0, "TLS file '%s' has more than %d bytes", path,
                       TLS_FILE_BYTES_MAX);
    all.data[all.size] = '\0';
    *content = all;
    all.data = NULL;
    return 0;
}

int tls_file_useless(const char *path, int error, struct err *err)
{
    return err_set(err, ErrInvalidValue, 0, "TLS file '%s' is of no use: %s", path,
                   error < 0 ? gnutls_strerror(error) : "there is nothing in it");
}
