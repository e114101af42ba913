/* SPDX-License-Identifier: Apache-2.0
 *
 * See file-table.h.
 *
 *     files[]       by (dev, ino)   struct file --claims--> struct file_claim, ...  one an open
 *     identities[]  by identity     struct frozen_mark
 *     paths[]       by path         the same marks
 *
 * F1. A listed file has a claim; the last one takes the file off the list.
 * F2. A file has any number of readers, or one writer.
 * F3. An offered node is not freed before its claim is released, so `refs` may be looked at under
 *     the lock. No assert: node_unref() is the one that frees.
 */
#include "block/image/file-table.h"

#include "base/condition.h"
#include "base/hash-table.h"
#include "base/monotonic.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct file {
    struct hash_link link;
    dev_t dev;
    ino_t ino;
    struct file_claim *claims; /* never empty */
};

struct file_claim {
    struct file_claim *next;
    struct file_table *table;
    struct file *file;
    bool writes;
    struct shared_image shared; /* node NULL: not offered */
};

struct frozen_mark {
    struct hash_link by_identity; /* first */
    struct hash_link by_path;
    struct identity identity;
    char path[];
};

struct file_table {
    pthread_mutex_t lock;    /* guards all below */
    pthread_cond_t released; /* a file is not used any more, or is_stopping */
    bool is_stopping;
    struct hash_table files, identities, paths;
};

static uint64_t hash_file(dev_t dev, ino_t ino)
{
    return hash_mix(hash_mix(dev) ^ ino);
}

/* ---- life ---- */

struct file_table *file_table_new(void)
{
    struct file_table *table = calloc(1, sizeof(*table));
    if (!table)
        return NULL;
    pthread_mutex_init(&table->lock, NULL);
    pthread_cond_init(&table->released, NULL);
    if (hash_table_init(&table->files) != 0 || hash_table_init(&table->identities) != 0 ||
        hash_table_init(&table->paths) != 0) {
        file_table_free(table);
        return NULL;
    }
    return table;
}

void file_table_free(struct file_table *table)
{
    assert(table->files.count == 0);
    for (size_t i = 0; table->identities.slots && i < table->identities.slot_count; i++)
        while (table->identities.slots[i]) {
            struct hash_link *link = table->identities.slots[i];
            table->identities.slots[i] = link->next;
            frozen_mark_free((struct frozen_mark *)link);
        }
    hash_table_destroy(&table->files);
    hash_table_destroy(&table->identities);
    hash_table_destroy(&table->paths);
    pthread_cond_destroy(&table->released);
    pthread_mutex_destroy(&table->lock);
    free(table);
}

/* ---- claims ---- */

static void file_assert_state_locked(const struct file *file)
{
    assert(file->claims); /* F1 */
    assert(!file->claims->writes ||
           !file->claims->next); /* F2: nobody joins a writer, nor he others */
    (void)file;
}

static struct file *file_find_locked(struct file_table *table, dev_t dev, ino_t ino)
{
    uint64_t hash = hash_file(dev, ino);
    for (struct hash_link *link = hash_table_find(&table->files, hash); link; link = link->next) {
        struct file *file = (struct file *)link;
        if (file->dev == dev && file->ino == ino)
            return file;
    }
    return NULL;
}

static struct frozen_mark *mark_find_locked(const struct file_table *table,
                                            const struct identity *identity)
{
    uint64_t hash = hash_text(identity->text);
    for (struct hash_link *link = hash_table_find(&table->identities, hash); link;
         link = link->next) {
        struct frozen_mark *mark = (struct frozen_mark *)link;
        if (identity_is_same(&mark->identity, identity))
            return mark;
    }
    return NULL;
}

static struct frozen_mark *mark_find_path_locked(const struct file_table *table, const char *path)
{
    struct hash_link *link = hash_table_find(&table->paths, hash_text(path));
    for (; link; link = link->next) {
        struct frozen_mark *mark = HASH_OBJECT(link, struct frozen_mark, by_path);
        if (strcmp(mark->path, path) == 0)
            return mark;
    }
    return NULL;
}

static int use_check_locked(struct file_table *table, const struct file_use *use, struct err *err)
{
    const struct file *file = file_find_locked(table, use->dev, use->ino);
    if (file && (file->claims->writes || !use->read_only)) /* F2 */
        return err_set(err, ErrDeviceInUse, 0, "image '%s' is in use", use->path);
    return 0;
}

struct file_claim *file_table_claim(struct file_table *table, const struct file_use *use,
                                    struct err *err)
{
    CLEANUP_FREE struct file_claim *claim = malloc(sizeof(*claim));
    CLEANUP_FREE struct file *fresh = malloc(sizeof(*fresh));
    if (!claim || !fresh) {
        err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be opened", use->path);
        return NULL;
    }
    LOCK_GUARD(&table->lock);
    if (use_check_locked(table, use, err) != 0)
        return NULL;
    struct file *file = file_find_locked(table, use->dev, use->ino);
    if (!file) {
        file = steal(fresh);
        *file = (struct file){
            .link.hash = hash_file(use->dev, use->ino), .dev = use->dev, .ino = use->ino};
        hash_table_add(&table->files, &file->link);
    }
    *claim = (struct file_claim){
        .next = file->claims, .table = table, .file = file, .writes = !use->read_only};
    file->claims = claim;
    file_assert_state_locked(file);
    return steal(claim);
}

void file_claim_release(struct file_claim *claim)
{
    struct file_table *table = claim->table;
    struct file *file = claim->file;
    pthread_mutex_lock(&table->lock);
    file_assert_state_locked(file);
    struct file_claim **slot = &file->claims;
    while (*slot != claim)
        slot = &(*slot)->next;
    *slot = claim->next;
    bool is_last = !file->claims;
    if (is_last) {
        hash_table_remove(&table->files, &file->link);
        pthread_cond_broadcast(&table->released);
    }
    pthread_mutex_unlock(&table->lock);
    if (is_last)
        free(file);
    free(claim);
}

void file_claim_to_reader(struct file_claim *claim)
{
    LOCK_GUARD(&claim->table->lock);
    file_assert_state_locked(claim->file);
    claim->writes = false;
}

int file_claim_to_writer(struct file_claim *claim, const char *path, struct err *err)
{
    LOCK_GUARD(&claim->table->lock);
    const struct file *file = claim->file;
    file_assert_state_locked(file);
    if (file->claims != claim || claim->next)
        return err_set(err, ErrDeviceInUse, 0, "image '%s' is open a second time", path);
    claim->writes = true;
    return 0;
}

/* ---- shared nodes ---- */

/* Adds a reference, unless the last one is gone. */
static bool refs_take(atomic_uint *refs)
{
    unsigned count = atomic_load(refs);
    while (count && !atomic_compare_exchange_weak(refs, &count, count + 1))
        ;
    return count;
}

static struct node *file_shared_locked(const struct file *file, const char *used_path,
                                       const struct driver *driver)
{
    for (const struct file_claim *claim = file->claims; claim; claim = claim->next) {
        const struct shared_image *shared = &claim->shared;
        if (shared->node && shared->driver == driver && strcmp(shared->used_path, used_path) == 0 &&
            refs_take(shared->refs))
            return shared->node;
    }
    return NULL;
}

struct node *file_claim_share(struct file_claim *claim, const struct shared_image *image)
{
    LOCK_GUARD(&claim->table->lock);
    if (claim->shared.node)
        return NULL;
    struct node *other = file_shared_locked(claim->file, image->used_path, image->driver);
    if (!other)
        claim->shared = *image;
    return other;
}

void file_claim_unshare(struct file_claim *claim)
{
    LOCK_GUARD(&claim->table->lock);
    file_assert_state_locked(claim->file);
    claim->shared = (struct shared_image){.node = NULL};
}

struct node *file_table_shared(struct file_table *table, dev_t dev, ino_t ino,
                               const char *used_path, const struct driver *driver)
{
    LOCK_GUARD(&table->lock);
    const struct file *file = file_find_locked(table, dev, ino);
    return file ? file_shared_locked(file, used_path, driver) : NULL;
}

bool shared_image_ref(const struct shared_image *image)
{
    return refs_take(image->refs);
}

static int file_each_shared(const struct file *file,
                            int (*each)(void *arg, const struct shared_image *image), void *arg)
{
    int ret = 0;
    for (const struct file_claim *claim = file->claims; claim && ret == 0; claim = claim->next)
        if (claim->shared.node)
            ret = each(arg, &claim->shared); /* F3 */
    return ret;
}

int file_table_each_shared(struct file_table *table,
                           int (*each)(void *arg, const struct shared_image *image), void *arg)
{
    int ret = 0;
    LOCK_GUARD(&table->lock);
    for (size_t i = 0; i < table->files.slot_count && ret == 0; i++)
        for (const struct hash_link *link = table->files.slots[i]; link && ret == 0;
             link = link->next)
            ret = file_each_shared((const struct file *)link, each, arg);
    return ret;
}

bool file_table_is_used(struct file_table *table, dev_t dev, ino_t ino)
{
    LOCK_GUARD(&table->lock);
    return file_find_locked(table, dev, ino) != NULL;
}

bool file_table_await(struct file_table *table, dev_t dev, ino_t ino, unsigned timeout_ms)
{
    const uint64_t until_us = clock_monotonic_us() + timeout_ms * 1000ULL;
    LOCK_GUARD(&table->lock);
    while (file_find_locked(table, dev, ino) && !table->is_stopping &&
           condition_wait_until(&table->released, &table->lock, until_us))
        continue;
    return !file_find_locked(table, dev, ino);
}

void file_table_stop(struct file_table *table)
{
    LOCK_GUARD(&table->lock);
    table->is_stopping = true;
    pthread_cond_broadcast(&table->released);
}

struct node *file_table_only_node(struct file_table *table, dev_t dev, ino_t ino)
{
    LOCK_GUARD(&table->lock);
    const struct file *file = file_find_locked(table, dev, ino);
    const struct file_claim *claim = file ? file->claims : NULL;
    bool is_it = claim && !claim->next && claim->shared.node && refs_take(claim->shared.refs);
    return is_it ? claim->shared.node : NULL;
}

/* ---- frozen files ---- */

struct frozen_mark *frozen_mark_new(const struct identity *identity, const char *path)
{
    size_t path_bytes = strlen(path) + 1;
    struct frozen_mark *mark = malloc(sizeof(*mark) + path_bytes);
    if (!mark)
        return NULL;
    *mark = (struct frozen_mark){.by_identity.hash = hash_text(identity->text),
                                 .by_path.hash = hash_text(path),
                                 .identity = *identity};
    memcpy(mark->path, path, path_bytes);
    return mark;
}

void frozen_mark_free(struct frozen_mark *mark)
{
    free(mark);
}

const char *frozen_mark_identity(const struct frozen_mark *mark)
{
    return mark->identity.text;
}

const char *frozen_mark_path(const struct frozen_mark *mark)
{
    return mark->path;
}

/* The same file at another path is another mark: where identities do not last, paths count. */
void file_table_freeze(struct file_table *table, struct frozen_mark *mark)
{
    pthread_mutex_lock(&table->lock);
    bool is_known =
        mark_find_locked(table, &mark->identity) && mark_find_path_locked(table, mark->path);
    if (!is_known) {
        hash_table_add(&table->identities, &mark->by_identity);
        hash_table_add(&table->paths, &mark->by_path);
    }
    pthread_mutex_unlock(&table->lock);
    if (is_known)
        frozen_mark_free(mark);
}

static void mark_drop_locked(struct file_table *table, struct frozen_mark *mark)
{
    hash_table_remove(&table->identities, &mark->by_identity);
    hash_table_remove(&table->paths, &mark->by_path);
    frozen_mark_free(mark);
}

static struct frozen_mark *mark_find_at_locked(const struct file_table *table,
                                               const struct identity *identity, const char *path)
{
    struct hash_link *link = hash_table_find(&table->identities, hash_text(identity->text));
    for (; link; link = link->next) {
        struct frozen_mark *mark = HASH_OBJECT(link, struct frozen_mark, by_identity);
        if (identity_is_same(&mark->identity, identity) && strcmp(mark->path, path) == 0)
            return mark;
    }
    return NULL;
}

void file_table_unmark(struct file_table *table, const struct identity *identity, const char *path)
{
    LOCK_GUARD(&table->lock);
    struct frozen_mark *mark = mark_find_at_locked(table, identity, path);
    if (mark)
        mark_drop_locked(table, mark);
}

void file_table_unfreeze(struct file_table *table, const struct identity *identity,
                         const char *path)
{
    LOCK_GUARD(&table->lock);
    struct frozen_mark *mark;
    while ((mark = mark_find_locked(table, identity)) != NULL)
        mark_drop_locked(table, mark);
    while (!identity->is_lasting && (mark = mark_find_path_locked(table, path)) != NULL)
        mark_drop_locked(table, mark);
}

bool file_table_is_frozen(struct file_table *table, const struct identity *identity,
                          const char *path)
{
    LOCK_GUARD(&table->lock);
    return mark_find_locked(table, identity) ||
           (!identity->is_lasting && mark_find_path_locked(table, path));
}
