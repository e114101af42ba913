/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests are a stream: many in one segment, one in many segments, cut anywhere, or cut off for
 * good. Each is answered once, in any order, and content equals that of a flat array. What is read
 * is never what is written at the same time: the halves of the disk take turns.
 */
#include "tests/lib/nbd-fixture.h"

#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DISK_SIZE = 8 << 20 };

static struct random choices;
static struct flat *flat; /* what the disk holds */

/* `count` requests of random kinds, with what each must be answered. */
struct script {
    struct bytes sent;
    unsigned reads_half; /* the other one is written */
    size_t count;
    struct {
        unsigned type;
        uint32_t length;
        unsigned char *expected; /* of a READ */
    } steps[400];
};

static void script_add(struct script *script, uint64_t most)
{
    size_t n = script->count++;
    uint64_t offset = random_below(&choices, DISK_SIZE / 2 - most);
    uint32_t length = (uint32_t)random_between(&choices, 1, most);
    unsigned type = random_chance(&choices, 50) ? CMD_WRITE : CMD_READ;
    offset += (type == CMD_READ) == script->reads_half ? DISK_SIZE / 2 : 0;
    script->steps[n].type = type;
    script->steps[n].length = length;
    bytes_add_request(&script->sent, 0, type, 1000 + n, offset, length);
    if (type == CMD_WRITE) {
        random_fill(&choices, flat->bytes + offset, length);
        bytes_add(&script->sent, flat->bytes + offset, length);
    } else {
        script->steps[n].expected = malloc(length);
        memcpy(script->steps[n].expected, flat->bytes + offset, length);
    }
}

static void script_check_and_clear(struct script *script, int fd)
{
    CLEANUP_FREE unsigned char *buf = malloc(DISK_SIZE);
    for (size_t left = script->count; left > 0; left--) {
        uint32_t error;
        uint64_t i = peer_next_reply(fd, &error) - 1000;
        assert_true(error == 0 && i < script->count && script->steps[i].length);
        if (script->steps[i].type == CMD_READ) {
            peer_receive(fd, buf, script->steps[i].length);
            assert_memory_equal(buf, script->steps[i].expected, script->steps[i].length);
        }
        free(script->steps[i].expected);
        script->steps[i].length = 0;
    }
    bytes_clear(&script->sent);
    *script = (struct script){.reads_half = !script->reads_half};
}

static void prepare(void)
{
    choices = random_seeded(5);
    flat = flat_new(DISK_SIZE);
}

static void finish(void)
{
    flat_free(flat);
}

static const struct nbd_setup setup = {
    .prepare = prepare, .finish = finish, .disks = {{.name = "disk", .size_bytes = DISK_SIZE}}};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(many_in_one_segment)
{
    struct script script = {.reads_half = 0};
    int fd = peer_open(served.address, "disk");
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < 300; i++)
            script_add(&script, 512);
        peer_send(fd, script.sent.at, script.sent.length);
        script_check_and_clear(&script, fd);
    }
    close(fd);
}

TEST(cut_at_every_byte)
{
    int fd = peer_open(served.address, "disk");
    for (size_t wanted = 1; wanted < 200; wanted++) {
        struct script script = {.reads_half = wanted % 2};
        for (int i = 0; i < 4; i++)
            script_add(&script, 60);
        size_t cut = wanted < script.sent.length ? wanted : script.sent.length;
        peer_send(fd, script.sent.at, cut);
        sched_yield(); /* the server may look at the first piece by itself, or at both */
        peer_send(fd, script.sent.at + cut, script.sent.length - cut);
        script_check_and_clear(&script, fd);
    }
    close(fd);
}

TEST(one_byte_at_a_time)
{
    struct script script = {.reads_half = 0};
    int fd = peer_open(served.address, "disk");
    for (int i = 0; i < 50; i++)
        script_add(&script, 60);
    for (size_t i = 0; i < script.sent.length; i++)
        peer_send(fd, script.sent.at + i, 1);
    script_check_and_clear(&script, fd);
    close(fd);
}

TEST(large_and_small_mixed)
{
    int fd = peer_open(served.address, "disk");
    for (int round = 0; round < 50; round++) {
        struct script script = {.reads_half = round % 2};
        for (int i = 0; i < 10; i++)
            script_add(&script, random_chance(&choices, 20) ? 100000 : 5000);
        for (size_t sent = 0; sent < script.sent.length;) {
            size_t piece = random_between(&choices, 1, 70000);
            if (piece > script.sent.length - sent)
                piece = script.sent.length - sent;
            peer_send(fd, script.sent.at + sent, piece);
            sent += piece;
        }
        script_check_and_clear(&script, fd);
    }
    CLEANUP_FREE unsigned char *buf = malloc(DISK_SIZE);
    assert_int_equal(peer_request(fd, 0, CMD_READ, 0, DISK_SIZE, buf), 0);
    assert_memory_equal(buf, flat->bytes, DISK_SIZE);
    close(fd);
}

/* Sends writes without a pause, cut where no request ends; more in all than any buffer holds. */
enum { STREAM_WRITES = 10000, STREAM_LENGTH = 5000 };

static void *stream_send(void *arg)
{
    struct bytes bytes = {.length = 0};
    for (unsigned i = 0; i < 100; i++) {
        char data[STREAM_LENGTH];
        memset(data, (int)i, sizeof(data));
        bytes_add_request(&bytes, 0, CMD_WRITE, i, i * STREAM_LENGTH, STREAM_LENGTH);
        bytes_add(&bytes, data, sizeof(data));
    }
    for (unsigned i = 0; i < STREAM_WRITES / 100; i++)
        send(*(int *)arg, bytes.at, bytes.length, MSG_NOSIGNAL);
    bytes_clear(&bytes);
    return NULL;
}

TEST(a_stream_without_end)
{
    pthread_t sender;
    unsigned char data[STREAM_LENGTH];
    int fd = peer_open(served.address, "disk");
    pthread_create(&sender, NULL, stream_send, &fd);
    for (unsigned i = 0; i < STREAM_WRITES; i++)
        peer_reply(fd, i % 100, 0, NULL, 0);
    pthread_join(sender, NULL);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(peer_request(fd, 0, CMD_READ, i * STREAM_LENGTH, STREAM_LENGTH, data), 0);
        assert_true(data[0] == i && data[STREAM_LENGTH - 1] == i);
    }
    close(fd);
}

TEST(half_a_request_has_no_effect)
{
    CLEANUP_FREE char *data = malloc(1 << 20), *back = malloc(1 << 20), *zeros = calloc(1, 1 << 20);
    memset(data, 'x', 1 << 20);
    static const size_t kept[] = {1, 27, 28, 29, 5000, 100000, (1 << 20) + 27};
    for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++) {
        struct bytes bytes = {.length = 0};
        int fd = peer_open(served.address, "disk");
        bytes_add_request(&bytes, 0, CMD_WRITE, 1, 0, 1 << 20);
        bytes_add(&bytes, data, 1 << 20);
        peer_send(fd, bytes.at, kept[i]);
        bytes_clear(&bytes);
        close(fd);
        served_wait_until_left("disk");
    }
    int fd = peer_open(served.address, "disk");
    assert_int_equal(peer_request(fd, 0, CMD_READ, 0, 1 << 20, back), 0);
    assert_memory_equal(back, zeros, 1 << 20);
    close(fd);
}

TEST(disconnect_finishes_what_came_before)
{
    struct script script = {.reads_half = 0};
    int fd = peer_open(served.address, "disk");
    for (int i = 0; i < 100; i++)
        script_add(&script, 512);
    bytes_add_request(&script.sent, 0, CMD_DISC, 0, 0, 0);
    peer_send(fd, script.sent.at, script.sent.length);
    script_check_and_clear(&script, fd);
    peer_must_be_closed(fd);
    assert_int_equal(served_clients("disk"), 0);

    fd = peer_open(served.address, "disk"); /* a client that has nothing more to say, but listens */
    for (int i = 0; i < 100; i++)
        script_add(&script, 512);
    peer_send(fd, script.sent.at, script.sent.length);
    shutdown(fd, SHUT_WR);
    script_check_and_clear(&script, fd);
    peer_must_be_closed(fd);
}
