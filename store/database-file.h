/* SPDX-License-Identifier: Apache-2.0
 *
 * Which file the database is; see database-file.c for what is compared with what. Private to
 * store/. All functions return 0, or -1 and *err (StoreFailed).
 */
#ifndef STORE_DATABASE_FILE_H
#define STORE_DATABASE_FILE_H

#include "store/connection.h"

#include <sys/types.h>

struct database_file {
    char *path;
    dev_t dev; /* of the file that was opened at the start; recorded by database_file_record_id */
    ino_t ino;
};

/* On btrfs, makes new files of the database's directory be overwritten in place. SQLite maps one of
 * them (-shm); a store to a mapped page that must be copied kills the process if the disk is
 * full. */
void database_file_prepare_directory(const struct database_file *file);

/* Whether a missing file may be created: not if PATH.id says that there was a database. */
int database_file_may_be_created(const struct database_file *file, bool *may_be, struct err *err);

/* The file is empty, or a database of ours. */
int database_file_check_application(struct connection *connection, int application_id,
                                    struct err *err);

/* The id in the database is the one in PATH.id, if that exists. Before anything is changed. */
int database_file_check_id(const struct database_file *file, struct connection *connection,
                           struct err *err);

/* At the start, once the schema is applied: remembers which file it is, writes PATH.id if
 * missing. */
int database_file_record_id(struct database_file *file, struct connection *connection,
                            struct err *err);

/* The path still leads to the file that was opened at the start. */
int database_file_check_place(const struct database_file *file, struct err *err);

#endif
