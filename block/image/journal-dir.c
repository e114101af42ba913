/* SPDX-License-Identifier: Apache-2.0
 *
 * See journal-dir.h. A leftover's name has its image's identity (journal_name); the path is only
 * where to look for that image, and names the file that must not be mistaken for it.
 */
#include "block/image/journal-dir.h"

#include "base/condition.h"
#include "base/hash-table.h"
#include "base/log.h"
#include "block/image/journal-load.h"
#include "block/image/sync-note.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { LEFTOVER_BUCKETS = 1024 };

struct journal_dir {
    pthread_mutex_t lock; /* guards the lists and `is_held`; innermost */
    pthread_cond_t released;
    int fd;
    char *path;
    struct leftover *leftovers; /* newest first, as in each bucket */
    struct leftover *of_image[LEFTOVER_BUCKETS], *of_path[LEFTOVER_BUCKETS];
};

static bool has_suffix(const char *name, const char *suffix)
{
    size_t length = strlen(name), end = strlen(suffix);
    return length > end && length < JOURNAL_NAME_BYTES && strcmp(name + length - end, suffix) == 0;
}

static bool dir_has(const struct journal_dir *dir, const char *name)
{
    return faccessat(dir->fd, name, F_OK, 0) == 0;
}

/* ---- the list ---- */

static struct leftover **bucket_of_image(struct journal_dir *dir, unsigned long long ino)
{
    return &dir->of_image[ino * 0x9e3779b97f4a7c15ULL >> 32 & (LEFTOVER_BUCKETS - 1)];
}

static struct leftover **bucket_of_path(struct journal_dir *dir, uint64_t hash)
{
    return &dir->of_path[hash & (LEFTOVER_BUCKETS - 1)];
}

/* Lists a leftover under a path of its image, "" if none is known. */
static void leftover_link(struct journal_dir *dir, struct leftover *leftover)
{
    struct leftover **of_image = bucket_of_image(dir, journal_name_ino(leftover->name));
    leftover->path_hash = hash_text(leftover->path);
    struct leftover **of_path = bucket_of_path(dir, leftover->path_hash);
    leftover->next = dir->leftovers;
    leftover->next_of_image = *of_image;
    leftover->next_of_path = *of_path;
    dir->leftovers = *of_image = *of_path = leftover;
}

/* Not listed yet; takes over `path`, which is NULL when memory is short. */
static struct leftover *leftover_new(const char *name, char *path, struct err *err)
{
    struct leftover *leftover = calloc(1, sizeof(*leftover));
    if (!leftover || !path) {
        free(leftover);
        free(path);
        err_set(err, ErrOutOfResources, ENOMEM, "journal '%s' cannot be examined", name);
        return NULL;
    }
    snprintf(leftover->name, sizeof(leftover->name), "%s", name);
    leftover->path = path;
    return leftover;
}

static void leftover_hold_locked(struct journal_dir *dir, struct leftover *leftover)
{
    while (leftover->is_held)
        condition_wait(&dir->released, &dir->lock);
    leftover->is_held = true;
}

void leftover_release(struct journal_dir *dir, struct leftover *leftover)
{
    LOCK_GUARD(&dir->lock);
    assert(leftover->is_held); /* I3 */
    leftover->is_held = false;
    pthread_cond_broadcast(&dir->released);
}

/* The listed leftover of that image, or NULL. The disk is searched only for one that is listed. */
static struct leftover *leftover_of_image_locked(struct journal_dir *dir,
                                                 const struct journal_image *image,
                                                 const char *suffix)
{
    struct leftover *each = *bucket_of_image(dir, image->ino);
    while (each && !(has_suffix(each->name, suffix) && journal_name_is_of(each->name, image) &&
                     dir_has(dir, each->name)))
        each = each->next_of_image;
    return each;
}

int journal_dir_find(struct journal_dir *dir, const struct journal_image *image, const char *path,
                     const char *suffix, struct leftover **found, struct err *err)
{
    char name[JOURNAL_NAME_BYTES];
    *found = NULL;
    if (!dir)
        return 0;
    journal_name_fill(&image->identity, suffix, name);
    LOCK_GUARD(&dir->lock);
    *found = leftover_of_image_locked(dir, image, suffix);
    if (!*found && dir_has(dir, name)) {
        *found = leftover_new(name, strdup(path), err);
        if (!*found)
            return -1;
        leftover_link(dir, *found);
    }
    if (*found)
        leftover_hold_locked(dir, *found);
    return 0;
}

struct leftover *journal_dir_first(struct journal_dir *dir)
{
    if (!dir)
        return NULL;
    LOCK_GUARD(&dir->lock);
    return dir->leftovers;
}

struct leftover *journal_dir_first_of_path(struct journal_dir *dir, const char *path)
{
    if (!dir)
        return NULL;
    LOCK_GUARD(&dir->lock);
    return *bucket_of_path(dir, hash_text(path));
}

/* The first one of that path from `from` on, in its bucket. */
static struct leftover *leftover_of_path_locked(const struct journal_dir *dir, const char *path,
                                                struct leftover *from)
{
    uint64_t hash = hash_text(path);
    while (from &&
           (from->path_hash != hash || strcmp(from->path, path) != 0 || !dir_has(dir, from->name)))
        from = from->next_of_path;
    return from;
}

struct leftover *journal_dir_next_of_path(struct journal_dir *dir, const char *path,
                                          struct leftover **at)
{
    if (!*at)
        return NULL;
    LOCK_GUARD(&dir->lock);
    struct leftover *leftover = leftover_of_path_locked(dir, path, *at);
    *at = leftover ? leftover->next_of_path : NULL;
    if (leftover)
        leftover_hold_locked(dir, leftover);
    return leftover;
}

bool journal_dir_has_path(struct journal_dir *dir, const char *path)
{
    if (!dir)
        return false;
    LOCK_GUARD(&dir->lock);
    return leftover_of_path_locked(dir, path, *bucket_of_path(dir, hash_text(path)));
}

/* ---- one leftover ---- */

bool leftover_exists(const struct journal_dir *dir, const struct leftover *leftover)
{
    return dir_has(dir, leftover->name);
}

bool leftover_is_note(const struct leftover *leftover)
{
    return has_suffix(leftover->name, NOTE_SUFFIX);
}

/* A journal that is no good to replay: 0 if there is nothing to replay in it. */
static int leftover_explain(const struct journal_dir *dir, const struct leftover *leftover,
                            const char *path, enum journal_state state, const struct err *cause,
                            struct err *err)
{
    switch (state) {
    case JOURNAL_GOOD:
    case JOURNAL_IDLE:
        return 0;
    case JOURNAL_VOID:
        log_info("journal '%s' is empty or of another boot; it is deleted", leftover->name);
        unlinkat(dir->fd, leftover->name, 0);
        return 0;
    case JOURNAL_LIVE:
        return err_set(err, ErrDeviceInUse, 0,
                       "image '%s' is open and has writes that are only in its journal yet", path);
    case JOURNAL_FOREIGN:
        break;
    }
    if (cause->errnum == ENOENT)
        return 0;
    return err_set(err, cause->code == ErrOutOfResources ? cause->code : ErrUnflushedData, 0,
                   "image '%s' has a journal that cannot be read: %s", path, cause->message);
}

static int leftover_load_as(const struct journal_dir *dir, const struct leftover *leftover,
                            const char *path, bool at_start, struct journal **journal,
                            struct err *err)
{
    enum journal_state state;
    struct err cause;
    *journal = journal_load(dir->fd, leftover->name, at_start, &state, &cause);
    assert((state == JOURNAL_GOOD) == (*journal != NULL));
    if (*journal && journal_is_empty(*journal))
        journal_close(steal(*journal), false);
    return leftover_explain(dir, leftover, path, state, &cause, err);
}

int leftover_load(const struct journal_dir *dir, const struct leftover *leftover, const char *path,
                  struct journal **journal, struct err *err)
{
    assert(leftover->is_held); /* I3 */
    return leftover_load_as(dir, leftover, path, false, journal, err);
}

bool leftover_note_holds(const struct journal_dir *dir, const struct leftover *leftover)
{
    if (sync_note_holds(dir->fd, leftover->name, NULL))
        return true;
    unlinkat(dir->fd, leftover->name, 0);
    return false;
}

int leftover_delete(const struct journal_dir *dir, const struct leftover *leftover,
                    const char *path, struct err *err)
{
    assert(leftover->is_held); /* I3 */
    if (unlinkat(dir->fd, leftover->name, 0) != 0 && errno != ENOENT)
        return err_set(err, ErrOpenFileFailed, errno, "'%s/%s' cannot be deleted", dir->path,
                       leftover->name);
    log_warning("image '%s' is opened as it is; '%s' is discarded", path, leftover->name);
    return 0;
}

/* ---- opening and closing ---- */

static int dir_open_locked(const char *runtime_dir, struct err *err)
{
    CLEANUP_CLOSE int parent = open(runtime_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_CLOSE int fd = -1;
    if (parent >= 0 && (mkdirat(parent, "journals", 0700) == 0 || errno == EEXIST))
        fd = openat(parent, "journals", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0700) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "directory '%s/journals' cannot be opened",
                       runtime_dir);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(err, ErrOpenFileFailed, errno,
                       "directory '%s/journals' is in use; is another daemon running there?",
                       runtime_dir);
    return steal_fd(&fd);
}

/* Lists one entry, and finds out its image's path. */
static int dir_add_entry(struct journal_dir *dir, const char *name, struct err *err)
{
    struct journal *journal = NULL;
    CLEANUP_FREE char *path = NULL;
    struct err cause;
    struct leftover *leftover = leftover_new(name, strdup(""), err);
    if (!leftover)
        return -1;
    if (leftover_is_note(leftover)) {
        if (!sync_note_holds(dir->fd, name, &path))
            unlinkat(dir->fd, name, 0);
    } else if (leftover_load_as(dir, leftover, "", true, &journal, &cause) != 0) {
        log_error("journal '%s/%s' stays as it is: %s", dir->path, name, cause.message);
    } else if (journal) {
        path = strdup(journal_path(journal));
        journal_close(journal, false);
    }
    if (path) {
        free(leftover->path);
        leftover->path = steal(path);
    }
    leftover_link(dir, leftover);
    return 0;
}

static int dir_list(struct journal_dir *dir, struct err *err)
{
    int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        err_set(err, ErrOpenFileFailed, errno, "directory '%s' cannot be read", dir->path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    int ret = 0;
    for (struct dirent *entry; ret == 0 && (entry = readdir(entries));)
        if (has_suffix(entry->d_name, NOTE_SUFFIX) || has_suffix(entry->d_name, JOURNAL_SUFFIX))
            ret = dir_add_entry(dir, entry->d_name, err);
    closedir(entries);
    return ret;
}

struct journal_dir *journal_dir_open(const char *runtime_dir, struct err *err)
{
    struct journal_dir *dir = calloc(1, sizeof(*dir));
    char *path = NULL;
    if (!dir || asprintf(&path, "%s/journals", runtime_dir) < 0) {
        free(dir);
        err_set(err, ErrOutOfResources, ENOMEM, "the journals cannot be opened");
        return NULL;
    }
    pthread_mutex_init(&dir->lock, NULL);
    pthread_cond_init(&dir->released, NULL);
    dir->path = path;
    dir->fd = dir_open_locked(runtime_dir, err);
    if (dir->fd >= 0 && dir_list(dir, err) == 0)
        return dir;
    journal_dir_close(dir);
    return NULL;
}

void journal_dir_close(struct journal_dir *dir)
{
    if (!dir)
        return;
    while (dir->leftovers) {
        struct leftover *leftover = dir->leftovers;
        assert(!leftover->is_held);
        dir->leftovers = leftover->next;
        free(leftover->path);
        free(leftover);
    }
    if (dir->fd >= 0)
        close(dir->fd);
    pthread_cond_destroy(&dir->released);
    pthread_mutex_destroy(&dir->lock);
    free(dir->path);
    free(dir);
}

int journal_dir_fd(const struct journal_dir *dir)
{
    return dir ? dir->fd : -1;
}

const char *journal_dir_path(const struct journal_dir *dir)
{
    return dir->path;
}
