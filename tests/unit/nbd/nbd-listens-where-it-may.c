/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening addresses: which are taken, which are refused and how; what happens to socket files
 * that are there before, and to ours after; who may connect, and which of them are asked whether
 * they are still there.
 * GET /limits: nbd_addresses.
 */
#include "tests/lib/nbd-fixture.h"

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

static void must_listen(const char *address)
{
    struct err err;
    if (nbd_server_listen(served.server, address, &err) != 0)
        fail_msg("%s: %s", address, err.message);
}

static void must_refuse(const char *address, enum err_code code, const char *word)
{
    struct err err;
    assert_int_equal(nbd_server_listen(served.server, address, &err), -1);
    if (err.code != code || !strstr(err.message, word))
        fail_msg("%s: %s: %s", address, err_code_name(err.code), err.message);
}

static const struct nbd_setup setup = {.disks = {{.name = "disk", .size_bytes = 1 << 20}},
                                       .is_silent = true};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(other_addresses_are_invalid)
{
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
    assert_null(nbd_server_address(served.server, 0));
}

/* Everywhere, if every client proves who it is. */
TEST(remote_addresses_need_proof)
{
    static const struct nbd_tls_spec weak[] = {
        {.mode = NBD_TLS_OFF},
        {.mode = NBD_TLS_REQUIRED, .cert_dir = "pki/server"},
        {.mode = NBD_TLS_REQUIRED, .cert_dir = "pki/server", .psk_file = "pki/psk"},
    };
    static const struct nbd_tls_spec strong[] = {
        {.mode = NBD_TLS_REQUIRED, .cert_dir = "pki/server", .verify_peer = true},
        {.mode = NBD_TLS_OPTIONAL, .psk_file = "pki/psk"},
    };
    struct err err;
    for (size_t i = 0; i < 3; i++) {
        nbd_server_free(served.server);
        served.server = nbd_server_new(served.block);
        served_set_tls(&weak[i]);
        must_refuse("0.0.0.0:0", ErrInvalidValue, "not a loopback address");
        must_refuse("192.0.2.1:0", ErrInvalidValue, "not a loopback address");
        must_refuse("[::]:0", ErrInvalidValue, "not a loopback address");
        must_refuse("[::ffff:127.0.0.1]:0", ErrInvalidValue, "not a loopback address");
        must_listen("127.0.0.1:0");
        assert_int_equal(nbd_server_needs_tls(served.server), i > 0);
    }
    for (size_t i = 0; i < 2; i++) {
        nbd_server_free(served.server);
        served.server = nbd_server_new(served.block);
        served_set_tls(&strong[i]);
        must_listen("0.0.0.0:0");
        must_refuse("192.0.2.1:0", ErrOpenFileFailed, "Cannot assign"); /* nobody's: RFC 5737 */
        assert_true(nbd_server_needs_tls(served.server));
        for (size_t k = 0; k < 3; k++) { /* nor later */
            assert_int_equal(nbd_server_set_tls(served.server, &weak[k], &err), -1);
            assert_int_equal(err.code, ErrInvalidValue);
            assert_non_null(strstr(err.message, "beyond loopback"));
        }
        assert_int_equal(nbd_server_set_tls(served.server, &strong[!i], &err), 0);
    }
}

TEST(port_0_picks_one)
{
    static const char *const wanted[] = {"127.0.0.1:0", "127.1.2.3:0", "[::1]:0"};
    bool has_ipv6 = shell_status("grep -qs '^0*1 ' /proc/net/if_inet6") == 0;
    for (size_t i = 0; i < (has_ipv6 ? 3 : 2); i++) {
        must_listen(wanted[i]);
        const char *got = served.server->listeners[i].address;
        assert_memory_equal(got, wanted[i], strlen(wanted[i]) - 1);
        assert_true(atoi(strrchr(got, ':') + 1) > 0);
        if (i != 1) /* peer_connect() knows two hosts */
            close(peer_open(got, "disk"));
        must_refuse(got, ErrOpenFileFailed, "in use");
    }
    assert_string_equal(nbd_server_address(served.server, 0), served.server->listeners[0].address);
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

TEST(only_a_dead_socket_is_replaced)
{
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

TEST(socket_files_come_and_go)
{
    struct stat st;
    mode_t before = umask(0); /* the worst that a caller can have set */
    must_listen("unix:a.sock");
    must_listen("unix:b.sock");
    umask(before);
    assert_int_equal(lstat("a.sock", &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
    shell("rm b.sock && echo another >b.sock"); /* not ours any more */
    nbd_server_free(steal(served.server));
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

TEST(other_users_are_turned_away)
{
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
    LOCK_GUARD(&served.server->lock);
    getsockopt(served.server->live->channel.socket.fd, level, name, &value, &length);
    return value;
}

TEST(a_tcp_client_without_power_is_given_up)
{
    must_listen("127.0.0.1:0");
    int fd = peer_open(served.server->listeners[0].address, "disk");
    assert_int_equal(option_of_only_connection(SOL_SOCKET, SO_KEEPALIVE), 1);
    int idle_s = option_of_only_connection(IPPROTO_TCP, TCP_KEEPIDLE);
    int all_s = idle_s + option_of_only_connection(IPPROTO_TCP, TCP_KEEPINTVL) *
                             option_of_only_connection(IPPROTO_TCP, TCP_KEEPCNT);
    assert_in_range(idle_s, 1, 60);
    assert_in_range(all_s, 60, 120);
    close(fd);
}

TEST(a_unix_client_is_not_asked)
{
    must_listen("unix:asked.sock");
    int fd = peer_open("unix:asked.sock", "disk");
    assert_int_equal(option_of_only_connection(SOL_SOCKET, SO_KEEPALIVE), 0);
    close(fd);
}

TEST(addresses_are_limited)
{
    for (int i = 0; i < 16; i++)
        must_listen("127.0.0.1:0");
    must_refuse("127.0.0.1:0", ErrInvalidValue, "16");
    close(peer_open(served.server->listeners[15].address, "disk"));
}
