/* SPDX-License-Identifier: Apache-2.0
 *
 * /metrics, in the Prometheus text format 0.0.4: seconds and bytes, counters end in _total. Device
 * names need no escaping in labels (names.h).
 */
#include "service/http/routes.h"

#include "service/context.h"
#include "service/metrics.h"
#include "store/devices.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICES_PAGE = 100 };

static void metric_begin(FILE *text, const char *name, const char *type, const char *help)
{
    fprintf(text, "# HELP snapgroupd_%s %s\n# TYPE snapgroupd_%s %s\n", name, help, name, type);
}

static uint64_t counted(const atomic_uint_least64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---- the daemon ---- */

static void write_build(FILE *text)
{
    metric_begin(text, "build_info", "gauge", "The program's version, as a label; always 1.");
    fprintf(text, "snapgroupd_build_info{version=\"%s\"} 1\n", SNAPGROUPD_VERSION);
}

static void write_requests(FILE *text, const struct metrics *metrics)
{
    metric_begin(text, "http_requests_total", "counter", "Requests that were answered.");
    for (size_t i = 0; i <= METRICS_OPERATIONS_MAX; i++) {
        const char *operation = atomic_load_explicit(&metrics->operations[i], memory_order_acquire);
        for (int status = METRICS_STATUS_MIN; operation && status <= METRICS_STATUS_MAX; status++) {
            uint64_t count = counted(&metrics->requests[i][status - METRICS_STATUS_MIN]);
            if (count)
                fprintf(text,
                        "snapgroupd_http_requests_total{operation=\"%s\",status=\"%d\"} %" PRIu64
                        "\n",
                        operation, status, count);
        }
    }
}

static void write_memory(FILE *text, struct service *service)
{
    const struct {
        const char *budget;
        struct block_memory memory;
    } budgets[] = {
        {"index", block_index_memory(service->block)},
        {"table", block_table_memory()},
        {"nbd", block_nbd_memory(service->block)},
        {"http",
         {.used_bytes = atomic_load(&service->memory.taken_bytes),
          .limit_bytes = MEMORY_BYTES_MAX}},
    };
    const size_t count = sizeof(budgets) / sizeof(*budgets);
    metric_begin(text, "memory_bytes", "gauge", "Memory of a budget that is in use.");
    for (size_t i = 0; i < count; i++)
        fprintf(text, "snapgroupd_memory_bytes{budget=\"%s\"} %" PRIu64 "\n", budgets[i].budget,
                budgets[i].memory.used_bytes);
    metric_begin(text, "memory_limit_bytes", "gauge", "The limit of a budget.");
    for (size_t i = 0; i < count; i++)
        fprintf(text, "snapgroupd_memory_limit_bytes{budget=\"%s\"} %" PRIu64 "\n",
                budgets[i].budget, budgets[i].memory.limit_bytes);
}

/* ---- groups ---- */

static void write_histogram(FILE *text, const char *name, const struct histogram *histogram,
                            const char *help)
{
    uint64_t count = 0;
    metric_begin(text, name, "histogram", help);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count += counted(&histogram->counts[i]);
        fprintf(text, "snapgroupd_%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
                (double)histogram->bounds_us[i] / 1e6, count);
    }
    count += counted(&histogram->counts[HISTOGRAM_BUCKETS]);
    fprintf(text, "snapgroupd_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    fprintf(text, "snapgroupd_%s_sum %.6f\n", name, (double)counted(&histogram->sum_us) / 1e6);
    fprintf(text, "snapgroupd_%s_count %" PRIu64 "\n", name, count);
}

static void write_groups(FILE *text, const struct metrics *metrics)
{
    static const char *const outcomes[GROUP_OUTCOME_COUNT] = {"committed", "aborted", "refused"};
    metric_begin(text, "groups_total", "counter", "Group snapshots, by their outcome.");
    for (size_t i = 0; i < GROUP_OUTCOME_COUNT; i++)
        fprintf(text, "snapgroupd_groups_total{outcome=\"%s\"} %" PRIu64 "\n", outcomes[i],
                counted(&metrics->groups[i]));
    write_histogram(text, "group_pause_seconds", &metrics->group_pause,
                    "How long the cut of a committed group held writes.");
    write_histogram(text, "group_duration_seconds", &metrics->group_duration,
                    "How long a committed group took as a whole.");
}

static void write_jobs(FILE *text, const struct metrics *metrics)
{
    static const char *const outcomes[JOB_OUTCOME_COUNT] = {"done", "failed", "cancelled"};
    metric_begin(text, "jobs_total", "counter", "Jobs, by their outcome.");
    for (size_t i = 0; i < JOB_OUTCOME_COUNT; i++)
        fprintf(text, "snapgroupd_jobs_total{outcome=\"%s\"} %" PRIu64 "\n", outcomes[i],
                counted(&metrics->jobs[i]));
    metric_begin(text, "job_bytes_total", "counter", "Bytes that jobs have merged or copied.");
    fprintf(text, "snapgroupd_job_bytes_total %" PRIu64 "\n", counted(&metrics->job_bytes));
    write_histogram(text, "job_redirect_seconds", &metrics->redirect,
                    "How long a job held the devices' locks to take a merged image out of chains.");
}

/* ---- devices ---- */

struct device_numbers {
    char *name;
    bool failed, has_snapshot;
    size_t chain_depth;
    unsigned clients;
    uint64_t last_snapshot_at_us, size_bytes, io_bytes[DEVICE_OP_COUNT];
};

struct device_list {
    struct device_numbers *list;
    size_t count;
};

static void device_list_clear(struct device_list *devices)
{
    for (size_t i = 0; i < devices->count; i++)
        free(devices->list[i].name);
    free(devices->list);
}

static int devices_add(struct service *service, struct device_list *devices,
                       const struct device_row *row, struct err *err)
{
    struct device_info info;
    struct device_numbers *list =
        reallocarray(devices->list, devices->count + 1, sizeof(*devices->list));
    if (!list)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the devices");
    devices->list = list;
    if (block_device_info_known(service->block, row->name, &info, err) != 0)
        return err->code == ErrDeviceNotFound ? 0 : -1; /* detached meanwhile */
    struct device_numbers *numbers = &list[devices->count];
    *numbers = (struct device_numbers){.name = strdup(row->name),
                                       .failed = info.failed,
                                       .has_snapshot = row->has_snapshot,
                                       .chain_depth = info.chain_length,
                                       .clients = info.clients,
                                       .last_snapshot_at_us = row->last_snapshot_at_us,
                                       .size_bytes = info.size_bytes};
    memcpy(numbers->io_bytes, info.io_bytes, sizeof(numbers->io_bytes));
    device_info_clear(&info);
    if (!numbers->name)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the devices");
    devices->count++;
    return 0;
}

static int devices_read(struct service *service, struct device_list *devices, struct err *err)
{
    CLEANUP_FREE char *after = NULL;
    for (size_t count = DEVICES_PAGE; count > 0;) {
        struct device_row *rows;
        int ret = 0;
        if (store_device_list(service->store, after, DEVICES_PAGE, &rows, &count, err) != 0)
            return -1;
        for (size_t i = 0; i < count && ret == 0; i++)
            ret = devices_add(service, devices, &rows[i], err);
        free(after);
        after = count ? strdup(rows[count - 1].name) : NULL;
        device_rows_free(rows, count);
        if (ret != 0)
            return -1;
        if (count && !after)
            return err_set(err, ErrOutOfResources, 0, "there is no memory for the devices");
    }
    return 0;
}

#define FOR_DEVICES(devices, device)                                                               \
    for (const struct device_numbers *device = (devices)->list;                                    \
         device < (devices)->list + (devices)->count; device++)

static void write_devices(FILE *text, const struct device_list *devices)
{
    metric_begin(text, "device_failed", "gauge", "1: every request of the device fails.");
    FOR_DEVICES(devices, device)
    fprintf(text, "snapgroupd_device_failed{device=\"%s\"} %d\n", device->name, device->failed);
    metric_begin(text, "device_chain_depth", "gauge", "Images of the chain; 0: it is not open.");
    FOR_DEVICES(devices, device)
    fprintf(text, "snapgroupd_device_chain_depth{device=\"%s\"} %zu\n", device->name,
            device->chain_depth);
    metric_begin(text, "device_size_bytes", "gauge", "The disk's size, as a guest sees it.");
    FOR_DEVICES(devices, device)
    fprintf(text, "snapgroupd_device_size_bytes{device=\"%s\"} %" PRIu64 "\n", device->name,
            device->size_bytes);
    metric_begin(text, "device_clients", "gauge", "NBD connections that use the device.");
    FOR_DEVICES(devices, device)
    fprintf(text, "snapgroupd_device_clients{device=\"%s\"} %u\n", device->name, device->clients);
    metric_begin(text, "device_last_snapshot_timestamp_seconds", "gauge",
                 "When a group cut the device last; missing: never.");
    FOR_DEVICES(devices, device)
    if (device->has_snapshot)
        fprintf(text, "snapgroupd_device_last_snapshot_timestamp_seconds{device=\"%s\"} %.6f\n",
                device->name, (double)device->last_snapshot_at_us / 1e6);
}

static void write_io(FILE *text, const struct device_list *devices)
{
    static const char *const ops[DEVICE_OP_COUNT] = {
        [DEVICE_OP_READ] = "read",
        [DEVICE_OP_WRITE] = "write",
        [DEVICE_OP_ZERO] = "zero",
        [DEVICE_OP_DISCARD] = "discard",
    };
    metric_begin(text, "device_io_bytes_total", "counter", "Bytes of requests that succeeded.");
    FOR_DEVICES(devices, device)
    for (size_t op = 0; op < DEVICE_OP_COUNT; op++)
        fprintf(text, "snapgroupd_device_io_bytes_total{device=\"%s\",op=\"%s\"} %" PRIu64 "\n",
                device->name, ops[op], device->io_bytes[op]);
}

/* ---- the handler ---- */

static void metrics_write(FILE *text, struct service *service, const struct device_list *devices)
{
    write_build(text);
    write_requests(text, service->metrics);
    write_memory(text, service);
    metric_begin(text, "nbd_connections", "gauge", "NBD connections, handshakes included.");
    fprintf(text, "snapgroupd_nbd_connections %u\n", block_nbd_connections(service->block));
    write_groups(text, service->metrics);
    write_jobs(text, service->metrics);
    write_devices(text, devices);
    write_io(text, devices);
}

void metrics_get(struct service *service, const struct request *request, struct reply *reply)
{
    (void)request;
    struct err err;
    CLEANUP_BY(device_list_clear) struct device_list devices = {0};
    if (devices_read(service, &devices, &err) != 0) {
        reply_error(reply, &err);
        return;
    }
    char *body = NULL;
    size_t bytes = 0;
    FILE *text = open_memstream(&body, &bytes);
    if (text)
        metrics_write(text, service, &devices);
    if (text && fclose(text) == 0) {
        reply_text(reply, "text/plain; version=0.0.4; charset=utf-8", body, bytes);
        return;
    }
    free(body);
    err_set(&err, ErrOutOfResources, 0, "there is no memory for the metrics");
    reply_error(reply, &err);
}
