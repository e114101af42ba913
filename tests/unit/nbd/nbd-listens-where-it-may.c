/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening addresses: which are taken, which are refused and how; what happens to socket files
 * that are there before, and to ours after; who may connect, and which of them are asked whether
 * they are still there.
 */
#include "tests/lib/tls-peer.h"

#include "block/nbd/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct nbd_place place;

static int begin(void **state)
{
    (void)state;
    nbd_place_open(&place);
    nbd_place_add(&place, "disk", 1 << 20, false);
    return 0;
}

static int end(void **state)
{
    (void)state;
    nbd_place_close(&place);
    return 0;
}

static void must_listen(const char *address)
{
    struct err err;
    if (nbd_server_listen(place.server, address, &err) != 0)
        fail_msg("%s: %s", address, err.message);
}

static void must_refuse(const char *address, enum err_code code, const char *word)
{
    struct err err;
    assert_int_equal(nbd_server_listen(place.server, address, &err), -1);
    if (err.code != code || !strstr(err.message, word))
        fail_msg("%s: %s: %s", address, err_code_name(err.code), err.message);
}

static void other_addresses_are_invalid(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      ":",
                                      "unix",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      ":10809",
                                      "10809",
                                      "0.0.0.0:0",
                                      "192.0.2.1:10809",
                                      "126.255.255.255:1",
                                      "128.0.0.1:1",
                                      "[::]:0",
                                      "[::2]:0",
                                      "[::ffff:127.0.0.1]:0",
                                      "::1:10809",
                                      "[::1]",
                                      "[::1]:",
                                      "[]:1",
                                      "localhost:10809",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:-1",
                                      "127.0.0.1: 1",
                                      "127.0.0.1:1x",
                                      "127.1:0",
                                      "127.0.0.1:000001"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        must_refuse(bad[i], ErrInvalidValue, bad[i]);
    char path[200] = "unix:/";
    must_refuse("unix:", ErrInvalidValue, "path");
    memset(path + 6, 'x', 107); /* 108 bytes: one too many for sun_path */
    must_refuse(path, ErrInvalidValue, "108");
    assert_null(nbd_server_address(place.server, 0));
}

/* Everywhere, if every client proves who it is. */
static void remote_addresses_need_proof(void **state)
{
    (void)state;
    static const struct nbd_tls_spec weak[] = {
        {.mode = NBD_TLS_OFF},
        {.mode = NBD_TLS_REQUIRED, .cert_dir = "pki/server"},
        {.mode = NBD_TLS_REQUIRED, .cert_dir = "pki/server", .psk_file = "pki/psk"},
    };
    static const struct nbd_tls_spec strong[] = {
        {.mode = NBD_TLS_REQUIRED, .cert_dir = "pki/server", .verify_peer = true},
        {.mode = NBD_TLS_OPTIONAL, .psk_file = "pki/psk"},
    };
    tls_pki_create();
    for (size_t i = 0; i < 3; i++) {
        nbd_server_free(place.server);
        place.server = nbd_server_new(place.block);
        nbd_place_set_tls(&place, &weak[i]);
        must_refuse("0.0.0.0:0", ErrInvalidValue, "not a loopback address");
        must_refuse("192.0.2.1:0", ErrInvalidValue, "not a loopback address");
        must_refuse("[::]:0", ErrInvalidValue, "not a loopback address");
        must_refuse("[::ffff:127.0.0.1]:0", ErrInvalidValue, "not a loopback address");
        must_listen("127.0.0.1:0");
        assert_int_equal(nbd_server_needs_tls(place.server), i > 0);
    }
    for (size_t i = 0; i < 2; i++) {
        nbd_server_free(place.server);
        place.server = nbd_server_new(place.block);
        nbd_place_set_tls(&place, &strong[i]);
        must_listen("0.0.0.0:0");
        must_refuse("192.0.2.1:0", ErrOpenFileFailed, "Cannot assign"); /* nobody's: RFC 5737 */
        assert_true(nbd_server_needs_tls(place.server));
    }
    shell("rm -r pki");
}

static void port_0_picks_one(void **state)
{
    (void)state;
    static const char *const wanted[] = {"127.0.0.1:0", "127.1.2.3:0", "[::1]:0"};
    bool has_ipv6 = shell_status("grep -qs '^0*1 ' /proc/net/if_inet6") == 0;
    for (size_t i = 0; i < (has_ipv6 ? 3 : 2); i++) {
        must_listen(wanted[i]);
        const char *got = place.server->listeners[i].address;
        assert_memory_equal(got, wanted[i], strlen(wanted[i]) - 1);
        assert_true(atoi(strrchr(got, ':') + 1) > 0);
        if (i != 1) /* peer_connect() knows two hosts */
            close(peer_open(got, "disk"));
        must_refuse(got, ErrOpenFileFailed, "in use");
    }
    assert_string_equal(nbd_server_address(place.server, 0), place.server->listeners[0].address);
}

/* Leaves a socket file as a killed daemon would; or returns the socket, listening. */
static int leave_socket(const char *path, bool listening)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    strncpy(where.sun_path, path, sizeof(where.sun_path) - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&where, sizeof(where)), 0);
    if (listening && listen(fd, 1) == 0)
        return fd;
    close(fd);
    return -1;
}

static void only_a_dead_socket_is_replaced(void **state)
{
    (void)state;
    struct stat st;
    leave_socket("dead.sock", false);
    int living = leave_socket("living.sock", true);
    shell("echo precious >file && mkdir directory && ln -s file link");
    must_listen("unix:dead.sock");
    close(peer_open("unix:dead.sock", "disk"));
    must_refuse("unix:living.sock", ErrOpenFileFailed, "has a server");
    must_refuse("unix:file", ErrOpenFileFailed, "not a socket");
    must_refuse("unix:link", ErrOpenFileFailed, "not a socket");
    must_refuse("unix:directory", ErrOpenFileFailed, "not a socket");
    must_refuse("unix:nowhere/at.all", ErrOpenFileFailed, "No such file");
    must_refuse("unix:file/below", ErrOpenFileFailed, "Not a directory");
    assert_int_equal(lstat("living.sock", &st), 0);
    shell("test \"$(cat file)\" = precious && test -L link && test -d directory");
    close(living);
    shell("rm -r living.sock file link directory");
}

static void socket_files_come_and_go(void **state)
{
    (void)state;
    struct stat st;
    mode_t before = umask(0); /* the worst that a caller can have set */
    must_listen("unix:a.sock");
    must_listen("unix:b.sock");
    umask(before);
    assert_int_equal(lstat("a.sock", &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
    shell("rm b.sock && echo another >b.sock"); /* not ours any more */
    nbd_server_free(steal(place.server));
    assert_int_equal(lstat("a.sock", &st), -1);
    shell("test \"$(cat b.sock)\" = another && rm b.sock");
}

/* What a process of user nobody gets to see of the server, as its exit status: bytes received, or
 * 100 if it cannot even connect. */
static int try_as_nobody(const char *path)
{
    pid_t pid = fork();
    if (pid == 0) {
        char bytes[18];
        struct sockaddr_un where = {.sun_family = AF_UNIX};
        strncpy(where.sun_path, path, sizeof(where.sun_path) - 1);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (setresuid(65534, 65534, 65534) != 0 ||
            connect(fd, (struct sockaddr *)&where, sizeof(where)) != 0)
            _exit(100);
        ssize_t got = recv(fd, bytes, sizeof(bytes), MSG_WAITALL);
        _exit(got > 0 ? (int)got : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void other_users_are_turned_away(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* cannot become somebody else */
    shell("chmod 755 .");
    must_listen("unix:guarded.sock");
    assert_int_equal(try_as_nobody("guarded.sock"), 100);
    shell("chmod 666 guarded.sock"); /* even then */
    assert_int_equal(try_as_nobody("guarded.sock"), 0);
    close(peer_open("unix:guarded.sock", "disk"));
}

static int option_of_only_connection(int level, int name)
{
    int value = -1;
    socklen_t length = sizeof(value);
    LOCK_GUARD(&place.server->lock);
    getsockopt(place.server->live->channel.socket.fd, level, name, &value, &length);
    return value;
}

static void a_tcp_client_without_power_is_given_up(void **state)
{
    (void)state;
    must_listen("127.0.0.1:0");
    int fd = peer_open(place.server->listeners[0].address, "disk");
    assert_int_equal(option_of_only_connection(SOL_SOCKET, SO_KEEPALIVE), 1);
    int idle_s = option_of_only_connection(IPPROTO_TCP, TCP_KEEPIDLE);
    int all_s = idle_s + option_of_only_connection(IPPROTO_TCP, TCP_KEEPINTVL) *
                             option_of_only_connection(IPPROTO_TCP, TCP_KEEPCNT);
    assert_in_range(idle_s, 1, 60);
    assert_in_range(all_s, 60, 120);
    close(fd);
}

static void a_unix_client_is_not_asked(void **state)
{
    (void)state;
    must_listen("unix:asked.sock");
    int fd = peer_open("unix:asked.sock", "disk");
    assert_int_equal(option_of_only_connection(SOL_SOCKET, SO_KEEPALIVE), 0);
    close(fd);
}

static void addresses_are_limited(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i++)
        must_listen("127.0.0.1:0");
    must_refuse("127.0.0.1:0", ErrInvalidValue, "16");
    close(peer_open(place.server->listeners[15].address, "disk"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(other_addresses_are_invalid, begin, end),
        cmocka_unit_test_setup_teardown(remote_addresses_need_proof, begin, end),
        cmocka_unit_test_setup_teardown(port_0_picks_one, begin, end),
        cmocka_unit_test_setup_teardown(only_a_dead_socket_is_replaced, begin, end),
        cmocka_unit_test_setup_teardown(socket_files_come_and_go, begin, end),
        cmocka_unit_test_setup_teardown(other_users_are_turned_away, begin, end),
        cmocka_unit_test_setup_teardown(a_tcp_client_without_power_is_given_up, begin, end),
        cmocka_unit_test_setup_teardown(a_unix_client_is_not_asked, begin, end),
        cmocka_unit_test_setup_teardown(addresses_are_limited, begin, end),
    };
    return cmocka_run_group_tests_name("nbd addresses", tests, scratch_begin, scratch_end);
}
