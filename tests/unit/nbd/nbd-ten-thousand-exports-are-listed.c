/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs that show all exports ask for each of them on one connection: nbdinfo and qemu-nbd show
 * ten thousand. The limits are of options that are of no use, and of time. While the list is sent
 * nothing is locked, and it is right however exports come and go meanwhile.
 * GET /limits: nbd_whole_handshake_ms.
 */
#include "tests/lib/nbd-fixture.h"

#include "block/device/exports.h"
#include "block/frozen.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EXPORTS = TEST_SANITIZED ? 2000 : 10000, /* a sanitizer's server is not measured here */
    GROUPS_OF_ONE =
        100, /* then the device is another one of that name: each lists the older ones */
    DEADLINE_MS = 150,
    CEILING_MS = 1000
};

static void frozen_add(const char *device, unsigned number)
{
    struct err err;
    char group[32], id[64];
    unsigned char device_id[OWNER_ID_BYTES] = {1};
    unsigned generation = number / GROUPS_OF_ONE;
    memcpy(device_id + 1, &generation, sizeof(generation));
    const struct frozen_owner owner = {.id = device_id};
    snprintf(group, sizeof(group), "group-%05u", number);
    snprintf(id, sizeof(id), "id-of-%s-%s", device, group);
    assert_int_equal(block_frozen_add(served.block, device, group, id, "frozen.qcow2", NULL,
                                      "qcow2", &owner, &err),
                     0);
}

static void must_count(const char *command)
{
    CLEANUP_FREE char *count = shell_output("%s", command);
    assert_int_equal(atoi(count), EXPORTS + 1);
}

static void add_frozen_members(void)
{
    shell("qemu-img create -q -f qcow2 frozen.qcow2 1M");
    for (unsigned i = 0; i < EXPORTS; i++)
        frozen_add("disk", i);
}

static const struct nbd_setup setup = {.disks = {{.name = "disk", .size_bytes = 1 << 20}},
                                       .ready = add_frozen_members};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(programs_show_them)
{
    char command[200];
    snprintf(command, sizeof(command),
             "nbdinfo --list --json 'nbd+unix:///?socket=%s' | grep -c 'export-size\":'",
             served.address + strlen("unix:"));
    must_count(command);
    snprintf(command, sizeof(command),
             "qemu-nbd -L -k '%s' | grep -c size:", served.address + strlen("unix:"));
    must_count(command);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Whether the server answers. */
static bool ask(int fd, unsigned option, const char *name)
{
    char replies[65536];
    struct bytes bytes = {.length = 0};
    bytes_add_go(&bytes, option, name, 0, NULL);
    bool alive = send(fd, bytes.at, bytes.length, MSG_NOSIGNAL) > 0 &&
                 recv(fd, replies, sizeof(replies), 0) > 0;
    bytes_clear(&bytes);
    return alive;
}

/* Asks with these names in turn, until the server hangs up; for how long that was. 0: DEADLINE_MS
 * have passed from one question to the answer to the next, so it may have been right to. */
static uint64_t ask_once(unsigned option, const char *const *names, unsigned count)
{
    uint64_t begun_ms = now_ms(), last_ms = begun_ms, heard_ms = begun_ms;
    int fd = peer_greet(served.address, 3);
    bool is_late = false, alive = true;
    for (unsigned i = 0; alive; i++) {
        uint64_t sent_ms = now_ms();
        alive = ask(fd, option, names[i % count]);
        heard_ms = now_ms();
        is_late |= heard_ms - last_ms >= DEADLINE_MS;
        last_ms = sent_ms;
        assert_true(heard_ms - begun_ms < PEER_WAIT_S * 1000);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    close(fd);
    return is_late ? 0 : heard_ms - begun_ms;
}

static uint64_t ask_in_turn(unsigned option, const char *const *names, unsigned count)
{
    uint64_t ms = 0;
    while (ms == 0)
        ms = ask_once(option, names, count);
    return ms;
}

TEST(what_is_of_use_has_more_time)
{
    served.server->limits.handshake_ms = DEADLINE_MS;
    served.server->limits.handshake_max_ms = CEILING_MS;
    const char *const two[] = {"disk", "disk@group-00007"}, *const none[] = {"x", "y"};
    assert_true(ask_in_turn(OPT_INFO, two, 2) >= CEILING_MS); /* and not for ever */
    assert_true(ask_in_turn(OPT_INFO, two, 1) < CEILING_MS);  /* again and again the same */
    assert_true(ask_in_turn(OPT_INFO, none, 2) < CEILING_MS);
}

/* Receives one export of the list; false at its end. */
static bool next_export(int fd, char name[256])
{
    unsigned char length[4];
    assert_int_equal(peer_receive_number(fd, 8), 0x3e889045565a9);
    assert_int_equal(peer_receive_number(fd, 4), OPT_LIST);
    uint32_t type = (uint32_t)peer_receive_number(fd, 4),
             bytes = (uint32_t)peer_receive_number(fd, 4);
    if (type == REP_ACK)
        return false;
    assert_int_equal(type, REP_SERVER);
    peer_receive(fd, length, sizeof(length));
    peer_receive(fd, name, bytes - 4);
    name[bytes - 4] = '\0';
    return true;
}

TEST(nothing_is_locked_while_it_is_sent)
{
    struct bytes bytes = {.length = 0};
    char name[256], before[256] = "";
    unsigned count = 0;
    served.server->limits.handshake_ms = served.server->limits.handshake_max_ms = 3600000;
    int fd = peer_greet(served.address, 3);
    for (unsigned i = 0; i < 20; i++) /* more than both ends' buffers hold: the server waits */
        bytes_add_option(&bytes, OPT_LIST, NULL, 0);
    peer_send_bytes(fd, &bytes);
    assert_true(next_export(fd, name));
    assert_string_equal(name, "disk");
    close(peer_open(served.address, "disk")); /* needs the lock */
    frozen_add("disk", EXPORTS);
    for (unsigned list = 0; list < 20; list++, count = 0) {
        while (next_export(fd, name)) {
            count += strcmp(name, "disk") != 0;
            if (strcmp(name, "disk") == 0)
                continue;
            assert_true(!*before || count == 1 ||
                        strcmp(name, before) < 0); /* newest first, each once */
            strcpy(before, name);
        }
        assert_in_range(count, EXPORTS, EXPORTS + 1);
    }
    close(fd);
}
