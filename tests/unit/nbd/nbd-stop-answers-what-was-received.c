/* SPDX-License-Identifier: Apache-2.0
 *
 * Stopping the server: what a client had sent is executed and answered, then the connection is
 * closed; busy clients and clients that read nothing end it neither early nor late. What was
 * acknowledged is in the image.
 */
#include "tests/lib/nbd-fixture.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DISK_SIZE = 4 << 20, WRITERS = 4 };

static void *stop(void *arg)
{
    (void)arg;
    nbd_server_free(steal(served.server));
    return NULL;
}

static void requests_that_arrived_are_answered(const char *address)
{
    struct bytes bytes = {.length = 0};
    char data[512];
    pthread_t stopper;
    unsigned before = atomic_load(&probe.held);
    int fd = peer_open(address, "disk");
    /* So that all has arrived while the first is under way. */
    atomic_store(&probe.holds_connection, true);
    atomic_store(&probe.hold, true);
    for (unsigned i = 0; i < 100; i++) {
        memset(data, (int)i + 1, sizeof(data));
        bytes_add_request(&bytes, 0, CMD_WRITE, i, i * 512, 512);
        bytes_add(&bytes, data, 512);
    }
    bytes_add(&bytes, "\x25\x60", 2); /* and the beginning of one more */
    peer_send(fd, bytes.at, 540);
    wait_until_at_least(&probe.held, before + 1);
    peer_send(fd, bytes.at + 540, bytes.length - 540);
    bytes_clear(&bytes);
    pthread_create(&stopper, NULL, stop, NULL);
    int second;
    while ((second = peer_connect(address)) >= 0) /* until it listens no more */
        close(second);
    atomic_store(&probe.hold, false);
    atomic_store(&probe.holds_connection, false);
    for (unsigned i = 0; i < 100; i++)
        peer_reply(fd, i, 0, NULL, 0);
    peer_must_be_closed(fd);
    pthread_join(stopper, NULL);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(image_peek("disk.raw", i * 512 + 511, 1), i + 1);
}

static const struct nbd_setup setup = {
    .disks = {{.name = "disk", .driver = "probe", .size_bytes = DISK_SIZE}},
    .second_address = "127.0.0.1:0"};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(what_arrived_is_answered_unix)
{
    requests_that_arrived_are_answered(served.address);
}

TEST(what_arrived_is_answered_tcp)
{
    requests_that_arrived_are_answered(served.second_address);
}

/* Writes the numbers 1, 2, 3, ... to its sector, until the server hangs up. */
struct writer {
    pthread_t thread;
    int fd;
    unsigned position;
    atomic_uint acknowledged;
};

static bool exchange(int fd, void *data, size_t length, void *reply)
{
    return send(fd, data, length, MSG_NOSIGNAL) == (ssize_t)length &&
           recv(fd, reply, 16, MSG_WAITALL) == 16;
}

static void *writer_run(void *arg)
{
    struct writer *writer = arg;
    unsigned char reply[16];
    for (unsigned n = 1;; n++) {
        struct bytes bytes = {.length = 0};
        bytes_add_request(&bytes, 0, CMD_WRITE, n, writer->position * 512U, 4);
        bytes_add_number(&bytes, 4, n);
        bool alive = exchange(writer->fd, bytes.at, bytes.length, reply);
        bytes_clear(&bytes);
        if (!alive || reply[7] != 0)
            return NULL;
        atomic_store(&writer->acknowledged, n);
    }
}

TEST(busy_clients_are_closed_soon)
{
    struct writer writers[WRITERS];
    served.server->limits.stop_ms = 3600000; /* must not be needed */
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){
            .position = i, .fd = peer_open(i % 2 ? served.second_address : served.address, "disk")};
        pthread_create(&writers[i].thread, NULL, writer_run, &writers[i]);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        wait_until_at_least(&writers[i].acknowledged, 100);
    stop(NULL);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        uint64_t acknowledged = atomic_load(&writers[i].acknowledged);
        assert_in_range(image_peek("disk.raw", i * 512, 4), acknowledged, acknowledged + 1);
        close(writers[i].fd);
    }
}

/* Sends requests and waits for nothing, until the server hangs up; somebody else reads. */
static void *flood_send(void *arg)
{
    struct bytes bytes = {.length = 0};
    for (unsigned i = 0; i < 1000; i++)
        bytes_add_request(&bytes, 0, CMD_READ, i, 0, 1);
    while (send(*(int *)arg, bytes.at, bytes.length, MSG_NOSIGNAL) > 0)
        ;
    bytes_clear(&bytes);
    return NULL;
}

static void *flood_receive(void *arg)
{
    char replies[65536];
    while (recv(*(int *)arg, replies, sizeof(replies), 0) > 0)
        ;
    shutdown(*(int *)arg, SHUT_RDWR); /* the sender may wait for room in the closed connection */
    return NULL;
}

TEST(flooding_clients_are_closed_soon)
{
    int fds[] = {peer_open(served.address, "disk"), peer_open(served.second_address, "disk")};
    pthread_t threads[4];
    char sample[1];
    served.server->limits.stop_ms = 3600000; /* must not be needed */
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, flood_send, &fds[i]);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(recv(fds[i], sample, 1, MSG_PEEK), 1); /* it flows */
        pthread_create(&threads[2 + i], NULL, flood_receive, &fds[i]);
    }
    stop(NULL);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    close(fds[0]);
    close(fds[1]);
}

TEST(a_client_that_does_not_read_is_cut_off)
{
    struct bytes bytes = {.length = 0};
    int fd = peer_open(served.address, "disk"), idle = peer_open(served.address, "disk");
    int greeted = peer_greet(served.second_address, 3),
        half = peer_open(served.second_address, "disk");
    served.server->limits.stop_ms = 300;
    for (int i = 0; i < 16; i++)
        bytes_add_request(&bytes, 0, CMD_READ, 1, 0, DISK_SIZE);
    peer_send_bytes(fd, &bytes);
    bytes_add_request(&bytes, 0, CMD_WRITE, 1, 0, DISK_SIZE);
    peer_send_bytes(half, &bytes);
    stop(NULL);
    close(fd);
    peer_must_be_closed(idle);
    peer_must_be_closed(greeted);
    peer_must_be_closed(half);
}

TEST(a_server_nobody_used_stops)
{
    stop(NULL);
    served.server = nbd_server_new(served.block);
    assert_null(nbd_server_address(served.server, 0));
}
