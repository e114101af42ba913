/* SPDX-License-Identifier: Apache-2.0
 *
 * snapgroupd: owns virtual disks, serves them over NBD and takes atomic group snapshots of them
 * over REST.
 *
 * Process attributes that threads inherit are set here, before there is a second thread: new files
 * are private; the daemon's signals are blocked, so that daemon_run() can wait for them; a broken
 * connection is an error of one call, not a signal; the limit on open files is raised to the
 * maximum, and the kernel's table of them is made large.
 */
#include "service/check.h"
#include "service/daemon.h"
#include "service/options.h"
#include "service/token-command.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void signals_prepare(void)
{
    sigset_t waited_for;
    daemon_signals(&waited_for);
    pthread_sigmask(SIG_BLOCK, &waited_for, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write past the file size limit is an error of one request */
}

/* The kernel doubles the table of a process's open files as it fills, and once there are two
 * threads each open(2) then waits for all processors, some 15 ms. With one thread none does, and
 * the table never shrinks. */
static void files_table_grow(rlim_t limit)
{
    enum { FILES = 65536 };
    CLEANUP_CLOSE int any = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CLEANUP_CLOSE int last = fcntl(any, F_DUPFD_CLOEXEC, (int)(limit < FILES ? limit : FILES) - 1);
    (void)last; /* without it, later ones wait */
}

static void files_limit_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        files_table_grow(limit.rlim_cur);
}

static int check_run(const struct options *options)
{
    struct err err;
    if (check_options(options, &err) == 0)
        return 0;
    fprintf(stderr, "snapgroupd: %s\n", err.message);
    return 2;
}

int main(int argc, char **argv)
{
    umask(077);
    if (token_command_is_meant(argc, argv))
        return token_command_run(argc, argv);
    struct err err;
    CLEANUP_BY(options_clear) struct options options = {0};
    if (options_parse(argc, argv, &options, &err) != 0) {
        fprintf(stderr, "snapgroupd: %s\nTry 'snapgroupd --help'.\n", err.message);
        return 2;
    }
    if (options.wants_help)
        options_print_help();
    else if (options.wants_version)
        puts("snapgroupd " SNAPGROUPD_VERSION);
    if (options.wants_help || options.wants_version)
        return 0;
    if (options.wants_check)
        return check_run(&options);
    log_set_form(options.log_form);
    log_set_level(options.log_level);
    signals_prepare();
    files_limit_raise();
    return daemon_run(&options);
}
