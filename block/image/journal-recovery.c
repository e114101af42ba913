/* SPDX-License-Identifier: Apache-2.0
 *
 * See journal-recovery.h.
 */
#include "block/image/journal-recovery.h"

#include "base/log.h"
#include "block/image/drivers.h"
#include "block/image/file-io.h"
#include "block/image/image.h"
#include "block/image/sync-note.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* One image that is to be opened. */
struct recovery {
    struct journal_dir *dir;
    const struct recovery_terms *terms;
    const struct chain_file *file;
    struct journal_image image; /* the file's */
};

/* How a caller goes on without what is only in a leftover. */
static const char *way_out(const struct recovery_terms *terms)
{
    return terms->is_restored
               ? "detach its device with {\"discard_unflushed\": true} to give them up"
               : "attach it with \"discard_unflushed\": true to give them up";
}

static int refuse(const struct recovery *recovery, const struct leftover *leftover,
                  const struct err *cause, struct err *err)
{
    return err_set(err, cause->code, 0,
                   "%s; its last writes before the daemon ended are only in journal '%s/%s': "
                   "put the image back as it was then, or %s",
                   cause->message, journal_dir_path(recovery->dir), leftover->name,
                   way_out(recovery->terms));
}

/* ---- replaying ---- */

/* Opens the file again, and replays the journal, which is taken over. NULL and *err on failure. */
static struct node *image_replay(const struct recovery *recovery, struct journal *journal,
                                 struct err *err)
{
    const struct chain_file *file = recovery->file;
    const struct driver *driver = driver_find(journal_format(journal));
    CLEANUP_CLOSE int fd = file_reopen(file->fd, O_RDWR | O_NONBLOCK);
    CLEANUP(node) struct node *node = NULL;
    if (fd < 0)
        err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be opened to write", file->path);
    else if (!driver || !driver->set_writable)
        err_set(err, ErrInvalidBlockFormat, 0, "image '%s' is of format '%s', which has no journal",
                file->path, journal_format(journal));
    else
        node = node_open(fd, file->path, driver, true, NULL, err);
    if (!node) {
        journal_close(journal, false);
        return NULL;
    }
    steal_fd(&fd);
    return node_replay(node, journal, journal_dir_fd(recovery->dir), err) == 0 ? steal(node) : NULL;
}

/* Replays a journal: *node goes on with it, or its changes are flushed to the file. */
static int journal_apply(const struct recovery *recovery, const struct leftover *leftover,
                         struct node **node, struct err *err)
{
    const struct chain_file *file = recovery->file;
    struct journal *journal;
    struct err cause;
    if (leftover_load(recovery->dir, leftover, file->path, &journal, &cause) != 0)
        return cause.code == ErrDeviceInUse ? (*err = cause, -1)
                                            : refuse(recovery, leftover, &cause, err);
    if (!journal)
        return 0;
    struct node *replayed = image_replay(recovery, journal, &cause);
    if (!replayed)
        return refuse(recovery, leftover, &cause, err);
    if (!file->read_only && replayed->driver == file->driver) {
        *node = replayed;
        return 0;
    }
    int ret = node_give_up(replayed);
    if (ret == 0)
        return 0;
    err_set(&cause, ErrOpenFileFailed, -ret,
            "image '%s' cannot be brought up to date from its journal", file->path);
    return refuse(recovery, leftover, &cause, err);
}

/* ---- opening an image ---- */

static int recovery_discard(const struct recovery_terms *terms, const struct journal_dir *dir,
                            const struct leftover *leftover, const char *path, struct err *err)
{
    assert(terms->discard_unflushed); /* I1 */
    (void)terms;
    return leftover_delete(dir, leftover, path, err);
}

/* 0 unless a sync of the image failed since the machine was booted. */
static int check_note(struct journal_dir *dir, const struct recovery_terms *terms,
                      const struct leftover *note, const char *path, struct err *err)
{
    if (!leftover_note_holds(dir, note))
        return 0;
    if (terms->discard_unflushed)
        return recovery_discard(terms, dir, note, path, err);
    return err_set(err, ErrUnflushedData, 0,
                   "image '%s' could not be made durable since the machine was booted; its last "
                   "writes may be lost: %s",
                   path, way_out(terms));
}

/* Deletes a journal, unless its image is open. */
static int discard_journal(const struct recovery_terms *terms, struct journal_dir *dir,
                           const struct leftover *leftover, const char *path, struct err *err)
{
    struct journal *journal;
    struct err cause;
    if (leftover_load(dir, leftover, path, &journal, &cause) != 0 && cause.code == ErrDeviceInUse) {
        *err = cause;
        return -1;
    }
    journal_close(journal, false);
    return leftover_exists(dir, leftover) ? recovery_discard(terms, dir, leftover, path, err) : 0;
}

/* Refuses the file if the journal is of another image that had its path. */
static int check_path(const struct recovery *recovery, const struct leftover *leftover,
                      struct err *err)
{
    const char *path = recovery->file->path;
    struct journal *journal;
    struct err cause;
    if (leftover_load(recovery->dir, leftover, path, &journal, &cause) != 0 || !journal)
        return 0; /* its image is open under another path, or unknown */
    bool is_of_path = strcmp(journal_path(journal), path) == 0;
    journal_close(journal, false);
    if (!is_of_path)
        return 0;
    if (recovery->terms->discard_unflushed)
        return recovery_discard(recovery->terms, recovery->dir, leftover, path, err);
    err_set(&cause, ErrUnflushedData, 0, "image '%s' is another file than the one that was open",
            path);
    return refuse(recovery, leftover, &cause, err);
}

static int admit_by_note(const struct recovery *recovery, struct err *err)
{
    const struct chain_file *file = recovery->file;
    struct leftover *note;
    if (journal_dir_find(recovery->dir, &recovery->image, file->path, NOTE_SUFFIX, &note, err) != 0)
        return -1;
    if (!note)
        return 0;
    int ret = check_note(recovery->dir, recovery->terms, note, file->path, err);
    leftover_release(recovery->dir, note);
    return ret;
}

static int admit_by_path(const struct recovery *recovery, struct err *err)
{
    const char *path = recovery->file->path;
    int ret = 0;
    struct leftover *at = journal_dir_first_of_path(recovery->dir, path);
    for (struct leftover *leftover;
         ret == 0 && (leftover = journal_dir_next_of_path(recovery->dir, path, &at));) {
        if (!leftover_is_note(leftover) && !journal_name_is_of(leftover->name, &recovery->image))
            ret = check_path(recovery, leftover, err);
        leftover_release(recovery->dir, leftover);
    }
    return ret;
}

static int admit_by_journal(const struct recovery *recovery, struct node **node, struct err *err)
{
    const struct chain_file *file = recovery->file;
    struct leftover *leftover;
    if (journal_dir_find(recovery->dir, &recovery->image, file->path, JOURNAL_SUFFIX, &leftover,
                         err) != 0)
        return -1;
    if (!leftover)
        return 0;
    int ret = recovery->terms->discard_unflushed
                  ? discard_journal(recovery->terms, recovery->dir, leftover, file->path, err)
                  : journal_apply(recovery, leftover, node, err);
    leftover_release(recovery->dir, leftover);
    return ret;
}

/* May wait for a storage, so it comes before any lock. */
static int image_examine(const struct chain_file *file, struct journal_image *image,
                         struct err *err)
{
    int ret = journal_image_of(file->fd, image);
    return ret ? err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be examined", file->path)
               : 0;
}

int journal_recovery_admit(struct journal_dir *dir, const struct recovery_terms *terms,
                           const struct chain_file *file, struct node **node, struct err *err)
{
    struct recovery recovery = {dir, terms, file, {0}};
    if (!dir)
        return 0;
    assert(!*node);
    if (image_examine(file, &recovery.image, err) != 0)
        return -1;
    return admit_by_note(&recovery, err) || admit_by_path(&recovery, err) ||
                   admit_by_journal(&recovery, node, err)
               ? -1
               : 0;
}

/* ---- closing a device that was never opened ---- */

struct sweep {
    struct journal_dir *dir;
    struct recovery_terms terms;
    struct err *err; /* the first refusal */
    int ret;
};

/* Whether the leftover is empty, or may be discarded. */
static int sweep_leftover(struct sweep *sweep, const struct leftover *leftover, const char *path)
{
    struct journal *journal;
    if (leftover_is_note(leftover))
        return check_note(sweep->dir, &sweep->terms, leftover, path, sweep->err);
    if (sweep->terms.discard_unflushed)
        return discard_journal(&sweep->terms, sweep->dir, leftover, path, sweep->err);
    if (leftover_load(sweep->dir, leftover, path, &journal, sweep->err) != 0)
        return -1;
    if (!journal)
        return 0;
    journal_close(journal, false);
    return err_set(sweep->err, ErrUnflushedData, 0,
                   "the last writes of image '%s' are only in journal '%s/%s': bring the image "
                   "back, or %s",
                   path, journal_dir_path(sweep->dir), leftover->name, way_out(&sweep->terms));
}

/* As a chain_guard: looks at every image of the chain that exists. */
static int sweep_admit(void *arg, const struct chain_file *file, struct file_claim **claim,
                       struct node **node, struct err *err)
{
    static const char *const suffixes[] = {NOTE_SUFFIX, JOURNAL_SUFFIX};
    struct sweep *sweep = arg;
    struct journal_image image;
    (void)claim;
    (void)node;
    sweep->ret = image_examine(file, &image, sweep->err);
    for (size_t i = 0; i < 2 && sweep->ret == 0; i++) {
        struct leftover *leftover;
        sweep->ret =
            journal_dir_find(sweep->dir, &image, file->path, suffixes[i], &leftover, sweep->err);
        if (sweep->ret != 0 || !leftover)
            continue;
        sweep->ret = sweep_leftover(sweep, leftover, file->path);
        leftover_release(sweep->dir, leftover);
    }
    return sweep->ret ? err_set(err, ErrUnflushedData, 0, "see the sweep") : 0;
}

int journal_recovery_sweep(struct journal_dir *dir, const struct image_dir *images,
                           const char *image, const char *format, bool discard, struct err *err)
{
    struct sweep sweep = {dir, {.is_restored = true, .discard_unflushed = discard}, err, 0};
    if (!journal_dir_first(dir))
        return 0;
    struct leftover *at = journal_dir_first_of_path(dir, image);
    for (struct leftover *leftover;
         sweep.ret == 0 && (leftover = journal_dir_next_of_path(dir, image, &at));) {
        sweep.ret = sweep_leftover(&sweep, leftover, image);
        leftover_release(dir, leftover);
    }
    if (sweep.ret != 0)
        return -1;
    const struct chain_guard guard = {.admit = sweep_admit, .arg = &sweep};
    struct err ignored;
    struct node *top = chain_open(images, image, format, true, &guard, &ignored);
    if (top)
        node_unref(top);
    return sweep.ret;
}

void journal_recovery_discard(struct journal_dir *dir, struct node *node)
{
    char name[JOURNAL_NAME_BYTES];
    node_end_journal(node, true);
    if (dir && journal_name(node->fd, NOTE_SUFFIX, name) == 0)
        unlinkat(journal_dir_fd(dir), name, 0);
}

int journal_recovery_check(struct journal_dir *dir, int fd, const char *path, struct err *err)
{
    struct sweep sweep = {dir, {.is_restored = true}, err, 0};
    const struct chain_file file = {.fd = fd, .path = path};
    struct journal_image image;
    struct leftover *journal;
    if (!dir)
        return 0;
    if (image_examine(&file, &image, err) != 0 ||
        journal_dir_find(dir, &image, path, JOURNAL_SUFFIX, &journal, err) != 0)
        return -1;
    if (!journal)
        return 0;
    int ret = sweep_leftover(&sweep, journal, path);
    leftover_release(dir, journal);
    return ret;
}

int journal_recovery_forget(struct journal_dir *dir, int fd, const char *path, struct err *err)
{
    struct sweep sweep = {dir, {.is_restored = true, .discard_unflushed = true}, err, 0};
    const struct chain_file file = {.fd = fd, .path = path};
    struct err ignored;
    sweep_admit(&sweep, &file, NULL, NULL, &ignored);
    return sweep.ret;
}

/* ---- images that no device opens ---- */

/* Replays and flushes the image that is open as `fd`. */
static int image_bring_up(struct journal_dir *dir, int fd, const char *path, struct err *err)
{
    const struct recovery_terms terms = {.is_restored = true};
    const struct chain_file file = {.fd = fd, .path = path, .read_only = true};
    struct node *none = NULL;
    int ret = journal_recovery_admit(dir, &terms, &file, &none, err);
    assert(!none); /* read-only: the replayed node is closed */
    return ret;
}

void journal_recovery_finish(struct journal_dir *dir, const struct image_dir *images)
{
    struct err err;
    for (struct leftover *each = journal_dir_first(dir); each; each = each->next) {
        if (!*each->path || leftover_is_note(each) || !leftover_exists(dir, each))
            continue;
        CLEANUP_FREE char *canonical = NULL;
        CLEANUP_CLOSE int fd = image_open(images, each->path, true, &canonical, &err);
        if (fd < 0 || image_bring_up(dir, fd, canonical, &err) != 0)
            if (fd < 0 || err.code != ErrDeviceInUse)
                log_error("journal '%s/%s' is kept: %s", journal_dir_path(dir), each->name,
                          err.message);
    }
}

int journal_recovery_sync(struct journal_dir *dir, const struct image_dir *images, const char *path,
                          struct err *err)
{
    CLEANUP_FREE char *canonical = NULL;
    CLEANUP_CLOSE int fd = image_open(images, path, true, &canonical, err);
    if (fd < 0 || image_bring_up(dir, fd, canonical, err) != 0)
        return -1;
    if (fdatasync(fd) == 0)
        return 0;
    int errnum = errno;
    sync_note_write(journal_dir_fd(dir), fd, canonical, errnum);
    return err_set(err, ErrOpenFileFailed, errnum, "image '%s' cannot be made durable", canonical);
}
