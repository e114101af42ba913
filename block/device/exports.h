/* SPDX-License-Identifier: Apache-2.0
 *
 * Exports by name. Users are counted, so that detach is refused while a client is connected. Any
 * thread.
 */
#ifndef BLOCK_DEVICE_EXPORTS_H
#define BLOCK_DEVICE_EXPORTS_H

#include "base/err.h"
#include "block/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block;
struct client_names;
struct device;
struct frozen;
struct node;
struct timespec;

/* Finds an exported device, or opens a frozen member ("vda@group", read-only), and counts one user,
 * if the export admits the client (clients.h; NULL: the daemon itself, of frozen members). NULL and
 * *err: DeviceNotFound, Forbidden, DeviceFailed, OpenFileFailed, InvalidBlockFormat. */
struct device *export_use(struct block *block, const char *name, const struct client_names *client,
                          struct err *err);
void export_unuse(struct block *block, struct device *device);

/* Every frozen member whose image is `from` has `to` from now on, which gives the same view; who
 * has opened it keeps what he has. -1 and *err (OutOfResources). */
int exports_move(struct block *block, const struct node *from, const struct node *to,
                 struct err *err);

/* A client of an export, in a frame or object of its own. */
struct export_client {
    struct export_client *next; /* block->lock */
    struct err_client who;
    /* Asks it to end once its requests under way are answered; does not wait. block->lock is held.
     */
    void (*hang_up)(struct export_client *client);
};

/* A user says who it is, from export_enter() to export_leave(): refusals name it. */
void export_enter(struct block *block, struct device *device, struct export_client *client);
void export_leave(struct block *block, struct device *device, struct export_client *client);

/* DeviceInUse, naming one of its clients. Returns -1. The lock is held. */
int export_report_clients(const struct device *device, struct err *err);

/* While it is closed, the device admits no new client (DeviceInUse). The lock is held. */
void export_close_locked(struct device *device);
void export_reopen_locked(struct device *device);

/* Asks the clients of a closed device to end; waits until they have, at most until that monotonic
 * time: -1 and *err, DeviceInUse. */
void export_hang_up(struct block *block, struct device *device);
int export_await_end(struct block *block, struct device *device, uint64_t until_us,
                     struct err *err);

/* Whether the export exists and admits the client, without opening anything: 0, or -1 and *err as
 * above. */
int export_check(struct block *block, const char *name, const struct client_names *client,
                 struct err *err);

/* The position in a list; begins as zeros. Exports may be added and removed between two calls; all
 * others are listed exactly once. */
struct export_cursor {
    uint64_t device, frozen; /* the last ones' serial numbers */
};

/* Calls `each` for every export after the cursor that admits the client, devices first. Returns the
 * first non-zero result; the next call begins with that name. block->lock is held: `each` does not
 * block. */
int export_list(struct block *block, struct export_cursor *cursor,
                const struct client_names *client, int (*each)(void *arg, const char *name),
                void *arg);

/* ---- frozen members of one device ---- */

#define EXPORT_FROZEN_NAME_MAX (DEVICE_NAME_MAX + 1 + GROUP_NAME_MAX) /* DEVICE@GROUP */

/* Whether a device's member of `group`, by name or id, was frozen before the frozen member `name`;
 * if so, *older is that one's export. No client is checked: whom `name` admits, that admits. */
bool export_find_older(struct block *block, const char *name, const char *group,
                       char older[EXPORT_FROZEN_NAME_MAX + 1]);

/* Calls `each` with the name of every group whose member of the device was frozen before `name`,
 * newest first, from the cursor on. As export_list(). */
int export_list_older(struct block *block, const char *name, struct export_cursor *cursor,
                      int (*each)(void *arg, const char *group), void *arg);

void frozen_free(struct frozen *frozen);

#endif
