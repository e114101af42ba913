/* SPDX-License-Identifier: Apache-2.0
 *
 * See life-draws.h.
 */
#include "tests/lib/life-draws.h"

#include "service/devices.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define REFUSED(code) (UINT64_C(1) << Err##code)
enum { IDLE_MS = 60000 };
_Static_assert(ERR_CODE_COUNT <= 64, "a code is a bit");

const char *life_kind_name(enum life_kind kind)
{
    static const char *const names[LIFE_KINDS] = {
        [LIFE_CREATE] = "create",      [LIFE_ATTACH] = "attach",   [LIFE_WRITE] = "write",
        [LIFE_ZERO] = "zero",          [LIFE_DISCARD] = "discard", [LIFE_TAKE] = "group",
        [LIFE_ROLL_BACK] = "rollback", [LIFE_CLONE] = "clone",     [LIFE_DELETE] = "delete",
        [LIFE_COPY] = "copy",          [LIFE_RESIZE] = "resize",   [LIFE_DETACH] = "detach",
        [LIFE_HOLD] = "hold",          [LIFE_RELEASE] = "release",
    };
    return names[kind];
}

static struct life_change change_of(enum life_kind kind)
{
    return (struct life_change){.kind = kind};
}

/* How many images there are, but for copies that nobody has attached. */
static size_t images_count(const struct living *living)
{
    char path[PATH_MAX];
    size_t count = 0;
    snprintf(path, sizeof(path), "%s/images", living->directory);
    DIR *directory = opendir(path);
    for (const struct dirent *entry; directory && (entry = readdir(directory));)
        count += entry->d_name[0] != '.' && entry->d_name[0] != 'y';
    if (directory)
        closedir(directory);
    return count;
}

static struct cluster_shape draw_shape(struct life *life)
{
    static const struct cluster_shape shapes[] = {{65536, true}, {65536, true},  {65536, false},
                                                  {16384, true}, {16384, false}, {4096, false},
                                                  {1024, false}, {512, false}};
    return shapes[random_below(&life->random, sizeof(shapes) / sizeof(*shapes))];
}

void life_draw_create(struct life *life, struct life_change *change)
{
    static const uint64_t sizes[] = {65536, 65536, 65536, 66048, 131072, 100001, 300032, 1 << 20};
    *change = change_of(LIFE_CREATE);
    life_name(life, 'd', change->name);
    life_name(life, 'm', change->file);
    change->is_raw = random_chance(&life->random, 45);
    change->length = sizes[random_below(&life->random, sizeof(sizes) / sizeof(*sizes))];
    change->shape = draw_shape(life);
}

/* ---- writes ---- */

static void draw_write(struct life *life, size_t disk, struct life_change *change)
{
    static const uint64_t lengths[] = {1, 512, 512, 4096, 4096, 5000, 65536, 200000};
    struct random *random = &life->random;
    const uint64_t size_bytes = life->disks[disk].view.size_bytes;
    uint64_t kind = random_below(random, 100);
    *change = change_of(kind < 70 ? LIFE_WRITE : kind < 85 ? LIFE_ZERO : LIFE_DISCARD);
    snprintf(change->name, sizeof(change->name), "%s", life->disks[disk].name);
    change->disk = disk;
    change->seed = random_next(random);
    change->length = lengths[random_below(random, sizeof(lengths) / sizeof(*lengths))];
    change->offset = random_below(random, size_bytes);
    if (random_chance(random, 70)) {
        change->offset = change->offset / BLOCK_SECTOR_BYTES * BLOCK_SECTOR_BYTES;
        change->length +=
            (BLOCK_SECTOR_BYTES - change->length % BLOCK_SECTOR_BYTES) % BLOCK_SECTOR_BYTES;
    }
    if (change->length > size_bytes - change->offset)
        change->length = size_bytes - change->offset;
    change->is_flushed = random_chance(random, 20);
    change->keeps_space = random_chance(random, 50);
}

/* ---- groups ---- */

/* Some of the disks, in any order. */
static void draw_disks(struct life *life, struct life_change *change)
{
    size_t wanted = random_between(&life->random, 1, LIFE_MEMBERS_MAX);
    for (size_t i = 0; i < LIFE_DISKS_MAX && change->count < wanted; i++) {
        size_t disk = (i + change->seed) % LIFE_DISKS_MAX;
        if (life->disks[disk].is_used)
            change->disks[change->count++] = disk;
    }
}

static bool draw_take(struct life *life, struct life_change *change)
{
    size_t other = life_pick_group(life);
    *change = change_of(LIFE_TAKE);
    change->seed = random_below(&life->random, LIFE_DISKS_MAX);
    draw_disks(life, change);
    change->has_files = random_chance(&life->random, 50);
    life_name(life, 'o', change->file);
    if (other != SIZE_MAX && !life->groups[other].is_deleting && random_chance(&life->random, 5)) {
        snprintf(change->name, sizeof(change->name), "%s", life->groups[other].name);
        change->refusals = REFUSED(GroupExists);
    } else {
        life_name(life, 'g', change->name);
    }
    return change->count > 0;
}

/* Of a group that is there, with which a change begins; that it is being deleted is refused. */
static bool draw_of_group(struct life *life, enum life_kind kind, struct life_change *change)
{
    *change = change_of(kind);
    change->group = life_pick_group(life);
    if (change->group == SIZE_MAX)
        return false;
    const struct life_group *group = &life->groups[change->group];
    change->member = random_below(&life->random, group->count);
    if (group->is_deleting)
        change->refusals = REFUSED(GroupDeleting) | REFUSED(GroupNotFound);
    return true;
}

static bool draw_roll_back(struct life *life, struct life_change *change)
{
    if (!draw_of_group(life, LIFE_ROLL_BACK, change))
        return false;
    const struct life_group *group = &life->groups[change->group];
    life_name(life, 'r', change->name);
    for (size_t i = 0; i < group->count && !group->is_deleting; i++) {
        size_t disk = life_find_disk(life, group->members[i].name);
        if (disk == SIZE_MAX)
            change->refusals |= REFUSED(DeviceNotFound);
        else if (life->disks[disk].tree != group->members[i].tree)
            change->refusals |= REFUSED(NotRelated);
    }
    return true;
}

/* A new name, or that of a member that was detached, or one that is taken. */
static void draw_device_name(struct life *life, struct life_change *change)
{
    size_t taken = life_pick_disk(life), group = life_pick_group(life);
    uint64_t kind = random_below(&life->random, 100);
    life_name(life, 'c', change->name);
    if (kind < 8 && taken != SIZE_MAX) {
        snprintf(change->name, sizeof(change->name), "%s", life->disks[taken].name);
        change->refusals |= REFUSED(DeviceExists);
    } else if (kind < 50 && group != SIZE_MAX) {
        const char *name = life->groups[group].members[0].name;
        if (life_find_disk(life, name) == SIZE_MAX)
            snprintf(change->name, sizeof(change->name), "%s", name);
    }
}

static bool draw_clone(struct life *life, struct life_change *change)
{
    if (life_free_disk(life) == SIZE_MAX || !draw_of_group(life, LIFE_CLONE, change))
        return false;
    draw_device_name(life, change);
    life_name(life, 'i', change->file);
    change->shape = draw_shape(life);
    return true;
}

static bool draw_delete(struct life *life, struct life_change *change)
{
    if (!draw_of_group(life, LIFE_DELETE, change) || change->refusals)
        return false;
    if (life->groups[change->group].is_held)
        change->refusals |= REFUSED(GroupHeld);
    for (size_t i = 0; i < LIFE_COPIES_MAX; i++)
        if (life->copies[i].is_used && life->copies[i].group == change->group)
            change->doubts |= REFUSED(DeviceInUse);
    change->has_user = random_chance(&life->random, 5);
    if (change->has_user)
        change->refusals |= REFUSED(DeviceInUse);
    return true;
}

static bool draw_copy(struct life *life, struct life_change *change)
{
    size_t copies = 0, left = 0;
    for (size_t i = 0; i < LIFE_COPIES_MAX; i++)
        copies += life->copies[i].is_used;
    for (size_t i = 0; i < LIFE_LEFT_MAX; i++)
        left += life->left[i].is_used;
    if (copies == LIFE_COPIES_MAX || left + copies + LIFE_DISKS_MAX >= LIFE_LEFT_MAX ||
        !draw_of_group(life, LIFE_COPY, change))
        return false;
    life_name(life, 'y', change->file);
    change->is_raw = random_chance(&life->random, 50);
    return true;
}

static bool draw_hold(struct life *life, struct life_change *change)
{
    if (!draw_of_group(life, LIFE_HOLD, change) || change->refusals)
        return false;
    change->kind = life->groups[change->group].is_held ? LIFE_RELEASE : LIFE_HOLD;
    return true;
}

/* ---- devices ---- */

static bool draw_resize(struct life *life, struct life_change *change)
{
    static const uint64_t steps[] = {512, 512, 4096, 65536};
    *change = change_of(LIFE_RESIZE);
    change->disk = life_pick_disk(life);
    if (change->disk == SIZE_MAX)
        return false;
    const struct life_disk *disk = &life->disks[change->disk];
    snprintf(change->name, sizeof(change->name), "%s", disk->name);
    change->length =
        disk->view.size_bytes + steps[random_below(&life->random, sizeof(steps) / sizeof(*steps))];
    if (random_chance(&life->random, 8)) {
        change->length = disk->view.size_bytes - BLOCK_SECTOR_BYTES;
        change->refusals = REFUSED(InvalidValue);
    }
    return change->length <= LIFE_VIEW_BYTES;
}

/* Those too that nobody asked for. */
static void all_jobs_await(struct living *living)
{
    life_await_jobs(living);
    if (!life_await_idle(living, IDLE_MS))
        life_fail(living->life, "a job does not end");
}

/* What a job merges is not attached. */
void life_draw_attach(struct living *living, size_t left, struct life_change *change)
{
    struct life *life = living->life;
    *change = change_of(LIFE_ATTACH);
    all_jobs_await(living);
    draw_device_name(life, change);
    change->left = left;
    change->is_raw = life->left[left].is_raw;
    change->shape = draw_shape(life);
    snprintf(change->file, sizeof(change->file), "%s", life->left[left].file);
}

/* The images of the chain, but for those that are named: first the top, then those beneath. Whether
 * one of these is named. */
static bool chain_look(struct living *living, const char *name, struct life_change *change)
{
    struct err err;
    struct life *life = living->life;
    CLEANUP_BY(device_view_clear) struct device_view view = {0};
    if (devices_get(&living->service, name, &view, &err) != 0)
        life_fail(life, "%s: %s", name, err.message);
    life->beneath.count = 0;
    snprintf(change->file, sizeof(change->file), "%s", life_file_of(living, view.info.top));
    change->is_raw = strcmp(view.info.format, "raw") == 0;
    bool has_named = false;
    for (size_t i = 1; i < view.info.chain_length; i++) {
        const char *file = life_file_of(living, view.info.chain[i].image);
        if (life_has_file(&life->named, file))
            has_named = true;
        else
            life_add_file(life, &life->beneath, file);
    }
    return has_named;
}

/* A job that cuts the device, or merges its top into one that is named, would give it another top:
 * nobody waits for it if the top goes. */
void life_draw_detach(struct living *living, size_t disk, bool deletes_file,
                      struct life_change *change)
{
    struct life *life = living->life;
    *change = change_of(LIFE_DETACH);
    life_await_jobs(living);
    bool is_idle = !deletes_file || random_chance(&life->random, 50);
    if (is_idle)
        all_jobs_await(living);
    change->disk = disk;
    change->deletes_file = deletes_file;
    snprintf(change->name, sizeof(change->name), "%s", life->disks[disk].name);
    bool has_named = chain_look(living, change->name, change);
    if (!is_idle)
        life_add_file(life, &life->beneath, change->file);
    if (deletes_file && (life_has_file(&life->named, change->file) || (has_named && !is_idle)))
        *(is_idle ? &change->refusals : &change->doubts) |= REFUSED(ImageIsKept);
}

static bool draw_detach(struct living *living, struct life_change *change)
{
    struct life *life = living->life;
    size_t disk = life_pick_disk(life);
    if (disk == SIZE_MAX)
        return false;
    life_draw_detach(living, disk, random_chance(&life->random, 40), change);
    change->has_user = random_chance(&life->random, 8);
    if (change->has_user)
        change->refusals |= REFUSED(DeviceInUse);
    return life_free_left(life) != SIZE_MAX;
}

static bool draw_attach(struct living *living, struct life_change *change)
{
    size_t left = life_pick_left(living->life);
    if (left == SIZE_MAX || life_free_disk(living->life) == SIZE_MAX)
        return false;
    life_draw_attach(living, left, change);
    return life_free_disk(living->life) != SIZE_MAX;
}

/* ---- one of all ---- */

/* Of those that make images. */
static bool draw_growth(struct life *life, uint64_t kind, struct life_change *change)
{
    bool has_room = false;
    for (size_t i = 0; i < LIFE_GROUPS_MAX; i++)
        has_room |= !life->groups[i].is_used;
    if (kind < 36)
        return has_room && draw_take(life, change);
    if (kind < 60)
        return has_room && draw_roll_back(life, change);
    if (kind < 80)
        return draw_clone(life, change);
    if (kind < 92)
        return draw_resize(life, change);
    if (life_free_disk(life) == SIZE_MAX)
        return false;
    life_draw_create(life, change);
    return true;
}

bool life_draw(struct living *living, struct life_change *change)
{
    struct life *life = living->life;
    size_t disk = life_pick_disk(life);
    uint64_t kind = random_below(&life->random, 100);
    if (kind < 28 && disk != SIZE_MAX) {
        draw_write(life, disk, change);
        return true;
    }
    if (kind < 68 && images_count(living) < LIFE_IMAGES_MAX)
        return draw_growth(life, random_below(&life->random, 100), change);
    if (kind < 82)
        return draw_delete(life, change);
    if (kind < 87)
        return draw_copy(life, change);
    if (kind < 91)
        return draw_hold(life, change);
    return kind < 96 ? draw_detach(living, change) : draw_attach(living, change);
}
