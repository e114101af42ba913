/* SPDX-License-Identifier: Apache-2.0
 *
 * See faulty.h.
 */
#include "tests/lib/faulty.h"

#include "block/image/drivers.h"
#include "tests/lib/testlib.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int create_errnum, open_errnum, sync_errnum, flush_errnum;
static const char *create_backing, *open_suffix, *sync_suffix, *flush_suffix;
static const char *held_suffix; /* NULL: no writes are held */
static int held, held_errnum;
static const char *full_suffix; /* NULL: all have room */
static int full_errnum;
static bool is_full;                    /* a write has found that */
static const char *held_create_backing; /* NULL: no creations are held */
static const char *held_open_suffix;    /* NULL: no opens are held */
static const char *held_flush_suffix;   /* NULL: no flushes are held */
enum { FLUSHED_MAX = 256 };
static char *flushed[FLUSHED_MAX];
static int flushed_count;

static bool ends_in(const char *text, const char *suffix)
{
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

/* Whether the call of that name is to fail; the next one is not. */
static bool is_due(const char **suffix, const char *name)
{
    bool is_due = *suffix && ends_in(name, *suffix);
    if (is_due)
        *suffix = NULL;
    return is_due;
}

static bool is_held_create(int fd, const struct image_spec *spec)
{
    return fd >= 0 && spec->backing_file && held_create_backing &&
           ends_in(spec->backing_file, held_create_backing);
}

static int faulty_create(int fd, const struct image_spec *spec, struct err *err)
{
    LOCK_GUARD(&lock);
    held += is_held_create(fd, spec);
    pthread_cond_broadcast(&changed);
    while (is_held_create(fd, spec))
        pthread_cond_wait(&changed, &lock);
    if (fd >= 0 && spec->backing_file && is_due(&create_backing, spec->backing_file))
        return err_set(err, ErrOpenFileFailed, create_errnum, "injected");
    return driver_qcow2.create(fd, spec, err);
}

static int faulty_open(struct node *node, struct err *err)
{
    LOCK_GUARD(&lock);
    if (is_due(&open_suffix, node->path))
        return err_set(err, ErrOpenFileFailed, open_errnum, "injected");
    int ret = driver_qcow2.open(node, err);
    bool is_held = held_open_suffix && ends_in(node->path, held_open_suffix);
    held += is_held;
    pthread_cond_broadcast(&changed);
    while (is_held && held_open_suffix)
        pthread_cond_wait(&changed, &lock);
    return ret;
}

static int faulty_write(struct node *node, const void *buf, uint64_t offset, uint64_t length,
                        unsigned flags)
{
    if (flags & WRITE_CACHED)
        return -EAGAIN;
    pthread_mutex_lock(&lock);
    bool is_held = held_suffix && ends_in(node->path, held_suffix);
    held += is_held;
    pthread_cond_broadcast(&changed);
    while (held_suffix && ends_in(node->path, held_suffix))
        pthread_cond_wait(&changed, &lock);
    int errnum = is_held ? held_errnum : 0;
    const bool needs_room = full_suffix && ends_in(node->path, full_suffix);
    is_full |= needs_room;
    pthread_mutex_unlock(&lock);
    if (errnum)
        return -errnum;
    int ret = driver_qcow2.write(node, buf, offset, length, flags);
    return ret == 0 && needs_room ? NODE_NEEDS_ROOM : ret;
}

static int faulty_make_room(struct node *node)
{
    pthread_mutex_lock(&lock);
    int errnum = is_full && ends_in(node->path, full_suffix) ? full_errnum : 0;
    pthread_mutex_unlock(&lock);
    return errnum ? -errnum : driver_qcow2.make_room(node);
}

static int faulty_flush(struct node *node)
{
    pthread_mutex_lock(&lock);
    if (flushed_count < FLUSHED_MAX)
        flushed[flushed_count++] = strdup(node->path);
    pthread_cond_broadcast(&changed);
    while (held_flush_suffix && ends_in(node->path, held_flush_suffix))
        pthread_cond_wait(&changed, &lock);
    int errnum = sync_suffix && ends_in(node->path, sync_suffix) ? sync_errnum : 0;
    int other = flush_suffix && ends_in(node->path, flush_suffix) ? flush_errnum : 0;
    pthread_mutex_unlock(&lock);
    if (other)
        return -other;
    if (errnum) {
        atomic_store(&node->sync_error, errnum); /* as node_sync() does */
        return -errnum;
    }
    return driver_qcow2.flush(node);
}

static struct driver driver_faulty;

void faulty_install(void)
{
    driver_faulty = driver_qcow2;
    driver_faulty.create = faulty_create;
    driver_faulty.open = faulty_open;
    driver_faulty.write = faulty_write;
    driver_faulty.write_many = NULL; /* each range by itself */
    driver_faulty.flush = faulty_flush;
    driver_faulty.make_room = faulty_make_room;
    driver_register(&driver_faulty);
}

void faulty_reset(void)
{
    faulty_let_creates_go();
    faulty_let_opens_go();
    faulty_let_writes_go();
    faulty_let_flushes_go();
    faulty_fail_room(NULL, 0);
    LOCK_GUARD(&lock);
    held = held_errnum = 0;
    create_backing = open_suffix = sync_suffix = flush_suffix = NULL;
    while (flushed_count)
        free(flushed[--flushed_count]);
}

void faulty_fail_create(const char *backing, int errnum)
{
    LOCK_GUARD(&lock);
    create_backing = backing;
    create_errnum = errnum;
}

void faulty_fail_open(const char *suffix, int errnum)
{
    LOCK_GUARD(&lock);
    open_suffix = suffix;
    open_errnum = errnum;
}

void faulty_fail_sync(const char *suffix, int errnum)
{
    LOCK_GUARD(&lock);
    sync_suffix = suffix;
    sync_errnum = errnum;
}

void faulty_fail_flush(const char *suffix, int errnum)
{
    LOCK_GUARD(&lock);
    flush_suffix = suffix;
    flush_errnum = errnum;
}

void faulty_fail_room(const char *suffix, int errnum)
{
    LOCK_GUARD(&lock);
    full_suffix = suffix;
    full_errnum = errnum;
    is_full = false;
}

void faulty_hold_writes(const char *suffix)
{
    LOCK_GUARD(&lock);
    held_suffix = suffix;
    held = 0;
}

void faulty_let_writes_go(void)
{
    LOCK_GUARD(&lock);
    held_suffix = NULL;
    pthread_cond_broadcast(&changed);
}

void faulty_hold_creates(const char *backing)
{
    LOCK_GUARD(&lock);
    held_create_backing = backing;
    held = 0;
}

void faulty_let_creates_go(void)
{
    LOCK_GUARD(&lock);
    held_create_backing = NULL;
    pthread_cond_broadcast(&changed);
}

void faulty_hold_opens(const char *suffix)
{
    LOCK_GUARD(&lock);
    held_open_suffix = suffix;
    held = 0;
}

void faulty_let_opens_go(void)
{
    LOCK_GUARD(&lock);
    held_open_suffix = NULL;
    pthread_cond_broadcast(&changed);
}

void faulty_fail_held_writes(int errnum)
{
    LOCK_GUARD(&lock);
    held_errnum = errnum;
}

void faulty_hold_flushes(const char *suffix)
{
    LOCK_GUARD(&lock);
    held_flush_suffix = suffix;
}

void faulty_let_flushes_go(void)
{
    LOCK_GUARD(&lock);
    held_flush_suffix = NULL;
    pthread_cond_broadcast(&changed);
}

static struct timespec deadline_of_test(void)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 60;
    return deadline;
}

void faulty_wait_held(int count)
{
    const struct timespec deadline = deadline_of_test();
    LOCK_GUARD(&lock);
    while (held < count)
        assert_int_equal(0, pthread_cond_timedwait(&changed, &lock, &deadline));
}

static int flushes_locked(const char *suffix)
{
    int count = 0;
    for (int i = 0; i < flushed_count; i++)
        count += ends_in(flushed[i], suffix);
    return count;
}

int faulty_flushes(const char *suffix)
{
    LOCK_GUARD(&lock);
    return flushes_locked(suffix);
}

void faulty_wait_flushes(const char *suffix, int count)
{
    const struct timespec deadline = deadline_of_test();
    LOCK_GUARD(&lock);
    while (flushes_locked(suffix) < count)
        assert_int_equal(0, pthread_cond_timedwait(&changed, &lock, &deadline));
}
