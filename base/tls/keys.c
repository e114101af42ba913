/* SPDX-License-Identifier: Apache-2.0
 *
 * See keys.h.
 */
#include "base/tls/keys.h"

#include "base/cleanup.h"
#include "base/tls/file.h"
#include "base/tls/limits.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES_MIN = 16 };

struct psk_user {
    gnutls_datum_t name, key;
};

static struct psk_user *psk_find(const struct tls_keys *keys, const gnutls_datum_t *name)
{
    for (size_t i = 0; i < keys->user_count; i++)
        if (keys->users[i].name.size == name->size &&
            memcmp(keys->users[i].name.data, name->data, name->size) == 0)
            return &keys->users[i];
    return NULL;
}

int tls_keys_answer(const struct tls_keys *keys, const gnutls_datum_t *name, gnutls_datum_t *key)
{
    const struct psk_user *user = psk_find(keys, name);
    key->size = user ? user->key.size : KEY_BYTES_MIN;
    key->data = gnutls_malloc(key->size);
    if (!key->data)
        return -1;
    if (user)
        memcpy(key->data, user->key.data, key->size);
    return user ? 0 : gnutls_rnd(GNUTLS_RND_KEY, key->data, key->size);
}

/* Takes "NAME:KEY" apart; a name that begins with '#' is in hexadecimal. What is wrong with it, or
 * NULL. */
static const char *psk_parse(char *line, struct psk_user *user)
{
    char *colon = strrchr(line, ':');
    if (!colon || colon == line)
        return "is not NAME:KEY";
    gnutls_datum_t key = {.data = (unsigned char *)colon + 1, .size = (unsigned)strlen(colon + 1)};
    gnutls_datum_t name = {.data = (unsigned char *)line, .size = (unsigned)(colon - line)};
    if (gnutls_hex_decode2(&key, &user->key) != 0)
        return "has a key that is not hexadecimal";
    if (user->key.size < KEY_BYTES_MIN || user->key.size > TLS_KEY_BYTES_MAX)
        return "has a key that is not 16 to 64 bytes long";
    if (*line == '#') {
        name.data++;
        name.size--;
        return gnutls_hex_decode2(&name, &user->name) != 0 ? "has a name that is not hexadecimal"
                                                           : NULL;
    }
    user->name.data = gnutls_malloc(name.size);
    if (!user->name.data)
        return "needs memory that there is not";
    user->name.size = name.size;
    memcpy(user->name.data, name.data, name.size);
    return NULL;
}

static int psk_add(struct tls_keys *keys, char *line, const char **wrong)
{
    struct psk_user *users = reallocarray(keys->users, keys->user_count + 1, sizeof(*users));
    *wrong = "needs memory that there is not";
    if (!users)
        return -1;
    keys->users = users;
    users[keys->user_count] = (struct psk_user){.name.data = NULL};
    *wrong = psk_parse(line, &users[keys->user_count]);
    if (!*wrong && psk_find(keys, &users[keys->user_count].name))
        *wrong = "has a name that an earlier line has, too";
    keys->user_count++; /* tls_keys_clear() clears it, good or bad */
    return *wrong ? -1 : 0;
}

int tls_keys_load(struct tls_keys *keys, const char *path, struct err *err)
{
    CLEANUP_BY(tls_datum_clear) gnutls_datum_t content = {.data = NULL};
    if (tls_file_read(path, true, &content, err) != 0)
        return -1;
    char *rest = (char *)content.data, *line;
    const char *wrong;
    for (unsigned number = 1; (line = strsep(&rest, "\n")); number++) {
        line[strcspn(line, "\r")] = '\0';
        if (*line && psk_add(keys, line, &wrong) != 0)
            return err_set(err, ErrInvalidValue, 0, "TLS file '%s': line %u %s", path, number,
                           wrong);
    }
    if (keys->user_count == 0)
        return tls_file_useless(path, 0, err);
    return 0;
}

void tls_keys_clear(struct tls_keys *keys)
{
    for (size_t i = 0; i < keys->user_count; i++) {
        tls_datum_clear(&keys->users[i].name);
        tls_datum_clear(&keys->users[i].key);
    }
    free(keys->users);
    *keys = (struct tls_keys){.users = NULL};
}
