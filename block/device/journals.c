/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of journals, RUNTIME_DIR/journals, and what is done with the journals and notes that a
 * daemon left there:
 *
 *     of another boot, or empty              deleted: the image is as of its last flush, or whole
 *     its image is opened, by a device       replayed, then
 *       to write                             the device goes on with that node and its journal
 *       otherwise, or in another format      the image is flushed first, and closed
 *     its image is away                      stays
 *     another file is under its path         stays; that file is not opened
 *     the image is not as the records say    stays, the image untouched; it is not opened
 *     an fdatasync of the image failed       stays, the image untouched; it is not opened
 *
 * Only a call that says so (`discard_unflushed`) deletes a journal that has something in it, or a note.
 *
 * Replayed means: the changes are in the memory of a node that is open to write, and still in its
 * journal, as they were before the kill. So a device that goes on with that node waits for no disk to
 * take what may be gigabytes. Those that no device has opened when all are restored are replayed and
 * flushed then, if their images are where they were (block_journals_settle).
 *
 * Which image a journal or a note is of says its name (journal_name); its path only says where to
 * look, and which file must not be taken for another. The directory is locked as long as the block
 * layer is open, so that a second daemon on it never replays what the first one is still writing.
 *
 * `left` lists what has been found in the directory; an entry stays, and what it is now the file
 * says. Whoever reads or deletes one has claimed it: two chains may be opened at once that share an
 * image, and the second one waits for the first to replay it.
 */
#include "block/device/registry.h"

#include "base/log.h"
#include "block/image/journal.h"
#include "block/image/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

/* A journal or a note. */
struct left_file {
    struct left_file *next;
    char name[JOURNAL_NAME_BYTES];
    uint64_t path_hash;
    char *path;      /* of the image, as it was when it was found; "" if that is not known */
    bool is_claimed; /* journals_lock */
};

/* ---- the directory ---- */

static int journals_dir_open(const char *runtime_dir, struct err *err)
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

/* ---- what is left ---- */

static bool has_suffix(const char *name, const char *suffix)
{
    size_t length = strlen(name), end = strlen(suffix);
    return length > end && length < JOURNAL_NAME_BYTES && strcmp(name + length - end, suffix) == 0;
}

static uint64_t path_hash(const char *path)
{
    uint64_t hash = 0xcbf29ce484222325ULL; /* FNV-1a */
    for (; *path; path++)
        hash = (hash ^ (unsigned char)*path) * 0x100000001b3ULL;
    return hash;
}

static bool left_is_there(const struct block *block, const char *name)
{
    return faccessat(block->journals_fd, name, F_OK, 0) == 0;
}

static struct left_file *left_add_locked(struct block *block, const char *name, const char *path,
                                         struct err *err)
{
    struct left_file *left = calloc(1, sizeof(*left));
    char *copy = strdup(path);
    if (!left || !copy) {
        free(left);
        free(copy);
        err_set(err, ErrOutOfResources, ENOMEM, "journal '%s' cannot be examined", name);
        return NULL;
    }
    snprintf(left->name, sizeof(left->name), "%s", name);
    left->path = copy;
    left->path_hash = path_hash(path);
    left->next = block->left;
    return block->left = left;
}

static void left_claim_locked(struct block *block, struct left_file *left)
{
    while (left->is_claimed)
        pthread_cond_wait(&block->journals_changed, &block->journals_lock);
    left->is_claimed = true;
}

static void left_release(struct block *block, struct left_file *left)
{
    LOCK_GUARD(&block->journals_lock);
    left->is_claimed = false;
    pthread_cond_broadcast(&block->journals_changed);
}

/* The journal or note of the image that is open as `fd`, claimed; *left is NULL if there is none. */
static int left_find(struct block *block, int fd, const char *path, const char *suffix,
                     struct left_file **left, struct err *err)
{
    char name[JOURNAL_NAME_BYTES];
    struct journal_image image; /* looked at before the lock is taken: that may take its time */
    int ret = journal_image_of(fd, &image);
    if (ret == 0)
        ret = journal_name(fd, suffix, name);
    *left = NULL;
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be examined", path);
    LOCK_GUARD(&block->journals_lock);
    for (struct left_file *each = block->left; each && !*left; each = each->next)
        if (has_suffix(each->name, suffix) && left_is_there(block, each->name) &&
            (strcmp(each->name, name) == 0 || journal_name_is_of(each->name, &image)))
            *left = each;
    if (!*left && left_is_there(block, name)) {
        *left = left_add_locked(block, name, path, err);
        if (!*left)
            return -1;
    }
    if (*left)
        left_claim_locked(block, *left);
    return 0;
}

/* The first journal from *at on of an image that had that path, claimed, or NULL. */
static struct left_file *left_find_path(struct block *block, const char *path,
                                        struct left_file **at)
{
    uint64_t hash = path_hash(path);
    LOCK_GUARD(&block->journals_lock);
    for (struct left_file *left = *at; left; left = left->next) {
        if (left->path_hash != hash || strcmp(left->path, path) != 0 ||
            !left_is_there(block, left->name))
            continue;
        *at = left->next;
        left_claim_locked(block, left);
        return left;
    }
    return NULL;
}

/* ---- replaying one ---- */

/* What a caller has to say to go on without what is left. */
static const char *way_out(const struct opener *opener)
{
    return opener->is_restored
               ? "detach its device with {\"discard_unflushed\": true} to give them up"
               : "attach it with \"discard_unflushed\": true to give them up";
}

static int left_refuse(const struct opener *opener, const struct left_file *left,
                       const struct err *cause, struct err *err)
{
    return err_set(err, cause->code, 0,
                   "%s; its last writes before the daemon ended are only in journal '%s/%s': "
                   "put the image back as it was then, or %s",
                   cause->message, opener->block->journals_path, left->name, way_out(opener));
}

/* Opens the image and brings it up to date, in memory. Takes the descriptor and the journal over,
 * whatever happens. */
static struct node *journal_replay(int journals_fd, int image_fd, const char *path,
                                   struct journal *journal, struct err *err)
{
    CLEANUP_CLOSE int fd = image_fd;
    const struct driver *driver = driver_find(journal_format(journal));
    CLEANUP_FREE struct journal_record *records = NULL;
    size_t count;
    CLEANUP(node) struct node *node = NULL;
    if (!driver || !driver->replay)
        err_set(err, ErrInvalidBlockFormat, 0, "image '%s' is of format '%s', which has no journal",
                path, journal_format(journal));
    else if (journal_records(journal, &records, &count, err) == 0)
        node = node_open(fd, path, driver, true, NULL, err);
    if (!node) {
        journal_close(journal, false);
        return NULL;
    }
    steal_fd(&fd);
    node->journal = journal;
    node->journals_fd = journals_fd;
    if (image_lock(node->fd, node->path, false, &node->is_locked, err) != 0)
        return NULL;
    if (driver->replay(node, records, count, err) != 0) {
        /* It was changed by somebody else: to try again is no use. */
        if (err->code == ErrOpenFileFailed && !err->errnum)
            err->code = ErrUnflushedData;
        return NULL;
    }
    int ret = journal_rename(journal, node->fd, path);
    if (ret) {
        err_set(err, ErrOpenFileFailed, -ret, "journal of image '%s' cannot be renamed", path);
        return NULL;
    }
    journal_resume(journal, count);
    atomic_store(&node->read_only, false);
    atomic_store(&node->unflushed, true);
    log_info("image '%s': %zu changes of its tables were replayed", node->path, count);
    return steal(node);
}

/* The image again, to write. */
static int image_reopen(const struct chain_file *file, struct err *err)
{
    char link[32];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", file->fd);
    int fd = open(link, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be opened to write", file->path);
    return fd;
}

/* Loads a journal; NULL and 0 if there is nothing in it (any more), NULL and -1 if it cannot be told
 * or it is in use. */
static int left_load(struct block *block, const struct left_file *left, const char *path,
                     bool at_start, struct journal **journal, struct err *err)
{
    enum journal_state state;
    struct err cause;
    *journal = journal_load(block->journals_fd, left->name, at_start, &state, &cause);
    switch (state) {
    case JOURNAL_GOOD:
        if (journal_is_empty(*journal))
            journal_close(steal(*journal), false);
        return 0;
    case JOURNAL_VOID:
        log_info("journal '%s' is not of this boot or has nothing in it; it is deleted",
                 left->name);
        unlinkat(block->journals_fd, left->name, 0);
        return 0;
    case JOURNAL_IDLE:
        return 0;
    case JOURNAL_LIVE:
        return err_set(err, ErrDeviceInUse, 0,
                       "image '%s' is open and has writes that are only in its journal yet", path);
    case JOURNAL_FOREIGN:
        break;
    }
    if (cause.errnum == ENOENT)
        return 0;
    return err_set(err, cause.code == ErrOutOfResources ? cause.code : ErrUnflushedData, 0,
                   "image '%s' has a journal that cannot be read: %s", path, cause.message);
}

/* Replays what is left of the image, if anything is: *node goes on with it, or the file has it. */
static int left_apply(const struct opener *opener, const struct left_file *left,
                      const struct chain_file *file, struct node **node, struct err *err)
{
    struct block *block = opener->block;
    struct journal *journal;
    struct err cause;
    if (left_load(block, left, file->path, false, &journal, &cause) != 0)
        return cause.code == ErrDeviceInUse ? (*err = cause, -1)
                                            : left_refuse(opener, left, &cause, err);
    if (!journal)
        return 0;
    int fd = image_reopen(file, &cause);
    if (fd < 0)
        journal_close(journal, false);
    struct node *replayed =
        fd < 0 ? NULL : journal_replay(block->journals_fd, fd, file->path, journal, &cause);
    if (!replayed)
        return left_refuse(opener, left, &cause, err);
    if (!file->read_only && replayed->driver == file->driver) {
        *node = replayed;
        return 0;
    }
    int ret = node_give_up(replayed);
    if (ret == 0)
        return 0;
    err_set(&cause, ErrOpenFileFailed, -ret,
            "image '%s' cannot be brought up to date from its journal", file->path);
    return left_refuse(opener, left, &cause, err);
}

/* ---- opening an image ---- */

static int left_delete(struct block *block, const struct left_file *left, const char *path,
                       struct err *err)
{
    if (unlinkat(block->journals_fd, left->name, 0) != 0 && errno != ENOENT)
        return err_set(err, ErrOpenFileFailed, errno, "'%s/%s' cannot be deleted",
                       block->journals_path, left->name);
    log_warning("image '%s' is taken as it is; what '%s' says of it is given up", path, left->name);
    return 0;
}

/* Whether what is read of the image can be relied on. */
static int check_note(const struct opener *opener, const struct left_file *left, const char *path,
                      struct err *err)
{
    if (!journal_note_holds(opener->block->journals_fd, left->name, NULL)) {
        unlinkat(opener->block->journals_fd, left->name, 0);
        return 0;
    }
    if (opener->discard_unflushed)
        return left_delete(opener->block, left, path, err);
    return err_set(err, ErrUnflushedData, 0,
                   "image '%s' could not be made durable since the machine was booted; its last "
                   "writes may be lost: %s",
                   path, way_out(opener));
}

/* Deletes a journal, unless it is one of an image that is open. */
static int discard_journal(struct block *block, const struct left_file *left, const char *path,
                           struct err *err)
{
    struct journal *journal;
    struct err cause;
    if (left_load(block, left, path, false, &journal, &cause) != 0 &&
        cause.code == ErrDeviceInUse) {
        *err = cause;
        return -1;
    }
    journal_close(journal, false);
    return left_is_there(block, left->name) ? left_delete(block, left, path, err) : 0;
}

/* A journal of another image that was under this path. */
static int check_path(const struct opener *opener, const struct left_file *left, const char *path,
                      struct err *err)
{
    struct journal *journal;
    struct err cause;
    if (left_load(opener->block, left, path, false, &journal, &cause) != 0 || !journal)
        return 0; /* of an image that is open, under another path; or it is not known of which */
    bool is_of_path = strcmp(journal_path(journal), path) == 0;
    journal_close(journal, false);
    if (!is_of_path)
        return 0;
    if (opener->discard_unflushed)
        return left_delete(opener->block, left, path, err);
    err_set(&cause, ErrUnflushedData, 0, "image '%s' is another file than the one that was open",
            path);
    return left_refuse(opener, left, &cause, err);
}

static int admit_by_path(const struct opener *opener, const struct chain_file *file,
                         struct err *err)
{
    struct block *block = opener->block;
    pthread_mutex_lock(&block->journals_lock);
    struct left_file *at = block->left;
    pthread_mutex_unlock(&block->journals_lock);
    struct journal_image image;
    int ret = journal_image_of(file->fd, &image);
    if (ret)
        ret = err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be examined", file->path);
    for (struct left_file *left; ret == 0 && (left = left_find_path(block, file->path, &at));) {
        if (!journal_name_is_of(left->name, &image) && has_suffix(left->name, JOURNAL_SUFFIX))
            ret = check_path(opener, left, file->path, err);
        left_release(block, left);
    }
    return ret;
}

int journals_admit(const struct opener *opener, const struct chain_file *file, struct node **node,
                   struct err *err)
{
    struct block *block = opener->block;
    struct left_file *left;
    if (block->journals_fd < 0)
        return 0;
    if (left_find(block, file->fd, file->path, DISTRUST_SUFFIX, &left, err) != 0)
        return -1;
    int ret = left ? check_note(opener, left, file->path, err) : 0;
    if (left)
        left_release(block, left);
    if (ret != 0 || admit_by_path(opener, file, err) != 0 ||
        left_find(block, file->fd, file->path, JOURNAL_SUFFIX, &left, err) != 0)
        return -1;
    if (!left)
        return 0;
    ret = opener->discard_unflushed ? discard_journal(block, left, file->path, err)
                                    : left_apply(opener, left, file, node, err);
    left_release(block, left);
    return ret;
}

/* ---- closing a device ---- */

/* Whether nothing is left, or it may be given up. */
static int left_sweep(const struct opener *opener, const struct left_file *left, const char *path,
                      struct err *err)
{
    struct block *block = opener->block;
    struct journal *journal;
    if (has_suffix(left->name, DISTRUST_SUFFIX))
        return check_note(opener, left, path, err);
    if (opener->discard_unflushed)
        return discard_journal(block, left, path, err);
    if (left_load(block, left, path, false, &journal, err) != 0)
        return -1;
    if (!journal)
        return 0;
    journal_close(journal, false);
    return err_set(err, ErrUnflushedData, 0,
                   "the last writes of image '%s' are only in journal '%s/%s': bring the image "
                   "back, or %s",
                   path, block->journals_path, left->name, way_out(opener));
}

struct sweep {
    struct opener opener;
    struct err *err; /* the first refusal */
    int ret;
};

/* As a chain_guard, so that every image of the chain that is there is looked at. */
static int sweep_admit(void *arg, const struct chain_file *file, struct file_claim **claim,
                       struct node **node, struct err *err)
{
    static const char *const suffixes[] = {DISTRUST_SUFFIX, JOURNAL_SUFFIX};
    struct sweep *sweep = arg;
    struct block *block = sweep->opener.block;
    (void)claim;
    (void)node;
    for (size_t i = 0; i < 2 && sweep->ret == 0; i++) {
        struct left_file *left;
        sweep->ret = left_find(block, file->fd, file->path, suffixes[i], &left, sweep->err);
        if (sweep->ret != 0 || !left)
            continue;
        sweep->ret = left_sweep(&sweep->opener, left, file->path, sweep->err);
        left_release(block, left);
    }
    return sweep->ret ? err_set(err, ErrUnflushedData, 0, "see the sweep") : 0;
}

int journals_sweep(struct block *block, const char *image, const char *format, bool discard,
                   struct err *err)
{
    struct sweep sweep = {
        {.block = block, .is_restored = true, .discard_unflushed = discard}, err, 0};
    if (block->journals_fd < 0)
        return 0;
    pthread_mutex_lock(&block->journals_lock);
    struct left_file *at = block->left;
    pthread_mutex_unlock(&block->journals_lock);
    if (!at)
        return 0;
    for (struct left_file *left; sweep.ret == 0 && (left = left_find_path(block, image, &at));) {
        sweep.ret = left_sweep(&sweep.opener, left, image, err);
        left_release(block, left);
    }
    if (sweep.ret != 0)
        return -1;
    const struct chain_guard guard = {.admit = sweep_admit, .arg = &sweep};
    struct err ignored;
    struct node *top = chain_open(&block->dir, image, format, true, &guard, &ignored);
    if (top)
        node_unref(top);
    return sweep.ret;
}

bool journals_has_left(struct block *block, const char *image)
{
    LOCK_GUARD(&block->journals_lock);
    const struct left_file *left = block->left;
    while (left && (strcmp(left->path, image) != 0 || !left_is_there(block, left->name)))
        left = left->next;
    return left;
}

void journals_discard(struct block *block, struct node *node)
{
    char name[JOURNAL_NAME_BYTES];
    node_end_journal(node, true);
    if (block->journals_fd >= 0 && journal_name(node->fd, DISTRUST_SUFFIX, name) == 0)
        unlinkat(block->journals_fd, name, 0);
}

/* ---- the start ---- */

/* One entry of the directory, before any image is opened. */
static int journals_find_left(struct block *block, const char *name, struct err *err)
{
    struct journal *journal = NULL;
    CLEANUP_FREE char *path = NULL;
    struct err cause;
    struct left_file *left = left_add_locked(block, name, "", err);
    if (!left)
        return -1;
    if (has_suffix(name, DISTRUST_SUFFIX)) {
        if (!journal_note_holds(block->journals_fd, name, &path))
            unlinkat(block->journals_fd, name, 0);
    } else if (left_load(block, left, "", true, &journal, &cause) != 0) {
        log_error("journal '%s/%s' stays as it is: %s", block->journals_path, name, cause.message);
    } else if (journal) {
        path = strdup(journal_path(journal));
        journal_close(journal, false);
    }
    if (path) {
        free(left->path);
        left->path = steal(path);
        left->path_hash = path_hash(left->path);
    }
    return 0;
}

int block_journals_open(struct block *block, const char *runtime_dir, struct err *err)
{
    if (asprintf(&block->journals_path, "%s/journals", runtime_dir) < 0) {
        block->journals_path = NULL;
        return err_set(err, ErrOutOfResources, ENOMEM, "the journals cannot be opened");
    }
    block->journals_fd = journals_dir_open(runtime_dir, err);
    if (block->journals_fd < 0)
        return -1;
    int fd = openat(block->journals_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        err_set(err, ErrOpenFileFailed, errno, "directory '%s' cannot be read",
                block->journals_path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    int ret = 0;
    for (struct dirent *entry; ret == 0 && (entry = readdir(dir));)
        if (has_suffix(entry->d_name, DISTRUST_SUFFIX) || has_suffix(entry->d_name, JOURNAL_SUFFIX))
            ret = journals_find_left(block, entry->d_name, err);
    closedir(dir);
    return ret;
}

/* ---- afterwards ---- */

int journals_add(struct block *block, struct node *node, struct err *err)
{
    return block->journals_fd < 0 ? 0 : node_add_journal(node, block->journals_fd, err);
}

/* Has the image that is open as `fd` take what is in its journal. */
static int image_bring_up(struct block *block, int fd, const char *path, struct err *err)
{
    const struct opener opener = {.block = block, .is_restored = true};
    const struct chain_file file = {.fd = fd, .path = path, .read_only = true};
    struct node *none = NULL;
    return journals_admit(&opener, &file, &none, err);
}

void block_journals_settle(struct block *block)
{
    struct err err;
    for (struct left_file *left = block->left; left; left = left->next) {
        if (!*left->path || !has_suffix(left->name, JOURNAL_SUFFIX) ||
            !left_is_there(block, left->name))
            continue;
        CLEANUP_FREE char *canonical = NULL;
        CLEANUP_CLOSE int fd = image_open(&block->dir, left->path, true, &canonical, &err);
        if (fd < 0 || image_bring_up(block, fd, canonical, &err) != 0)
            if (fd < 0 || err.code != ErrDeviceInUse)
                log_error("journal '%s/%s' is kept: %s", block->journals_path, left->name,
                          err.message);
    }
}

void journals_close(struct block *block)
{
    while (block->left) {
        struct left_file *left = block->left;
        block->left = left->next;
        free(left->path);
        free(left);
    }
    if (block->journals_fd >= 0)
        close(block->journals_fd);
    free(block->journals_path);
}

int block_image_sync(struct block *block, const char *path, struct err *err)
{
    CLEANUP_FREE char *canonical = NULL;
    CLEANUP_CLOSE int fd = image_open(&block->dir, path, true, &canonical, err);
    if (fd < 0 || image_bring_up(block, fd, canonical, err) != 0)
        return -1;
    if (fdatasync(fd) == 0)
        return 0;
    int errnum = errno;
    journal_distrust(block->journals_fd, fd, canonical, errnum);
    return err_set(err, ErrOpenFileFailed, errnum, "image '%s' cannot be made durable", canonical);
}
