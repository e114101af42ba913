/* SPDX-License-Identifier: Apache-2.0
 *
 * See failures.h. A failure that cannot be recorded is kept and recorded later, before the next
 * one: block has it no more.
 */
#include "service/failures.h"

#include "base/cleanup.h"
#include "service/context.h"
#include "service/events.h"
#include "service/unsettled.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

enum { RETRY_MS = 1000 };

struct failures {
    struct service *service;
    pthread_t thread;
    int end_fd; /* eventfd */
    bool has_failure;
    struct device_failure failure; /* if has_failure: not recorded yet */
};

/* Heap; NULL without memory. */
static char *failure_detail(const struct device_failure *failure)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "reason", failure->reason);
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    return text;
}

/* False: a failure is left. */
static bool failures_record(struct failures *failures)
{
    struct err err;
    struct service *service = failures->service;
    for (;;) {
        if (!failures->has_failure)
            failures->has_failure = block_take_failure(service->block, &failures->failure);
        if (!failures->has_failure)
            return true;
        CLEANUP_FREE char *detail = failure_detail(&failures->failure);
        if (!detail || unsettled_resolve(service, &err) != 0 ||
            event_report(service, &origin_daemon, EVENT_DEVICE_FAILED, failures->failure.name,
                         detail, &err) != 0)
            return false;
        failures->has_failure = false;
    }
}

static void *failures_run(void *arg)
{
    struct failures *failures = arg;
    struct pollfd fds[] = {
        {.fd = failures->end_fd, .events = POLLIN},
        {.fd = block_failures_fd(failures->service->block), .events = POLLIN},
    };
    for (;;) {
        bool is_done = failures_record(failures);
        if (poll(fds, 2, is_done ? -1 : RETRY_MS) < 0 && errno != EINTR)
            return NULL;
        if (fds[0].revents)
            return NULL;
        eventfd_t count;
        eventfd_read(fds[1].fd, &count);
    }
}

struct failures *failures_new(struct service *service, struct err *err)
{
    struct failures *failures = calloc(1, sizeof(*failures));
    if (failures)
        failures->end_fd = eventfd(0, EFD_CLOEXEC);
    if (!failures || failures->end_fd < 0) {
        free(failures);
        err_set(err, ErrOutOfResources, errno, "failures of devices cannot be recorded");
        return NULL;
    }
    failures->service = service;
    int ret = pthread_create(&failures->thread, NULL, failures_run, failures);
    if (ret == 0) {
        pthread_setname_np(failures->thread, "device-failures");
        return failures;
    }
    close(failures->end_fd);
    free(failures);
    err_set(err, ErrOutOfResources, ret, "failures of devices cannot be recorded");
    return NULL;
}

void failures_free(struct failures *failures)
{
    eventfd_write(failures->end_fd, 1);
    pthread_join(failures->thread, NULL);
    close(failures->end_fd);
    free(failures);
}
