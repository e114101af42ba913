/* SPDX-License-Identifier: Apache-2.0
 *
 * See life-model.h.
 */
#include "tests/lib/life-model.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The position of one for which `is_used` is as wanted: the first, or one at random. */
#define FIND(list, is_wanted)                                                                      \
    ({                                                                                             \
        size_t found = SIZE_MAX;                                                                   \
        for (size_t i = sizeof(list) / sizeof(*(list)); i-- > 0;)                                  \
            if ((list)[i].is_used == (is_wanted))                                                  \
                found = i;                                                                         \
        found;                                                                                     \
    })
#define PICK(life, list)                                                                           \
    ({                                                                                             \
        size_t found = SIZE_MAX, seen = 0;                                                         \
        for (size_t i = 0; i < sizeof(list) / sizeof(*(list)); i++)                                \
            if ((list)[i].is_used && random_below(&(life)->random, ++seen) == 0)                   \
                found = i;                                                                         \
        found;                                                                                     \
    })

struct life *life_new(void)
{
    struct life *life = mmap(NULL, sizeof(*life), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(life != MAP_FAILED);
    return life;
}

void life_begin(struct life *life, uint64_t seed)
{
    for (size_t i = 0; i < LIFE_DISKS_MAX; i++)
        life->disks[i].is_used = false;
    for (size_t i = 0; i < LIFE_LEFT_MAX; i++)
        life->left[i].is_used = false;
    for (size_t i = 0; i < LIFE_GROUPS_MAX; i++)
        life->groups[i].is_used = false;
    for (size_t i = 0; i < LIFE_COPIES_MAX; i++)
        life->copies[i].is_used = false;
    life->random = random_seeded(seed * 0x9e3779b97f4a7c15ULL);
    life->seed = seed;
    life->step = life->names = life->trees = 0;
    life->has_pending = false;
    life->named.count = life->loose.count = life->beneath.count = 0;
    life->log_bytes = 0;
}

void life_note(struct life *life, const char *format, ...)
{
    va_list list;
    const size_t room = LIFE_LOG_BYTES - life->log_bytes;
    va_start(list, format);
    int bytes = vsnprintf(life->log + life->log_bytes, room, format, list);
    va_end(list);
    if (bytes > 0 && (size_t)bytes + 1 < room) {
        life->log_bytes += (size_t)bytes;
        life->log[life->log_bytes++] = '\n';
    }
}

void life_fail(const struct life *life, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "%.*s", (int)life->log_bytes, life->log);
    vfprintf(stderr, format, list);
    fprintf(stderr, "\nFIRST=%llu LIVES=1 repeats this life; step %llu\n",
            (unsigned long long)life->seed, (unsigned long long)life->step);
    va_end(list);
    _exit(1);
}

void life_name(struct life *life, char letter, char name[LIFE_NAME_BYTES])
{
    snprintf(name, LIFE_NAME_BYTES, "%c%u", letter, ++life->names);
}

bool life_has_file(const struct life_files *files, const char *file)
{
    for (size_t i = 0; i < files->count; i++)
        if (strcmp(files->files[i], file) == 0)
            return true;
    return false;
}

void life_add_file(struct life *life, struct life_files *files, const char *file)
{
    if (life_has_file(files, file))
        return;
    if (files->count == LIFE_FILES_MAX)
        life_fail(life, "there are too many files for the model");
    snprintf(files->files[files->count++], LIFE_NAME_BYTES, "%s", file);
}

/* ---- content ---- */

void life_view_copy(struct life_view *to, const struct life_view *from)
{
    to->size_bytes = from->size_bytes;
    memcpy(to->bytes, from->bytes, from->size_bytes);
}

void life_view_grow(struct life_view *view, uint64_t size_bytes)
{
    assert(size_bytes >= view->size_bytes && size_bytes <= LIFE_VIEW_BYTES);
    memset(view->bytes + view->size_bytes, 0, size_bytes - view->size_bytes);
    view->size_bytes = size_bytes;
}

void life_left_fill(struct life_left *left, const char *file, bool is_raw, unsigned tree,
                    const struct life_view *view)
{
    snprintf(left->file, sizeof(left->file), "%s", file);
    left->is_raw = is_raw;
    left->tree = tree;
    life_view_copy(&left->view, view);
    left->is_used = true;
}

void life_data(const struct life_change *change, unsigned char *bytes)
{
    struct random random = random_seeded(change->seed);
    if (change->kind == LIFE_WRITE)
        random_fill(&random, bytes, change->length);
    else
        memset(bytes, 0, change->length);
}

/* ---- finding ---- */

size_t life_find_disk(const struct life *life, const char *name)
{
    for (size_t i = 0; i < LIFE_DISKS_MAX; i++)
        if (life->disks[i].is_used && strcmp(life->disks[i].name, name) == 0)
            return i;
    return SIZE_MAX;
}

size_t life_free_disk(const struct life *life)
{
    return FIND(life->disks, false);
}

size_t life_free_left(const struct life *life)
{
    return FIND(life->left, false);
}

size_t life_pick_disk(struct life *life)
{
    return PICK(life, life->disks);
}

size_t life_pick_left(struct life *life)
{
    return PICK(life, life->left);
}

size_t life_pick_group(struct life *life)
{
    return PICK(life, life->groups);
}
