/* SPDX-License-Identifier: Apache-2.0
 *
 * See writer.h. Two batches: the thread writes one while the caller fills the other. Their buffers
 * are one huge page where the kernel has one, which a write past the page cache is faster from.
 *
 *     caller: FILLING --batch_submit--> WRITING --the thread--> FILLING
 */
#include "block/job/writer.h"

#include "base/cleanup.h"
#include "base/condition.h"

#include <assert.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { BATCHES = 2, RANGES_MAX = 64, BUFFERED_BYTES = 256 << 10 };

struct batch {
    char *buffer; /* of WRITER_BYTES */
    uint64_t used_bytes;
    size_t count;
    struct disk_range ranges[RANGES_MAX];
    bool is_read; /* by clients, a part of it */
};

struct writer {
    pthread_mutex_t lock;   /* guards `writing` to `error` */
    pthread_cond_t changed; /* one of them has */
    struct batch *writing;  /* the thread's, or NULL */
    bool is_ended;
    int error;         /* -errno of the first write that failed */
    struct node *node; /* borrowed */
    struct batch batches[BATCHES];
    struct batch *filling; /* the caller's */
    pthread_t thread;
    bool has_thread;
};

/* In short calls: the thread of a guest's request may have to wait for the end of one. */
static int range_write_buffered(struct node *node, const char *buf, struct disk_range range)
{
    int ret = 0;
    for (uint64_t n; range.length > 0 && ret == 0; buf += n, range.offset += n, range.length -= n) {
        n = range.length < BUFFERED_BYTES ? range.length : BUFFERED_BYTES;
        ret = node_write(node, buf, range.offset, n);
        sched_yield();
    }
    return ret;
}

static int batch_write_buffered(struct node *node, const struct batch *batch)
{
    const char *buf = batch->buffer;
    int ret = 0;
    for (size_t i = 0; i < batch->count && ret == 0; buf += batch->ranges[i++].length)
        ret = range_write_buffered(node, buf, batch->ranges[i]);
    return ret;
}

static int batch_write(struct node *node, const struct batch *batch)
{
    return batch->is_read || node->direct_fd < 0
               ? batch_write_buffered(node, batch)
               : node_write_many(node, batch->buffer, batch->ranges, batch->count, true);
}

static void *writer_work(void *arg)
{
    struct writer *writer = arg;
    pthread_setname_np(pthread_self(), "job-writer");
    LOCK_GUARD(&writer->lock);
    while (!writer->is_ended) {
        if (!writer->writing) {
            condition_wait(&writer->changed, &writer->lock);
            continue;
        }
        pthread_mutex_unlock(&writer->lock);
        int ret = batch_write(writer->node, writer->writing);
        pthread_mutex_lock(&writer->lock);
        writer->error = ret;
        writer->writing = NULL;
        pthread_cond_broadcast(&writer->changed);
    }
    return NULL;
}

struct writer *writer_new(struct node *node)
{
    const size_t buffers_bytes = (size_t)BATCHES * WRITER_BYTES;
    struct writer *writer = calloc(1, sizeof(*writer));
    char *buffers = aligned_alloc(buffers_bytes, buffers_bytes);
    if (!writer || !buffers) {
        free(writer);
        free(buffers);
        return NULL;
    }
    madvise(buffers, buffers_bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < BATCHES; i++)
        writer->batches[i].buffer = buffers + i * WRITER_BYTES;
    writer->filling = writer->batches;
    writer->node = node;
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->changed, NULL);
    writer->has_thread = pthread_create(&writer->thread, NULL, writer_work, writer) == 0;
    return writer;
}

/* The lock is held. */
static void writer_await_batch(struct writer *writer)
{
    while (writer->writing)
        condition_wait(&writer->changed, &writer->lock);
}

static void writer_end(struct writer *writer)
{
    LOCK_GUARD(&writer->lock);
    writer_await_batch(writer);
    writer->is_ended = true;
    pthread_cond_broadcast(&writer->changed);
}

void writer_free(struct writer *writer)
{
    if (!writer)
        return;
    writer_end(writer);
    if (writer->has_thread)
        pthread_join(writer->thread, NULL);
    pthread_cond_destroy(&writer->changed);
    pthread_mutex_destroy(&writer->lock);
    free(writer->batches[0].buffer);
    free(writer);
}

/* Begins to write what was filled, once what was begun before has ended; the other batch is empty
 * then. 0 or -errno. */
static int batch_submit(struct writer *writer)
{
    struct batch *batch = writer->filling;
    LOCK_GUARD(&writer->lock);
    writer_await_batch(writer);
    if (writer->error || batch->count == 0)
        return writer->error;
    if (writer->has_thread) {
        writer->writing = batch;
        pthread_cond_broadcast(&writer->changed);
    } else {
        writer->error = batch_write(writer->node, batch);
    }
    batch = &writer->batches[batch == writer->batches];
    batch->used_bytes = batch->count = 0;
    batch->is_read = false;
    writer->filling = batch;
    return writer->error;
}

static uint64_t range_end(struct disk_range range)
{
    return range.offset + range.length;
}

/* The last piece of the batch, or NULL. */
static struct disk_range *batch_last(struct batch *batch)
{
    return batch->count ? &batch->ranges[batch->count - 1] : NULL;
}

void *writer_room(struct writer *writer, struct disk_range piece)
{
    struct batch *batch = writer->filling;
    const struct disk_range *last = batch_last(batch);
    assert(piece.length > 0 && piece.length <= WRITER_BYTES);
    bool has_room = batch->count < RANGES_MAX && piece.length <= WRITER_BYTES - batch->used_bytes;
    bool ascends = !last || range_end(*last) <= piece.offset;
    if (!(has_room && ascends) && batch_submit(writer) != 0)
        return NULL;
    return writer->filling->buffer + writer->filling->used_bytes;
}

void writer_add(struct writer *writer, struct disk_range piece, bool is_read)
{
    struct batch *batch = writer->filling;
    struct disk_range *last = batch_last(batch);
    if (last && range_end(*last) == piece.offset)
        last->length += piece.length;
    else
        batch->ranges[batch->count++] = piece;
    batch->used_bytes += piece.length;
    batch->is_read |= is_read;
    if (batch->used_bytes == WRITER_BYTES)
        batch_submit(writer); /* an error is found by a later call */
}

int writer_await(struct writer *writer)
{
    int ret = batch_submit(writer);
    LOCK_GUARD(&writer->lock);
    writer_await_batch(writer);
    return ret ? ret : writer->error;
}
