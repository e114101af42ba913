/* SPDX-License-Identifier: Apache-2.0
 *
 * Names and ids: their form, and holding a device's name while the device is attached or detached.
 *
 *   name   [A-Za-z0-9][A-Za-z0-9._-]*, so that it is a file name and needs no escaping in a URI
 *   id     a UUID in lower case; a name never looks like one, so either may stand in a URL
 */
#ifndef SERVICE_NAMES_H
#define SERVICE_NAMES_H

#include "block/block.h"
#include "block/group.h"
#include "store/row.h"

#include <stdbool.h>
#include <stddef.h>

struct service;

bool name_is_valid(const char *name, size_t chars_max);

/* Whether `text` is a UUID, in either case. */
bool id_is_valid(const char *text);

/* A new random id. */
void id_new(char id[STORE_ID_CHARS + 1]);

/* The bytes of a valid id. */
void id_bytes(const char *id, unsigned char bytes[OWNER_ID_BYTES]);

/* `text` in lower case if it is a UUID, else unchanged; truncated if it is too long for either. */
void id_or_name_normal(const char *text, char normal[GROUP_NAME_MAX + 1]);

/*
 * Attach and detach change block and store in several steps, which must not interleave for one
 * name:
 *
 *     NAME_HOLD(service, name);       // waits for the name; released at the end of the scope
 */
struct name_hold {
    struct name_hold *next;
    struct service *service;
    const char *name;
};
void name_hold_begin(struct name_hold *hold);
void name_hold_end(struct name_hold *hold);

/* Holds it only if nobody else does, without waiting. Else it is not to be ended. */
bool name_hold_try(struct name_hold *hold);

#define NAME_HOLD(its_service, its_name)                                                           \
    __attribute__((cleanup(name_hold_end))) struct name_hold name_hold_ = {                        \
        .service = (its_service), .name = (its_name)};                                             \
    name_hold_begin(&name_hold_)

#endif
