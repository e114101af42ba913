/* SPDX-License-Identifier: Apache-2.0
 *
 * snapgroupd: owns virtual disks, serves them over NBD and takes atomic group snapshots of them
 * over REST.
 *
 * What every thread inherits is set here, before there is a second one: files are private unless
 * somebody says otherwise; the signals that are meant for the daemon are blocked, so that service_run()
 * can wait for them; a peer that goes away is an error of one call and no signal; and there may be as
 * many open files as the system allows.
 */
#include "service/options.h"
#include "service/service.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void signals_prepare(void)
{
    sigset_t waited_for;
    service_signals(&waited_for);
    pthread_sigmask(SIG_BLOCK, &waited_for, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write past the file size limit is one request's error */
}

static void files_limit_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    umask(077);
    struct options options;
    int status = options_parse(argc, argv, &options);
    if (status != OPTIONS_RUN)
        return status;
    signals_prepare();
    files_limit_raise();
    return service_run(&options);
}
