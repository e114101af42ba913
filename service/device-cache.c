/* SPDX-License-Identifier: Apache-2.0
 *
 * See device-cache.h.
 *
 *   call    compares the generation. Another one than the cache's: the rows are read, all of them
 *           if it was seen before, else this page's only, since changes may go on
 *           stamps, then texts are copied, under the lock for reading
 *           a text whose stamp differs is made anew, and kept under the lock for writing
 *
 * Invariants:
 *   1. Entries are in order of names, as SQLite compares them (memcmp).
 *   2. `text_bytes` is the sum over all texts, and at most DEVICE_CACHE_BYTES.
 */
#include "service/device-cache.h"

#include "base/cleanup.h"
#include "service/context.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_AT_A_TIME = 1000 };

struct entry {
    struct device_row row;
    uint64_t stamp; /* of the text */
    char *text;     /* heap; NULL: not kept */
    size_t bytes;
};

struct device_cache {
    pthread_rwlock_t lock;    /* all below */
    uint64_t generation;      /* of the entries; 0: there are none */
    uint64_t seen_generation; /* of the last call that found another one */
    struct entry *entries;
    size_t count, text_bytes;
};

struct device_cache *device_cache_new(struct err *err)
{
    struct device_cache *cache = calloc(1, sizeof(*cache));
    if (cache)
        pthread_rwlock_init(&cache->lock, NULL);
    else
        err_set(err, ErrOutOfResources, 0, "there is no memory for the devices");
    return cache;
}

static void cache_clear(struct device_cache *cache)
{
    for (size_t i = 0; i < cache->count; i++) {
        device_row_clear(&cache->entries[i].row);
        free(cache->entries[i].text);
    }
    free(cache->entries);
    cache->entries = NULL;
    cache->generation = cache->count = cache->text_bytes = 0;
}

void device_cache_free(struct device_cache *cache)
{
    cache_clear(cache);
    pthread_rwlock_destroy(&cache->lock);
    free(cache);
}

/* ---- filling ---- */

/* Appends rows after those that are there. Takes their strings. */
static int entries_append(struct device_cache *cache, struct device_row *rows, size_t count,
                          struct err *err)
{
    struct entry *entries =
        reallocarray(cache->entries, cache->count + count, sizeof(*cache->entries));
    if (!entries)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the devices");
    cache->entries = entries;
    for (size_t i = 0; i < count; i++) {
        struct entry *entry = &entries[cache->count++];
        *entry = (struct entry){.row = rows[i]};
        rows[i] = (struct device_row){0};
        assert(cache->count == 1 || strcmp(entry[-1].row.name, entry->row.name) < 0); /* 1 */
    }
    return 0;
}

/* Reads all rows, anew. They are of `generation` if that is still the store's afterwards. */
static int cache_fill_locked(struct device_cache *cache, struct store *store, uint64_t generation,
                             struct err *err)
{
    cache_clear(cache);
    for (size_t count = ROWS_AT_A_TIME; count == ROWS_AT_A_TIME;) {
        struct device_row *rows;
        const char *after = cache->count ? cache->entries[cache->count - 1].row.name : NULL;
        if (store_device_list(store, after, ROWS_AT_A_TIME, &rows, &count, err) != 0)
            return -1;
        int ret = count ? entries_append(cache, rows, count, err) : 0;
        device_rows_free(rows, count);
        if (ret != 0)
            return -1;
    }
    if (store_devices_generation(store) == generation)
        cache->generation = generation;
    return 0;
}

/* Holds the lock for reading, with entries of the store's generation; or, false, does not: rows
 * change too often. */
static bool cache_begin(struct service *service)
{
    struct err err;
    struct device_cache *cache = service->device_cache;
    uint64_t generation = store_devices_generation(service->store);
    pthread_rwlock_rdlock(&cache->lock);
    if (cache->generation == generation)
        return true;
    pthread_rwlock_unlock(&cache->lock);
    pthread_rwlock_wrlock(&cache->lock);
    bool was_seen = cache->seen_generation == generation;
    cache->seen_generation = generation;
    if (was_seen && cache->generation != generation)
        cache_fill_locked(cache, service->store, generation, &err);
    pthread_rwlock_unlock(&cache->lock);
    if (!was_seen)
        return false;
    pthread_rwlock_rdlock(&cache->lock);
    if (cache->generation == generation)
        return true;
    pthread_rwlock_unlock(&cache->lock);
    return false;
}

/* A text that was made anew. */
struct fresh {
    size_t position;
    uint64_t stamp;
    char *text; /* heap */
    size_t bytes;
};

/* Keeps the text if there is room, and takes it then. Under the lock for writing. */
static void fresh_keep_locked(struct device_cache *cache, struct fresh *fresh)
{
    struct entry *entry = &cache->entries[fresh->position];
    cache->text_bytes -= entry->text ? entry->bytes : 0;
    free(steal(entry->text));
    if (fresh->bytes > DEVICE_CACHE_BYTES - cache->text_bytes)
        return;
    entry->text = steal(fresh->text);
    entry->bytes = fresh->bytes;
    entry->stamp = fresh->stamp;
    cache->text_bytes += entry->bytes;
    assert(cache->text_bytes <= DEVICE_CACHE_BYTES); /* 2 */
}

/* Keeps the fresh texts, if the entries are still the ones that they belong to. */
static void fresh_keep(struct device_cache *cache, uint64_t generation, struct fresh *fresh,
                       size_t count)
{
    if (count == 0)
        return;
    pthread_rwlock_wrlock(&cache->lock);
    for (size_t i = 0; i < count && cache->generation == generation; i++)
        fresh_keep_locked(cache, &fresh[i]);
    pthread_rwlock_unlock(&cache->lock);
}

/* ---- one device ---- */

/* The position of the first entry after the name. */
static size_t entries_after(const struct device_cache *cache, const char *after)
{
    size_t low = 0, high = after ? cache->count : 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(cache->entries[middle].row.name, after) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int text_set(struct device_text *text, const struct device_row *row, char *heap,
                    size_t bytes, struct err *err)
{
    *text = (struct device_text){.text = heap, .bytes = bytes, .revision = row->revision};
    strcpy(text->id, row->id);
    return heap ? 0
                : err_set(err, ErrOutOfResources, 0, "there is no memory for device '%s'",
                          row->name);
}

static int text_encode(struct service *service, const struct device_view *view,
                       device_encoder *encode, struct device_text *text, struct err *err)
{
    char *made = encode(service, view);
    return text_set(text, &view->row, made, made ? strlen(made) : 0, err);
}

/* A text has what the stamp is of, and whether NBD needs TLS, which a reload changes. */
static uint64_t text_stamp(uint64_t stamp, bool needs_tls)
{
    return needs_tls ? ~stamp : stamp;
}

static bool entry_has_text(const struct service *service, const struct entry *entry, uint64_t stamp)
{
    return entry->text &&
           entry->stamp == text_stamp(stamp, device_row_needs_tls(service, &entry->row));
}

/* Copies the entry's text, if it is of that stamp; if not, its row, and says where it is. */
static int entry_copy_locked(const struct service *service, const char *name, uint64_t stamp,
                             struct device_text *text, struct device_row *row, size_t *position,
                             struct err *err)
{
    const struct device_cache *cache = service->device_cache;
    size_t next = entries_after(cache, name);
    const struct entry *entry = next > 0 ? &cache->entries[next - 1] : NULL;
    if (!entry || strcmp(entry->row.name, name) != 0 || entry->row.state == DEVICE_ROW_CREATING)
        return err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    *position = next - 1;
    if (!entry_has_text(service, entry, stamp))
        return device_row_copy(row, &entry->row, err);
    char *copy = malloc(entry->bytes + 1);
    if (copy)
        memcpy(copy, entry->text, entry->bytes + 1);
    return text_set(text, &entry->row, copy, entry->bytes, err);
}

/* Keeps a copy; without memory it is made again by the next call. */
static void text_keep(struct device_cache *cache, uint64_t generation, size_t position,
                      const struct device_view *view, const struct device_text *text)
{
    struct fresh fresh = {.position = position,
                          .stamp = text_stamp(device_info_stamp(&view->info), view->needs_tls),
                          .text = strdup(text->text),
                          .bytes = text->bytes};
    if (fresh.text)
        fresh_keep(cache, generation, &fresh, 1);
    free(fresh.text);
}

/* The stamp, which may wait for storage, is taken first: nobody waits under the lock. */
int device_cache_get(struct service *service, const char *name, device_encoder *encode,
                     struct device_text *text, struct err *err)
{
    uint64_t stamp;
    size_t position = 0;
    CLEANUP_BY(device_view_clear) struct device_view view = {0};
    struct device_cache *cache = service->device_cache;
    *text = (struct device_text){0};
    block_device_stamps(service->block, &name, 1, true, &stamp);
    if (!cache_begin(service))
        return devices_get(service, name, &view, err) == 0
                   ? text_encode(service, &view, encode, text, err)
                   : -1;
    uint64_t generation = cache->generation;
    int result = entry_copy_locked(service, name, stamp, text, &view.row, &position, err);
    pthread_rwlock_unlock(&cache->lock);
    if (result != 0 || text->text)
        return result;
    if (device_view_fill(service, &view, true, err) != 0 ||
        text_encode(service, &view, encode, text, err) != 0)
        return -1;
    text_keep(cache, generation, position, &view, text);
    return 0;
}

/* ---- a page ---- */

/* What a page is gathered into. Zeroed at first. */
struct gathering {
    const char **names;
    uint64_t *stamps;
    size_t *positions;
    struct fresh *fresh;
    size_t fresh_count;
    FILE *text;
    struct device_page *page;
};

static int gathering_begin(struct gathering *gathering, size_t limit, struct device_page *page,
                           struct err *err)
{
    *page = (struct device_page){0};
    *gathering = (struct gathering){.names = calloc(limit, sizeof(*gathering->names)),
                                    .stamps = calloc(limit, sizeof(*gathering->stamps)),
                                    .positions = calloc(limit, sizeof(*gathering->positions)),
                                    .fresh = calloc(limit, sizeof(*gathering->fresh)),
                                    .text = open_memstream(&page->text, &page->bytes),
                                    .page = page};
    if (gathering->names && gathering->stamps && gathering->positions && gathering->fresh &&
        gathering->text)
        return 0;
    return err_set(err, ErrOutOfResources, 0, "there is no memory for the list");
}

static void gathering_clear(struct gathering *gathering)
{
    for (size_t i = 0; i < gathering->fresh_count; i++)
        free(gathering->fresh[i].text);
    free(gathering->names);
    free(gathering->stamps);
    free(gathering->positions);
    free(gathering->fresh);
    if (gathering->text)
        fclose(gathering->text);
}

/* 0 with the page's text complete, or -1 and there is none. */
static int gathering_end(struct gathering *gathering, int result, struct err *err)
{
    if (fclose(steal(gathering->text)) != 0 && result == 0)
        result = err_set(err, ErrOutOfResources, 0, "there is no memory for the list");
    if (result != 0) {
        free(gathering->page->text);
        *gathering->page = (struct device_page){0};
    }
    return result;
}

static void text_add(struct gathering *gathering, const char *text, size_t bytes)
{
    if (ftell(gathering->text) > 0)
        putc(',', gathering->text);
    fwrite(text, 1, bytes, gathering->text);
}

/* Encodes a device whose row is `row` (borrowed). */
static int device_add(struct service *service, const struct device_row *row, size_t position,
                      device_encoder *encode, struct gathering *gathering, struct err *err)
{
    struct device_view view = {.row = *row};
    if (device_view_fill(service, &view, false, err) != 0) {
        view.row = (struct device_row){0};
        device_view_clear(&view);
        return err->code == ErrDeviceNotFound ? 0 : -1;
    }
    struct fresh *fresh = &gathering->fresh[gathering->fresh_count];
    *fresh = (struct fresh){.position = position,
                            .stamp = text_stamp(device_info_stamp(&view.info), view.needs_tls),
                            .text = encode(service, &view)};
    view.row = (struct device_row){0};
    device_view_clear(&view);
    if (!fresh->text)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the list");
    fresh->bytes = strlen(fresh->text);
    gathering->fresh_count++;
    text_add(gathering, fresh->text, fresh->bytes);
    return 0;
}

/* Whether the labels, as this program prints them, have `label`. No text within them has a comma or
 * brace before a quote that is not escaped. */
static bool labels_have(const char *labels, const char *label)
{
    size_t length = strlen(label);
    for (const char *at = labels; (at = strstr(at, label)); at++)
        if (at > labels && (at[-1] == ',' || at[-1] == '{') &&
            (at[length] == ',' || at[length] == '}'))
            return true;
    return false;
}

static bool device_matches(struct service *service, const struct device_filter *filter,
                           const struct device_row *row)
{
    struct err err;
    struct device_info info;
    if (filter->name && strcmp(filter->name, row->name) != 0)
        return false;
    for (size_t i = 0; i < filter->label_count; i++)
        if (!labels_have(row->labels, filter->labels[i]))
            return false;
    if (!filter->has_state)
        return true;
    if (block_device_info_known(service->block, row->name, &info, &err) != 0)
        return false;
    bool is_failed = info.failed;
    device_info_clear(&info);
    return is_failed == filter->is_failed;
}

/* The positions of up to `limit` entries from `first` on that the filter has. *end: behind the last
 * one that was looked at. Under the lock for reading. */
static size_t entries_find(struct service *service, const struct device_filter *filter,
                           size_t first, size_t limit, size_t *positions, size_t *end)
{
    const struct device_cache *cache = service->device_cache;
    if (filter->name) {
        size_t after = entries_after(cache, filter->name);
        *end = cache->count;
        if (after <= first || !device_matches(service, filter, &cache->entries[after - 1].row))
            return 0;
        positions[0] = after - 1;
        return 1;
    }
    size_t count = 0, most = first + (limit < DEVICE_SCAN_MAX ? DEVICE_SCAN_MAX : limit);
    for (*end = first; *end < cache->count && *end < most && count < limit; ++*end)
        if (device_matches(service, filter, &cache->entries[*end].row))
            positions[count++] = *end;
    return count;
}

/* Under the lock for reading. */
static int page_gather(struct service *service, const struct device_filter *filter,
                       const char *after, size_t limit, device_encoder *encode,
                       struct gathering *gathering, struct err *err)
{
    const struct device_cache *cache = service->device_cache;
    size_t end, i, *positions = gathering->positions;
    size_t count =
        entries_find(service, filter, entries_after(cache, after), limit, positions, &end);
    for (i = 0; i < count; i++)
        gathering->names[i] = cache->entries[positions[i]].row.name;
    block_device_stamps(service->block, gathering->names, count, false, gathering->stamps);
    for (i = 0; i < count && ftell(gathering->text) <= (long)STORE_PAGE_BYTES_MAX; i++) {
        const struct entry *entry = &cache->entries[positions[i]];
        if (entry->row.state == DEVICE_ROW_CREATING || gathering->stamps[i] == 0)
            continue;
        if (entry_has_text(service, entry, gathering->stamps[i]))
            text_add(gathering, entry->text, entry->bytes);
        else if (device_add(service, &entry->row, positions[i], encode, gathering, err) != 0)
            return -1;
    }
    if (i < count)
        end = positions[i];
    gathering->page->has_more = end < cache->count;
    if (gathering->page->has_more)
        snprintf(gathering->page->last, sizeof(gathering->page->last), "%s",
                 cache->entries[end - 1].row.name);
    return 0;
}

/* The same from the store, for rows that change too often. */
static int page_read(struct service *service, const struct device_filter *filter, const char *after,
                     size_t limit, device_encoder *encode, struct gathering *gathering,
                     struct err *err)
{
    struct device_view *views;
    size_t count;
    int result = 0;
    struct device_page *page = gathering->page;
    if (devices_list(service, after, limit, &views, &count, &page->has_more, page->last, err) != 0)
        return -1;
    for (size_t i = 0; i < count && result == 0; i++) {
        if (!device_matches(service, filter, &views[i].row))
            continue;
        CLEANUP_FREE char *text = encode(service, &views[i]);
        if (text)
            text_add(gathering, text, strlen(text));
        else
            result = err_set(err, ErrOutOfResources, 0, "there is no memory for the list");
    }
    device_views_free(views, count);
    return result;
}

int device_cache_list(struct service *service, const struct device_filter *filter,
                      const char *after, size_t limit, device_encoder *encode,
                      struct device_page *page, struct err *err)
{
    CLEANUP_BY(gathering_clear) struct gathering gathering;
    struct device_cache *cache = service->device_cache;
    int result = gathering_begin(&gathering, limit, page, err);
    if (result == 0 && cache_begin(service)) {
        uint64_t generation = cache->generation;
        result = page_gather(service, filter, after, limit, encode, &gathering, err);
        pthread_rwlock_unlock(&cache->lock);
        fresh_keep(cache, generation, gathering.fresh, gathering.fresh_count);
    } else if (result == 0) {
        result = page_read(service, filter, after, limit, encode, &gathering, err);
    }
    return gathering.text ? gathering_end(&gathering, result, err) : -1;
}
