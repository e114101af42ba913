/* SPDX-License-Identifier: Apache-2.0
 *
 * See wait.h.
 */
#include "clients/cli/wait.h"

#include "clients/cli/cell.h"
#include "clients/cli/problem.h"
#include "clients/cli/send.h"
#include "clients/cli/text.h"
#include "clients/cli/uri.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define PAUSE_FIRST_MS 20
#define PAUSE_MOST_MS  1000
#define PAUSE_BAR_MS   200 /* with a bar */
#define BAR_COLUMNS    30

struct waiting {
    struct call *call;
    const char *collection; /* "jobs" */
    const char *id;
    struct reply *reply;
    bool has_bar;
    bool is_drawn;
    int64_t began_ms;
    double began_bytes; /* -1: not known yet */
};

int wait_wanted(struct call *call, bool *is_wanted)
{
    *is_wanted = !call_has(call, OPTION_NO_WAIT);
    if (!*is_wanted && call_has(call, OPTION_WAIT))
        return fail(&call->failure, EXIT_USAGE, "--wait and --no-wait exclude each other");
    return 0;
}

char *wait_id(const struct reply *reply)
{
    CLEANUP_JSON cJSON *json = reply->body ? cJSON_Parse(reply->body) : NULL;
    const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "id"));
    return id ? strdup(id) : NULL;
}

static double bytes_of(const cJSON *json, const char *path)
{
    double bytes = cJSON_GetNumberValue(cell_value(json, path));
    return isfinite(bytes) && bytes >= 0 ? bytes : 0;
}

/* "[=====>    ]  45%  1.2G of 2.6G  300M/s" */
static void bar_draw(struct waiting *waiting, const cJSON *json, const char *state)
{
    double done = bytes_of(json, "progress.done_bytes");
    double total = bytes_of(json, "progress.total_bytes");
    double part = total > 0 && done < total ? done / total : total > 0 ? 1 : 0;
    double seconds = (double)(monotonic_ms() - waiting->began_ms) / 1000;
    if (waiting->began_bytes < 0)
        waiting->began_bytes = done;
    fputs("\r\x1b[K[", stderr);
    for (int i = 0; i < BAR_COLUMNS; i++)
        fputc(i < part * BAR_COLUMNS ? '=' : ' ', stderr);
    fprintf(stderr, "] %3d%%  ", (int)(part * 100));
    cell_write_bytes(stderr, done);
    fputs(" of ", stderr);
    cell_write_bytes(stderr, total);
    if (seconds > 0.5) {
        fputs("  ", stderr);
        cell_write_bytes(stderr, (done - waiting->began_bytes) / seconds);
        fputs("/s", stderr);
    }
    fputs("  ", stderr);
    text_write(stderr, state, strlen(state), TEXT_LINE);
    fflush(stderr);
    waiting->is_drawn = true;
}

static void bar_clear(struct waiting *waiting)
{
    if (waiting->is_drawn)
        fputs("\r\x1b[K", stderr);
}

/* Whether the work has ended in this state. */
static bool is_over(const char *state)
{
    static const char *const ends[] = {"done",    "failed",  "cancelled", "committed",
                                       "aborted", "deleted", ""};
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
        if (strcmp(state, ends[i]) == 0)
            return true;
    return false;
}

/* 0 if it has ended well. */
static int end_judge(struct waiting *waiting, const cJSON *json, const char *state)
{
    char what[128];
    if (strcmp(state, "done") == 0 || strcmp(state, "committed") == 0)
        return 0;
    snprintf(what, sizeof(what), "%s %.64s is %.16s",
             strcmp(waiting->collection, "jobs") == 0 ? "job" : "group", waiting->id,
             *state ? state : "without a state");
    return problem_fail_work(cJSON_GetObjectItemCaseSensitive(json, "error"), what,
                             &waiting->call->failure);
}

/* -1: there is no time left. */
static int pause_make(struct waiting *waiting, int64_t *pause_ms, const char *state)
{
    int64_t deadline_ms = client_deadline_ms(waiting->call->client);
    if (deadline_ms && monotonic_ms() + *pause_ms >= deadline_ms)
        return fail(&waiting->call->failure, EXIT_UNREACHABLE,
                    "%s is still %s after --timeout, and goes on", waiting->id, state);
    struct timespec left = {.tv_sec = *pause_ms / 1000, .tv_nsec = *pause_ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
    int64_t most_ms = waiting->has_bar ? PAUSE_BAR_MS : PAUSE_MOST_MS;
    *pause_ms = *pause_ms * 3 / 2 < most_ms ? *pause_ms * 3 / 2 : most_ms;
    return 0;
}

/* Asks once; 1: it has ended. */
static int ask(struct waiting *waiting, int64_t *pause_ms)
{
    CLEANUP_FREE char *path = uri_path(waiting->collection, waiting->id, NULL);
    CLEANUP_JSON cJSON *json = NULL;
    if (client_get(waiting->call, path, waiting->reply, &json) != 0)
        return -1;
    const char *state = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "state"));
    state = state ? state : "";
    if (is_over(state))
        return end_judge(waiting, json, state) != 0 ? -1 : 1;
    if (waiting->has_bar)
        bar_draw(waiting, json, state);
    return pause_make(waiting, pause_ms, state);
}

static int wait_end(struct waiting *waiting)
{
    int64_t pause_ms = PAUSE_FIRST_MS;
    int result = 0;
    waiting->began_ms = monotonic_ms();
    waiting->began_bytes = -1;
    while (result == 0)
        result = ask(waiting, &pause_ms);
    bar_clear(waiting);
    return result < 0 ? -1 : 0;
}

int wait_job(struct call *call, const char *id, struct reply *reply)
{
    struct waiting waiting = {.call = call,
                              .collection = "jobs",
                              .id = id,
                              .reply = reply,
                              .has_bar = isatty(STDERR_FILENO)};
    return wait_end(&waiting);
}

int wait_group(struct call *call, const char *id, struct reply *reply)
{
    struct waiting waiting = {
        .call = call, .collection = "snapshot-groups", .id = id, .reply = reply};
    return wait_end(&waiting);
}
