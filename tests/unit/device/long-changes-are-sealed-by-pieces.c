/* SPDX-License-Identifier: Apache-2.0
 *
 * A change as long as the disk is listed one piece at a time: a seal waits for that one and not for
 * the rest, which goes to the overlay; the pieces cover the range, each byte once, and cut no
 * cluster in two. A group waits for its own members only. Zeroing that has to be fast is
 * refused by its first piece or not at all.
 */
#include "block/image/drivers.h"
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Thousands of pieces; fewer where each of them takes many times as long. */
#define BIG_BYTES ((TEST_SANITIZED ? 1ULL : 32ULL) << 35)

enum { WAIT_S = 60, PIECE_BYTES_MOST = 64 << 20, WRITE_BYTES = 16 << 20 };

/* What has come to the driver; one device is changed at a time. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned hold_at; /* the piece of that number waits; 0: none does */
    unsigned count, in_frozen, fast;
    uint64_t at; /* where the next one has to begin */
    uint64_t
        alignment; /* every piece but the first and the last begins and ends at multiples of it */
    uint64_t longest, end;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void pieces_expect(uint64_t offset, uint64_t end, uint64_t alignment, unsigned hold_at)
{
    LOCK_GUARD(&seen.lock);
    seen.hold_at = hold_at;
    seen.count = seen.in_frozen = seen.fast = 0;
    seen.at = offset;
    seen.end = end;
    seen.alignment = alignment;
    seen.longest = 0;
}

static void piece_see(const struct node *node, uint64_t offset, uint64_t length)
{
    LOCK_GUARD(&seen.lock);
    seen.count++;
    seen.in_frozen += strstr(node->path, ".cut.qcow2") == NULL;
    assert_int_equal(offset, seen.at);
    seen.at += length;
    assert_true(seen.at <= seen.end);
    assert_true(seen.at == seen.end || seen.at % seen.alignment == 0);
    if (length > seen.longest)
        seen.longest = length;
    pthread_cond_broadcast(&seen.changed);
    while (seen.count == seen.hold_at)
        pthread_cond_wait(&seen.changed, &seen.lock);
}

/* A piece for which there was no room is changed again: it does not count. */
static int piece_result(const struct node *node, uint64_t offset, int ret)
{
    if (ret != NODE_NEEDS_ROOM)
        return ret;
    LOCK_GUARD(&seen.lock);
    seen.count--;
    seen.in_frozen -= strstr(node->path, ".cut.qcow2") == NULL;
    seen.at = offset;
    return ret;
}

static void piece_await(unsigned number)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += WAIT_S;
    LOCK_GUARD(&seen.lock);
    while (seen.count < number)
        assert_int_equal(pthread_cond_timedwait(&seen.changed, &seen.lock, &deadline), 0);
}

/* Lets the piece go that waits; the one of that number waits next. */
static void piece_release(unsigned hold_at)
{
    LOCK_GUARD(&seen.lock);
    seen.hold_at = hold_at;
    pthread_cond_broadcast(&seen.changed);
}

static int watched_zero(struct node *node, uint64_t offset, uint64_t length, unsigned flags)
{
    if (!(flags & ZERO_FAST)) {
        piece_see(node, offset, length);
        return piece_result(node, offset, driver_qcow2.zero(node, offset, length, flags));
    }
    int ret = driver_qcow2.zero(node, offset, length, flags);
    if (ret == 0) {
        piece_see(node, offset, length);
        seen.fast++;
    }
    return ret;
}

static int watched_write(struct node *node, const void *buf, uint64_t offset, uint64_t length,
                         unsigned flags)
{
    if (flags & WRITE_CACHED)
        return -EAGAIN;
    piece_see(node, offset, length);
    return piece_result(node, offset, driver_qcow2.write(node, buf, offset, length, flags));
}

/* A device NAME with the image NAME.qcow2, of that size and clusters. */
static struct device *large_add(struct block *block, const char *name, uint64_t size_bytes,
                                uint32_t cluster_bytes)
{
    static const unsigned char id[OWNER_ID_BYTES] = {1};
    char image[64];
    struct err err = {.message = ""};
    snprintf(image, sizeof(image), "%s.qcow2", name);
    struct cluster_shape shape = {.cluster_bytes = cluster_bytes};
    struct device_spec spec = {.name = name, .image = image, .format = "qcow2"};
    if (block_image_create(block, image, "qcow2", size_bytes, &shape, id, &err) != 0 ||
        block_image_keep(block, image, id, &err) != 0 || block_device_open(block, &spec, &err) != 0)
        fail_msg("%s", err.message);
    block_device_export(block, name);
    return disk(block, name);
}

struct job {
    pthread_t thread;
    struct block *block;
    const char *name;
    int result;
};

static void *zero_run(void *arg)
{
    struct job *job = arg;
    job->result = device_zero(disk(job->block, job->name), 0, BIG_BYTES, 0);
    return NULL;
}

static void *cut_run(void *arg)
{
    struct job *job = arg;
    group_take(job->block, "cut.qcow2", 1, &job->name);
    return NULL;
}

static void job_start(struct job *job, void *(*run)(void *))
{
    assert_int_equal(pthread_create(&job->thread, NULL, run, job), 0);
}

static void job_must_end(struct job *job)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += WAIT_S;
    assert_int_equal(pthread_timedjoin_np(job->thread, NULL, &deadline), 0);
}

/* Until a seal waits for changes of the device. */
static void seal_await(struct device *device)
{
    for (unsigned waiting = 0; !waiting; sched_yield())
        for (size_t i = 0; i < CHANGES_STRIPES; i++) {
            LOCK_GUARD(&device->changes.stripes[i].lock);
            waiting += device->changes.stripes[i].waiting;
        }
}

static int begin(void **state)
{
    static struct driver driver;
    int ret = disks_begin(state);
    driver = driver_qcow2;
    driver.zero = watched_zero;
    driver.write = watched_write;
    driver_register(&driver);
    return ret;
}

/* Lets `zero` change all of "big" up to that piece, and `cut` wait for it. */
static struct device *cut_after_pieces(struct job *zero, struct job *cut, unsigned count)
{
    struct device *device = large_add(zero->block, "big", BIG_BYTES, 65536);
    pieces_expect(0, BIG_BYTES, 65536, count);
    job_start(zero, zero_run);
    piece_await(count);
    job_start(cut, cut_run);
    seal_await(device);
    return device;
}

static const struct fixture fixture = {.begin = begin, .end = disks_end};

TEST(a_seal_waits_for_one_piece)
{
    struct block *block = *state;
    struct job zero = {.block = block, .name = "big"}, cut = zero;
    cut_after_pieces(&zero, &cut, 3);
    piece_release(4); /* on the other side of the cut */
    job_must_end(&cut);
    piece_await(4);
    piece_release(0);
    job_must_end(&zero);
    assert_int_equal(zero.result, 0);
    assert_int_equal(seen.in_frozen, 3);
    assert_int_equal(seen.at, BIG_BYTES);
    assert_true(seen.longest <= PIECE_BYTES_MOST);
}

TEST(another_group_does_not_wait)
{
    struct block *block = *state;
    struct job zero = {.block = block, .name = "big"}, cut = zero,
               other = {.block = block, .name = "d0"};
    struct device *device = cut_after_pieces(&zero, &cut, 1);
    job_start(&other, cut_run);
    job_must_end(&other);
    assert_non_null(index_unsealed(device->index));
    piece_release(0);
    job_must_end(&cut);
    job_must_end(&zero);
}

/* From in the middle of a cluster to in the middle of another one. */
TEST(pieces_are_whole_and_bounded)
{
    struct block *block = *state;
    static const struct {
        const char *name;
        uint64_t size_bytes, most_bytes;
        uint32_t cluster_bytes;
    } disks[] = {
        {"tiny", 64 << 20, 1024 * 512, 512},
        {"usual", 16ULL << 30, PIECE_BYTES_MOST, 65536},
        {"huge", 16ULL << 30, PIECE_BYTES_MOST, 2 << 20},
    };
    for (size_t i = 0; i < sizeof(disks) / sizeof(*disks); i++) {
        uint64_t offset = 3 * disks[i].cluster_bytes + 512, end = disks[i].size_bytes - 512;
        CLEANUP_FREE char *data = malloc(WRITE_BYTES);
        struct device *device =
            large_add(block, disks[i].name, disks[i].size_bytes, disks[i].cluster_bytes);
        memset(data, 'x', WRITE_BYTES);
        pieces_expect(512, 512 + WRITE_BYTES, disks[i].cluster_bytes, 0);
        assert_int_equal(device_write(device, data, 512, WRITE_BYTES, 0), 0);
        assert_true(seen.at == seen.end && seen.longest < WRITE_BYTES);
        pieces_expect(offset, end, disks[i].cluster_bytes, 0);
        assert_int_equal(device_zero(device, offset, end - offset, 0), 0);
        assert_true(seen.at == end && seen.longest <= disks[i].most_bytes);
        assert_int_equal(device_read(device, data, 0, WRITE_BYTES), 0);
        assert_true(bytes_are_zero(data, 512) && data[512] == 'x' && data[offset - 1] == 'x');
        assert_true(bytes_are_zero(data + offset, WRITE_BYTES - offset));
        pieces_expect(offset, end, disks[i].cluster_bytes, 0);
        assert_int_equal(device_discard(device, offset, end - offset, 0), 0);
        assert_true(seen.at == end && seen.longest <= disks[i].most_bytes);
    }
}

TEST(fast_or_not_is_said_at_once)
{
    struct device *device = large_add(*state, "big", BIG_BYTES, 65536);
    pieces_expect(0, BIG_BYTES - 512, 65536, 0);
    assert_int_equal(device_zero(device, 0, BIG_BYTES - 512, IO_FAST), 0);
    assert_true(seen.at == BIG_BYTES - 512 && seen.fast == 1);
    pieces_expect(512, BIG_BYTES, 65536, 0);
    assert_int_equal(device_zero(device, 512, BIG_BYTES - 512, IO_FAST), -EOPNOTSUPP);
    assert_int_equal(seen.count, 0);
}
