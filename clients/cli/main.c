/* SPDX-License-Identifier: Apache-2.0
 *
 * snapgroupctl: the tables, one command, and the end of it. Standard output has the result and
 * nothing else; standard error has the failure: as JSON the problem as it came, else a line.
 */
#include "clients/cli/client.h"
#include "clients/cli/commands.h"
#include "clients/cli/help.h"
#include "clients/cli/options.h"
#include "clients/cli/parse.h"
#include "clients/cli/settings.h"
#include "clients/cli/text.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void failure_write(const struct call *call)
{
    const struct failure *failure = &call->failure;
    const char *output = call_option(call, OPTION_OUTPUT);
    if (failure->problem && output && strcmp(output, "json") == 0) {
        text_write(stderr, failure->problem, strlen(failure->problem),
                   isatty(STDERR_FILENO) ? TEXT_JSON : TEXT_LINES);
        fputc('\n', stderr);
        return;
    }
    fputs("snapgroupctl: ", stderr);
    text_write(stderr, failure->message, strlen(failure->message), TEXT_LINE);
    fputc('\n', stderr);
    if (failure->status == EXIT_USAGE)
        fprintf(stderr, "Try 'snapgroupctl%s%s --help'.\n", call->command ? " " : "",
                call->command ? call->command->words : "");
}

/* Flushes standard output. Who has closed it has read enough: that is no failure. */
static int output_end(struct call *call)
{
    errno = 0;
    bool has_failed = fflush(stdout) != 0 || ferror(stdout);
    if (has_failed && errno != EPIPE && errno != 0)
        return fail(&call->failure, EXIT_REFUSED, "cannot write the output: %s", strerror(errno));
    return 0;
}

static int call_run(struct call *call, int argc, char **argv)
{
    if (call_parse(call, argc, argv) != 0)
        return -1;
    if (call_has(call, OPTION_VERSION)) {
        puts("snapgroupctl " SNAPGROUPCTL_VERSION);
        return 0;
    }
    if (call_has(call, OPTION_HELP)) {
        help_print(call);
        return 0;
    }
    if (settings_read(call) != 0 || client_open(call) != 0)
        return -1;
    return call->command->run(call);
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    struct call call = {
        .option_rows = option_rows, .commands = command_rows, .command_count = command_row_count};
    int result = call_run(&call, argc, argv);
    if (result == 0)
        result = output_end(&call);
    fflush(stdout);
    if (result != 0)
        failure_write(&call);
    enum exit_status status = result == 0 ? EXIT_DONE : call.failure.status;
    client_close(&call);
    call_release(&call);
    return (int)status;
}
