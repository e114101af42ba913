/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of journals, RUNTIME_DIR/journals, and what is done with those that a killed daemon
 * left there, before any image is opened:
 *
 *     of another boot, or empty              deleted: the image is as of its last flush, or whole
 *     its image is gone, or replaced         deleted: there is nothing to apply it to
 *     its image is as the records say        replayed
 *     an fdatasync of the image failed       stays, the image untouched; its device comes back failed
 *     anything else                          stays, the image untouched; no chain with this image is
 *                                            opened until somebody has decided (journals_admit)
 *
 * Replayed means: the changes are in the memory of a node that is open to write, and still in its
 * journal, as they were before the kill. A device that opens the image to write goes on with that
 * node, so it waits for no disk to take what may be gigabytes. Whoever wants the image in another way
 * or under another name has it flushed and closed first; what nobody wants is when all devices are
 * open (block_journals_settle).
 *
 * Which image a journal is of says its name (journal_name); its path only says where to look. The
 * directory is locked as long as the block layer is open, so that a second daemon on it never
 * replays what the first one is still writing.
 */
#include "block/registry.h"

#include "base/log.h"
#include "block/journal.h"
#include "block/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

/* A journal that could not be replayed. */
struct kept_journal {
    struct kept_journal *next;
    char name[JOURNAL_NAME_BYTES];
    char *reason;
};

/* An image that was. */
struct replayed {
    struct replayed *next;
    struct node *node; /* open to write, with its journal */
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

/* ---- one that was left behind ---- */

static int journal_keep(struct block *block, const char *name, const char *cause, struct err *err)
{
    struct kept_journal *kept = calloc(1, sizeof(*kept));
    char *reason = NULL;
    if (!kept ||
        asprintf(
            &reason,
            "%s; its last writes before the daemon was killed are only in journal '%s/%s': put "
            "the image back as it was then, or delete the journal to give them up, and "
            "restart the daemon",
            cause, block->journals_path, name) < 0) {
        free(kept);
        return err_set(err, ErrOutOfResources, ENOMEM, "journal '%s' cannot be examined", name);
    }
    log_error("%s", reason);
    snprintf(kept->name, sizeof(kept->name), "%s", name);
    kept->reason = reason;
    kept->next = block->kept_journals;
    block->kept_journals = kept;
    return 0;
}

/* Opens the image if it is still the one that the journal is of; its path is *canonical (heap). -1: not;
 * *is_gone says whether for good. */
static int journal_open_image(struct block *block, const struct journal *journal, const char *name,
                              char **canonical, bool *is_gone, struct err *err)
{
    char found[JOURNAL_NAME_BYTES] = "";
    CLEANUP_CLOSE int fd = image_open(&block->dir, journal_path(journal), false, canonical, err);
    *is_gone = fd < 0 && err->errnum == ENOENT;
    if (fd < 0)
        return -1;
    int ret = journal_name(fd, found);
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be examined", *canonical);
    if (strcmp(found, name) != 0) {
        *is_gone = true;
        return err_set(err, ErrOpenFileFailed, 0, "image '%s' is another file now", *canonical);
    }
    return steal_fd(&fd);
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
    if (image_lock(node->fd, node->path, false, &node->is_locked, err) != 0 ||
        driver->replay(node, records, count, err) != 0)
        return NULL;
    journal_resume(journal, count);
    atomic_store(&node->read_only, false);
    atomic_store(&node->unflushed, true);
    log_info("image '%s': %zu changes of its tables were replayed", node->path, count);
    return steal(node);
}

static int journal_apply(struct block *block, int image_fd, const char *path,
                         struct journal *journal, struct err *err)
{
    CLEANUP_FREE struct replayed *replayed = malloc(sizeof(*replayed));
    struct node *node = journal_replay(block->journals_fd, image_fd, path, journal, err);
    if (!node)
        return -1;
    if (!replayed)
        return node_give_up(node) ? err_set(err, ErrOutOfResources, ENOMEM, "it cannot be kept")
                                  : 0;
    *replayed = (struct replayed){block->replayed, node};
    block->replayed = steal(replayed);
    return 0;
}

static int journal_recover(struct block *block, const char *name, struct err *err)
{
    struct err cause;
    enum journal_state state;
    struct journal *journal = journal_load(block->journals_fd, name, &state, &cause);
    if (state == JOURNAL_VOID) {
        log_info("journal '%s' is not of this boot or has nothing in it; it is deleted", name);
        unlinkat(block->journals_fd, name, 0);
        return 0;
    }
    if (!journal)
        return journal_keep(block, name, cause.message, err);
    bool is_gone = journal_is_empty(journal);
    CLEANUP_FREE char *path = NULL;
    int fd = is_gone ? -1 : journal_open_image(block, journal, name, &path, &is_gone, &cause);
    if (fd < 0) {
        if (is_gone && !journal_is_empty(journal))
            log_warning("%s; the changes in its journal are given up", cause.message);
        journal_close(journal, is_gone);
        return is_gone ? 0 : journal_keep(block, name, cause.message, err);
    }
    if (journal_is_distrusted(block->journals_fd, fd)) {
        journal_close(journal, false);
        close(fd);
        return 0;
    }
    return journal_apply(block, fd, path, journal, &cause) == 0
               ? 0
               : journal_keep(block, name, cause.message, err);
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t length = strlen(name), end = strlen(suffix);
    return length > end && length < JOURNAL_NAME_BYTES && strcmp(name + length - end, suffix) == 0;
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
    for (struct dirent *entry; ret == 0 && (entry = readdir(dir));) {
        if (has_suffix(entry->d_name, DISTRUST_SUFFIX))
            journal_expire(block->journals_fd, entry->d_name);
        else if (has_suffix(entry->d_name, JOURNAL_SUFFIX))
            ret = journal_recover(block, entry->d_name, err);
    }
    closedir(dir);
    return ret;
}

/* ---- afterwards ---- */

int journals_add(struct block *block, struct node *node, struct err *err)
{
    return block->journals_fd < 0 ? 0 : node_add_journal(node, block->journals_fd, err);
}

static struct node *replayed_take(struct replayed **slot)
{
    struct replayed *replayed = *slot;
    struct node *node = replayed->node;
    *slot = replayed->next;
    free(replayed);
    return node;
}

static struct replayed **replayed_find(struct block *block, dev_t dev, ino_t ino)
{
    struct replayed **slot = &block->replayed;
    while (*slot && ((*slot)->node->dev != dev || (*slot)->node->ino != ino))
        slot = &(*slot)->next;
    return slot;
}

/* Writes it to its image and closes it. */
static int replayed_settle(struct replayed **slot, struct err *err)
{
    struct node *node = replayed_take(slot);
    CLEANUP_FREE char *path = strdup(node->path);
    int ret = node_give_up(node);
    return ret ? err_set(err, ErrOpenFileFailed, -ret,
                         "image '%s' cannot be brought up to date from its journal",
                         path ? path : "")
               : 0;
}

void block_journals_settle(struct block *block)
{
    LOCK_GUARD(&block->open_lock);
    struct err err;
    while (block->replayed)
        if (replayed_settle(&block->replayed, &err) != 0)
            log_error("%s", err.message);
}

void journals_close(struct block *block)
{
    block_journals_settle(block);
    while (block->kept_journals) {
        struct kept_journal *kept = block->kept_journals;
        block->kept_journals = kept->next;
        free(kept->reason);
        free(kept);
    }
    if (block->journals_fd >= 0)
        close(block->journals_fd);
    free(block->journals_path);
}

int block_image_sync(struct block *block, const char *path, struct err *err)
{
    LOCK_GUARD(&block->open_lock);
    CLEANUP_FREE char *canonical = NULL;
    CLEANUP_CLOSE int fd = image_open(&block->dir, path, true, &canonical, err);
    struct stat st;
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be examined", canonical);
    struct replayed **slot = replayed_find(block, st.st_dev, st.st_ino);
    if (*slot && replayed_settle(slot, err) != 0)
        return -1;
    if (fdatasync(fd) == 0)
        return 0;
    int errnum = errno;
    journal_distrust(block->journals_fd, fd, canonical, errnum);
    return err_set(err, ErrOpenFileFailed, errnum, "image '%s' cannot be made durable", canonical);
}

/* Whether what is read of the image can be relied on, or somebody has said that he does. */
static int journals_check_trust(struct block *block, const struct chain_file *file,
                                bool is_restored, struct err *err)
{
    if (!journal_is_distrusted(block->journals_fd, file->fd))
        return 0;
    if (is_restored)
        return err_set(
            err, ErrOpenFileFailed, 0,
            "image '%s' could not be made durable since the machine was booted; its last "
            "writes may be lost: detach the device, and attach the image again as it is",
            file->path);
    log_warning("image '%s' is attached as it is; what could not be made durable is given up",
                file->path);
    journal_forgive(block->journals_fd, file->fd);
    return 0;
}

/* Whether nothing of the image is only in a journal that nobody can apply now. */
static int journals_check(struct block *block, const struct chain_file *file, struct err *err)
{
    char name[JOURNAL_NAME_BYTES];
    int ret = journal_name(file->fd, name);
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be examined", file->path);
    if (faccessat(block->journals_fd, name, F_OK, 0) != 0)
        return 0;
    for (const struct kept_journal *kept = block->kept_journals; kept; kept = kept->next)
        if (strcmp(kept->name, name) == 0)
            return err_set(err, ErrOpenFileFailed, 0, "%s", kept->reason);
    return err_set(
        err, ErrOpenFileFailed, 0,
        "image '%s' was closed with writes that are only in journal '%s/%s'; restart the "
        "daemon to apply them",
        file->path, block->journals_path, name);
}

int journals_admit(struct block *block, const struct chain_file *file, bool is_restored,
                   struct node **node, struct err *err)
{
    if (block->journals_fd < 0)
        return 0;
    if (journals_check_trust(block, file, is_restored, err) != 0)
        return -1;
    struct replayed **slot = replayed_find(block, file->dev, file->ino);
    if (!*slot)
        return journals_check(block, file, err);
    const struct node *replayed = (*slot)->node;
    if (file->read_only || replayed->driver != file->driver ||
        strcmp(replayed->path, file->path) != 0)
        return replayed_settle(slot, err);
    *node = replayed_take(slot);
    return 0;
}
