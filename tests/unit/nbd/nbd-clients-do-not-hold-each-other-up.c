/* SPDX-License-Identifier: Apache-2.0
 *
 * A client that is stuck, in any phase and in either direction, costs its own connection only; the
 * number of connections is limited; running out of file descriptors passes; a closed connection
 * leaves nothing in use.
 */
#include "tests/lib/nbd-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DISK_SIZE = 4 << 20 };

/* Asks for a great deal and reads nothing: the server blocks in send(). */
static int client_that_does_not_read(void)
{
    struct bytes bytes = {.length = 0};
    int fd = peer_open(served.address, "disk");
    for (int i = 0; i < 16; i++)
        bytes_add_request(&bytes, 0, CMD_READ, 1, 0, DISK_SIZE);
    peer_send_bytes(fd, &bytes);
    return fd;
}

static int client_that_sends_half(void)
{
    struct bytes bytes = {.length = 0};
    int fd = peer_open(served.address, "disk");
    bytes_add_request(&bytes, 0, CMD_WRITE, 1, 0, DISK_SIZE);
    bytes_add(&bytes, "some", 4);
    peer_send_bytes(fd, &bytes);
    return fd;
}

static int client_of_a_slow_write(void)
{
    struct bytes bytes = {.length = 0};
    unsigned before = atomic_load(&probe.held);
    int fd = peer_open(served.address, "disk");
    atomic_store(&probe.hold, true);
    bytes_add_request(&bytes, 0, CMD_WRITE, 1, 0, 512);
    bytes_add(&bytes, (char[512]){0}, 512);
    peer_send_bytes(fd, &bytes);
    wait_until_at_least(&probe.held, before + 1);
    return fd;
}

static void prepare(void)
{
    served.server->limits.connections = 20;
}

static const struct nbd_setup setup = {
    .prepare = prepare, .disks = {{.name = "disk", .driver = "probe", .size_bytes = DISK_SIZE}}};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(stuck_clients_are_alone)
{
    char data[512];
    int stuck[] = {client_that_does_not_read(), client_that_sends_half(),
                   peer_greet(served.address, 3), client_of_a_slow_write()};
    for (int i = 0; i < 3; i++) {
        int fd = peer_open(served.address, "disk");
        for (int n = 0; n < 100; n++)
            assert_int_equal(peer_request(fd, 0, CMD_READ, 0, 512, data), 0);
        close(fd);
    }
    atomic_store(&probe.hold, false);
    peer_reply(stuck[3], 1, 0, NULL, 0);
    for (size_t i = 0; i < 4; i++)
        close(stuck[i]);
}

TEST(connections_are_limited)
{
    int fds[20];
    for (int i = 0; i < 20; i++)
        fds[i] = peer_open(served.address, "disk");
    assert_int_equal(served_clients("disk"), 20);
    for (int i = 0; i < 5; i++)
        peer_must_be_closed(peer_connect(served.address));
    assert_int_equal(peer_request(fds[0], 0, CMD_FLUSH, 0, 0, NULL), 0);
    struct bytes bytes = {.length = 0};
    bytes_add_request(&bytes, 0, CMD_DISC, 0, 0, 0);
    peer_send_bytes(fds[7], &bytes);
    peer_must_be_closed(fds[7]);
    assert_int_equal(served_clients("disk"), 19);
    fds[7] = peer_open(served.address, "disk");
    for (int i = 0; i < 20; i++)
        close(fds[i]);
}

static uint64_t process_time_ms(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_utime.tv_sec * 1000 + (uint64_t)usage.ru_utime.tv_usec / 1000 +
           (uint64_t)usage.ru_stime.tv_sec * 1000 + (uint64_t)usage.ru_stime.tv_usec / 1000;
}

TEST(running_out_of_descriptors_passes)
{
    struct rlimit before, none;
    char greeting[18];
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int probe_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    none = (struct rlimit){.rlim_cur = (rlim_t)probe_fd + 1, .rlim_max = before.rlim_max};
    close(probe_fd);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int fd = peer_connect(served.address); /* takes the last one */
    assert_true(fd >= 0);
    uint64_t start_ms = process_time_ms();
    struct timeval wait = {.tv_usec = 500000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    assert_int_equal(recv(fd, greeting, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
    assert_true(process_time_ms() - start_ms < 250); /* it waits, it does not spin */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    wait.tv_sec = PEER_WAIT_S;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    peer_receive(fd, greeting, sizeof(greeting));
    close(fd);
}

TEST(hundreds_of_connections_leave_nothing)
{
    for (int i = 0; i < 400; i++) {
        struct bytes bytes = {.length = 0};
        int fd = peer_open(served.address, "disk");
        bytes_add_request(&bytes, 0, CMD_DISC, 0, 0, 0);
        peer_send_bytes(fd, &bytes);
        peer_must_be_closed(fd);
    }
    struct err err;
    assert_int_equal(block_device_close(served.block, "disk", &err), 0);
    CLEANUP_FREE char *descriptors = shell_output("ls /proc/%d/fd | wc -l", getpid());
    assert_true(atoi(descriptors) < 40);
}
