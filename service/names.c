/* SPDX-License-Identifier: Apache-2.0
 *
 * See names.h.
 */
#include "service/names.h"

#include "base/condition.h"
#include "service/context.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <uuid/uuid.h>

bool name_is_valid(const char *name, size_t chars_max)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    return isalnum((unsigned char)name[0]) && strspn(name, allowed) == strlen(name) &&
           strlen(name) <= chars_max;
}

bool id_is_valid(const char *text)
{
    uuid_t bytes;
    return strlen(text) == STORE_ID_CHARS && uuid_parse(text, bytes) == 0;
}

/* Each request has one, and libuuid makes six system calls for each. getrandom(2) gives up to 256
 * bytes at once, whole. The version and the variant: RFC 4122, section 4.4. */
void id_new(char id[STORE_ID_CHARS + 1])
{
    static _Thread_local uuid_t random[16];
    static _Thread_local size_t left;
    if (left == 0) {
        while (getrandom(random, sizeof(random), 0) != sizeof(random))
            continue;
        left = sizeof(random) / sizeof(random[0]);
    }
    unsigned char *bytes = random[--left];
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    uuid_unparse_lower(bytes, id);
}

void id_bytes(const char *id, unsigned char bytes[OWNER_ID_BYTES])
{
    uuid_parse(id, bytes);
}

void id_or_name_normal(const char *text, char normal[GROUP_NAME_MAX + 1])
{
    uuid_t bytes;
    if (id_is_valid(text) && uuid_parse(text, bytes) == 0)
        uuid_unparse_lower(bytes, normal);
    else
        snprintf(normal, GROUP_NAME_MAX + 1, "%s", text);
}

static bool name_is_held_locked(const struct service *service, const char *name)
{
    for (const struct name_hold *hold = service->names; hold; hold = hold->next)
        if (strcmp(hold->name, name) == 0)
            return true;
    return false;
}

void name_hold_begin(struct name_hold *hold)
{
    struct service *service = hold->service;
    LOCK_GUARD(&service->names_lock);
    while (name_is_held_locked(service, hold->name))
        condition_wait(&service->names_changed, &service->names_lock);
    hold->next = service->names;
    service->names = hold;
}

bool name_hold_try(struct name_hold *hold)
{
    struct service *service = hold->service;
    LOCK_GUARD(&service->names_lock);
    if (name_is_held_locked(service, hold->name))
        return false;
    hold->next = service->names;
    service->names = hold;
    return true;
}

void name_hold_end(struct name_hold *hold)
{
    struct service *service = hold->service;
    LOCK_GUARD(&service->names_lock);
    struct name_hold **place = &service->names;
    while (*place != hold)
        place = &(*place)->next;
    *place = hold->next;
    pthread_cond_broadcast(&service->names_changed);
}
