/* SPDX-License-Identifier: Apache-2.0
 *
 * See send.h.
 */
#include "clients/cli/send.h"

#include "clients/cli/problem.h"
#include "clients/cli/text.h"
#include "clients/cli/uri.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define PAUSE_FIRST_MS 100
#define PAUSE_MOST_MS  2000

struct sending {
    struct call *call;
    const struct request *request;
    struct reply *reply;
    int64_t end_ms; /* no try begins later */
    int64_t pause_ms;
    bool is_told;      /* the user, that there will be another try */
    bool was_in_doubt; /* an earlier try may have been carried out */
};

static void sleep_ms(int64_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

/* Waits before another try; false: there is no time for one. */
static bool pause_make(struct sending *sending)
{
    int64_t asked_ms = sending->reply->retry_after_ms;
    int64_t ms = asked_ms > sending->pause_ms ? asked_ms : sending->pause_ms;
    if (monotonic_ms() + ms >= sending->end_ms)
        return false;
    if (!sending->is_told && isatty(STDERR_FILENO)) {
        const char *message = sending->call->failure.message;
        fputs("snapgroupctl: ", stderr);
        text_write(stderr, message, strlen(message), TEXT_LINE);
        fprintf(stderr, "; trying again for %.0f s\n",
                (double)(sending->end_ms - monotonic_ms()) / 1000);
    }
    sending->is_told = true;
    sleep_ms(ms);
    sending->pause_ms = ms * 2 < PAUSE_MOST_MS ? ms * 2 : PAUSE_MOST_MS;
    return true;
}

/* Gets what an earlier try has made; `id`: of it. */
static int existing_get(struct sending *sending, const char *id)
{
    bool is_device = strncmp(sending->request->path, "/devices", 8) == 0;
    CLEANUP_FREE char *path = uri_path(is_device ? "devices" : "snapshot-groups", id, NULL);
    struct request request = {.method = "GET", .path = path};
    if (!path)
        return fail_memory(&sending->call->failure);
    if (client_exchange(sending->call->client, &request, sending->reply, &sending->call->failure) !=
        EXCHANGE_REPLIED)
        return -1;
    return sending->reply->status < 400 ? 0 : problem_fail(sending->reply, &sending->call->failure);
}

/* Whether an earlier try of this request has done it: then the reply is a success. */
static bool is_done_before(struct sending *sending, const cJSON *problem)
{
    struct reply *reply = sending->reply;
    const cJSON *existing = cJSON_GetObjectItemCaseSensitive(problem, "existing");
    const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(existing, "id"));
    if (!sending->was_in_doubt)
        return false;
    if (reply->status == 404 && strcmp(sending->request->method, "DELETE") == 0) {
        reply_release(reply);
        reply->status = 204;
        return true;
    }
    return reply->status == 409 && id &&
           cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(existing, "same_request")) &&
           existing_get(sending, id) == 0;
}

enum verdict { VERDICT_DONE, VERDICT_AGAIN, VERDICT_FAILED };

static enum verdict reply_judge(struct sending *sending)
{
    struct reply *reply = sending->reply;
    if (reply->status < 400)
        return VERDICT_DONE;
    CLEANUP_JSON cJSON *problem = reply->is_json && reply->body ? cJSON_Parse(reply->body) : NULL;
    if (is_done_before(sending, problem))
        return VERDICT_DONE;
    long status = reply->status;
    problem_fail(reply, &sending->call->failure);
    sending->was_in_doubt |= status >= 500;
    bool is_patient =
        status != 409 || call_has(sending->call, OPTION_TIMEOUT) || problem_is_running(problem);
    return problem_may_pass(problem, status) && is_patient ? VERDICT_AGAIN : VERDICT_FAILED;
}

static enum verdict try_once(struct sending *sending)
{
    struct call *call = sending->call;
    switch (client_exchange(call->client, sending->request, sending->reply, &call->failure)) {
    case EXCHANGE_REPLIED:
        return reply_judge(sending);
    case EXCHANGE_LOST:
        sending->was_in_doubt = true;
        return VERDICT_AGAIN;
    case EXCHANGE_UNSENT:
        return VERDICT_AGAIN;
    default:
        return VERDICT_FAILED;
    }
}

int client_send(struct call *call, const struct request *request, struct reply *reply)
{
    int64_t deadline_ms = client_deadline_ms(call->client);
    struct sending sending = {.call = call,
                              .request = request,
                              .reply = reply,
                              .end_ms = deadline_ms ? deadline_ms : monotonic_ms() + SEND_RETRY_MS,
                              .pause_ms = PAUSE_FIRST_MS};
    for (;;) {
        enum verdict verdict = try_once(&sending);
        if (verdict == VERDICT_FAILED || (verdict == VERDICT_AGAIN && !pause_make(&sending)))
            return -1;
        if (verdict == VERDICT_DONE)
            break;
    }
    free(call->failure.problem);
    call->failure = (struct failure){0};
    return 0;
}

int client_get(struct call *call, const char *path, struct reply *reply, cJSON **json)
{
    struct request request = {.method = "GET", .path = path};
    *json = NULL;
    if (!path)
        return fail_memory(&call->failure);
    if (client_send(call, &request, reply) != 0)
        return -1;
    *json = reply->body ? cJSON_Parse(reply->body) : NULL;
    return *json
               ? 0
               : fail(&call->failure, EXIT_REFUSED, "the reply of %s is no JSON; is it snapgroupd?",
                      client_where(call->client));
}

int send_key(struct call *call, char key[SEND_KEY_BYTES])
{
    const char *given = call_option(call, OPTION_IDEMPOTENCY_KEY);
    unsigned char random[16];
    if (!given && getrandom(random, sizeof(random), 0) != sizeof(random))
        return fail(&call->failure, EXIT_REFUSED, "there is no randomness: %s", strerror(errno));
    for (size_t i = 0; !given && i < sizeof(random); i++)
        snprintf(key + 2 * i, 3, "%02x", random[i]);
    if (!given)
        return 0;
    bool is_good = *given && strlen(given) < SEND_KEY_BYTES;
    for (const char *c = given; *c; c++)
        is_good = is_good && *c > ' ' && *c < 0x7f && *c != '"' && *c != '\\';
    if (!is_good)
        return fail(&call->failure, EXIT_USAGE,
                    "--idempotency-key: '%s' is not 1 to 128 printable characters", given);
    strcpy(key, given);
    return 0;
}
