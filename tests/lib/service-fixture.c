/* SPDX-License-Identifier: Apache-2.0
 *
 * See service-fixture.h.
 */
#include "tests/lib/service-fixture.h"

#include "service/devices.h"
#include "service/events.h"
#include "service/group-runs.h"
#include "service/group-settlement.h"
#include "service/jobs.h"
#include "service/leftovers.h"
#include "service/metrics.h"
#include "service/recovery.h"
#include "service/storage-calls.h"
#include "service/unsettled.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char *const parts[] = {"", "/state", "/images", "/run"};

bool service_directory_make(const char *directory)
{
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s%s", directory, parts[i]);
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return false;
    }
    return true;
}

static void service_init(struct service *service)
{
    pthread_mutex_init(&service->names_lock, NULL);
    pthread_cond_init(&service->names_changed, NULL);
    pthread_mutex_init(&service->settle_lock, NULL);
    pthread_mutex_init(&service->cuts_lock, NULL);
    pthread_mutex_init(&service->leftovers_lock, NULL);
    pthread_cond_init(&service->leftovers_changed, NULL);
    pthread_mutex_init(&service->keys_lock, NULL);
}

int service_begin(struct service *service, const char *directory, struct err *err)
{
    char database[PATH_MAX], images[PATH_MAX], run[PATH_MAX];
    snprintf(database, sizeof(database), "%s/state/snapgroupd.db", directory);
    snprintf(images, sizeof(images), "%s/images", directory);
    snprintf(run, sizeof(run), "%s/run", directory);
    service_init(service);
    if (!(service->metrics = metrics_new(err)) || !(service->store = store_open(database, err)) ||
        !(service->block = block_open(images, err)) ||
        !(service->group_runs = group_runs_new(service, err)) ||
        !(service->storage_calls = storage_calls_new(service->block, err)) ||
        block_journals_open(service->block, run, err) != 0 || recovery_run(service, err) != 0 ||
        !(service->jobs = jobs_new(service, err)))
        return -1;
    atomic_store(&service->ready, true);
    return 0;
}

void service_must_create(struct service *service, const char *name)
{
    struct err err;
    enum device_part part;
    CLEANUP_BY(device_view_clear) struct device_view view = {0};
    const struct device_request wanted = {.name = name,
                                          .image = name,
                                          .format = "qcow2",
                                          .labels = "{}",
                                          .origin = &origin_daemon,
                                          .create = true,
                                          .size_bytes = 1 << 20,
                                          .overlay = {65536, true}};
    if (devices_add(service, &wanted, &view, &part, &err) != 0) {
        fprintf(stderr, "device '%s': %s\n", name, err.message);
        abort(); /* cmocka fails in the main thread only */
    }
}

int service_end(struct service *service, struct err *err)
{
    struct err unsettled;
    if (!jobs_close(service->jobs))
        return err_set(err, ErrInternalError, 0, "a job waits for storage");
    group_runs_close(service->group_runs);
    storage_calls_close(service->storage_calls);
    int ret = service->store ? unsettled_resolve(service, &unsettled) : 0;
    if (ret != 0)
        *err = unsettled;
    settlements_close(service);
    unsettled_close(service);
    leftovers_close(service);
    if (service->block && block_close(service->block, err) != 0)
        ret = -1;
    if (service->store)
        store_close(service->store);
    metrics_free(service->metrics);
    return ret;
}
