/* SPDX-License-Identifier: Apache-2.0
 *
 * The threads that serve requests, those of connections and of the pool, have the shortest time
 * slices, as the kernel says of each. One before 6.12 says 0.
 */
#include "tests/lib/nbd-fixture.h"

#include <dirent.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SHORTEST_NS = 100000 };

struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

static void slice_expect(pid_t thread)
{
    struct scheduling scheduling = {0};
    assert_int_equal(syscall(SYS_sched_getattr, thread, &scheduling, sizeof(scheduling), 0), 0);
    if (scheduling.runtime_ns != 0)
        assert_int_equal(scheduling.runtime_ns, SHORTEST_NS);
}

/* How many threads of this process have that name; each is looked at. */
static size_t threads_examine(const char *name)
{
    size_t count = 0;
    DIR *threads = opendir("/proc/self/task");
    assert_non_null(threads);
    for (struct dirent *entry; (entry = readdir(threads));) {
        char path[sizeof("/proc/self/task//comm") + sizeof(entry->d_name)], said[32] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (!file)
            continue;
        if (fgets(said, sizeof(said), file) && strncmp(said, name, strlen(name)) == 0) {
            slice_expect((pid_t)atoi(entry->d_name));
            count++;
        }
        fclose(file);
    }
    closedir(threads);
    return count;
}

static void prepare(void)
{
    shell("head -c 65536 /dev/urandom >disk.raw");
}

static const struct nbd_setup setup = {
    .prepare = prepare, .disks = {{.name = "disk", .driver = "probe", .read_only = true}}};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(threads_of_connections_and_of_the_pool_come_first)
{
    struct bytes bytes = {.length = 0};
    char data[512];
    unsigned before = atomic_load(&probe.held_reads);
    int fd = peer_open(served.address, "disk");
    atomic_store(&probe.hold_reads, true);
    bytes_add_request(&bytes, 0, CMD_READ, 1, 0, sizeof(data));
    peer_send_bytes(fd, &bytes);
    wait_until_at_least(&probe.held_reads, before + 1);
    while (threads_examine("nbd-conn") == 0 || threads_examine("nbd-pool") == 0)
        sched_yield(); /* a thread is named by who created it, maybe after it runs */
    atomic_store(&probe.hold_reads, false);
    assert_int_equal(peer_next_reply(fd, &(uint32_t){0}), 1);
    peer_receive(fd, data, sizeof(data));
    close(fd);
}
