/* SPDX-License-Identifier: Apache-2.0
 *
 * Start-up in order; shutdown in the reverse order.
 *
 *   directories -> store -> block -> journals -> recovery -> NBD sockets -> REST sockets -> "ready"
 *
 * The open store holds a lock, so recovery never mistakes the running groups of another daemon for
 * unfinished ones.
 *
 * Shutdown waits for calls and flushes, but not for ever: storage that hangs must not block it.
 *
 *     signal --> calls, groups, looks end --> CLOSING: devices are flushed, all is closed --> exit
 *                        |
 *                        +-- WAIT_MAX_S later --> LEAVING: devices are flushed --> exit
 *
 * A device whose flush hangs is left once the others are flushed; the status is 1 then. END_MAX_S
 * after the signal the daemon exits as if killed. Acknowledged writes are in the journals.
 *
 * A service manager that waits for it (NOTIFY_SOCKET) is notified of "ready" and of the shutdown.
 */
#include "service/daemon.h"

#include "base/log.h"
#include "base/monotonic.h"
#include "service/context.h"
#include "service/device-cache.h"
#include "service/directory.h"
#include "service/failures.h"
#include "service/group-runs.h"
#include "service/group-settlement.h"
#include "service/http/server.h"
#include "service/jobs.h"
#include "service/leftovers.h"
#include "service/metrics.h"
#include "service/options-tls.h"
#include "service/readiness.h"
#include "service/recovery.h"
#include "service/reload.h"
#include "service/storage-calls.h"
#include "service/tokens.h"
#include "service/unsettled.h"
#include "store/idempotency.h"

#include <errno.h>
#include <limits.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MAX_S = 12, END_MAX_S = 30 };

/* Who has come to the devices: the thread that closes, or the one that leaves all else. */
enum end_stage { END_WAITING, END_CLOSING, END_LEAVING };

/* ---- addresses ---- */

/* Listens on the addresses given, or on the default beneath the runtime directory. */
static int nbd_open(struct service *service, const struct options *options, const char *runtime_dir,
                    struct err *err)
{
    CLEANUP_FREE char *fallback = NULL;
    if (asprintf(&fallback, "unix:%s/nbd.sock", runtime_dir) < 0)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for an address");
    if (block_nbd_set_tls(service->block, &options->nbd_tls, err) != 0)
        return -1;
    if (options->nbd.count == 0)
        return block_nbd_listen(service->block, fallback, err);
    for (size_t i = 0; i < options->nbd.count; i++)
        if (block_nbd_listen(service->block, options->nbd.list[i], err) != 0)
            return -1;
    return 0;
}

static int api_open_one(struct http *http, const char *address, struct err *err)
{
    struct listener listener;
    const char *tls_address = options_tls_address(address);
    if (listener_open(&listener, tls_address ? tls_address : address,
                      tls_address ? NULL : OPTIONS_REST_LOCAL_ONLY, err) != 0)
        return -1;
    if (tls_address && listener.is_unix) {
        listener_close(&listener);
        return err_set(err, ErrInvalidValue, 0, "'%s' is a Unix socket, and TLS is for TCP",
                       address);
    }
    printf("api %s%s\n", tls_address ? OPTIONS_TLS_PREFIX : "", listener.address);
    return http_listen(http, &listener, tls_address != NULL, err);
}

static int api_open(struct http *http, const struct options *options, const char *runtime_dir,
                    struct err *err)
{
    CLEANUP_FREE char *fallback = NULL;
    if (asprintf(&fallback, "unix:%s/api.sock", runtime_dir) < 0)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for an address");
    const struct http_terms terms = {
        .groups = &options->allow_groups,
        .scopes = &options->tls_client_scopes,
        .cert_dir = options_have_rest_tls(&options->listen) ? options->tls_cert_dir : NULL};
    if (options->allow_groups.count > 0 && directory_admit(runtime_dir, err) != 0)
        return -1;
    if (http_set_terms(http, &terms, err) != 0)
        return -1;
    if (options->listen.count == 0)
        return api_open_one(http, fallback, err);
    for (size_t i = 0; i < options->listen.count; i++)
        if (api_open_one(http, options->listen.list[i], err) != 0)
            return -1;
    return 0;
}

static void nbd_announce(const struct service *service)
{
    const char *address;
    for (size_t i = 0; (address = block_nbd_address(service->block, i)); i++)
        printf("nbd %s\n", address);
}

/* ---- life ---- */

void daemon_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

/* A thread that waits for signals from before recovery on, because opening an image may take long;
 * after the signal it bounds the shutdown. */
struct end_watch {
    struct service *service;
    struct reload reload;        /* the thread's, until it is joined */
    _Atomic(struct http *) http; /* once it is served */
    atomic_bool has_reload;      /* one was asked for before */
    pthread_t thread;
    atomic_bool is_over; /* the daemon ends for another reason than a signal */
    atomic_bool has_ended;
    sem_t ended;  /* posted once, with has_ended */
    sem_t closed; /* posted once: shutdown no longer waits for storage */
    _Atomic enum end_stage stage;
};

/* True: whoever calls it flushes the devices. */
static bool end_watch_enter(struct end_watch *watch, enum end_stage stage)
{
    enum end_stage waiting = END_WAITING;
    return atomic_compare_exchange_strong(&watch->stage, &waiting, stage);
}

/* Flushes the devices, and exits. What else waits for storage uses what daemon_close() frees, and
 * is left as it is. */
static _Noreturn void daemon_leave(struct service *service, int result)
{
    struct err err;
    if (block_stop(service->block, &err) != 0) {
        log_error("%s", err.message);
        result = -1;
    }
    fflush(stdout);
    _exit(result == 0 ? 0 : 1);
}

/* Until that time, if it is not closed before: true. */
static bool end_watch_await(struct end_watch *watch, uint64_t begun_us, unsigned seconds)
{
    const struct timespec until = clock_monotonic_at(begun_us + seconds * 1000000ULL);
    int ret;
    do
        ret = sem_clockwait(&watch->closed, CLOCK_MONOTONIC, &until);
    while (ret != 0 && errno == EINTR);
    return ret == 0;
}

static void end_watch_bound(struct end_watch *watch)
{
    const uint64_t begun_us = clock_monotonic_us();
    if (end_watch_await(watch, begun_us, WAIT_MAX_S))
        return;
    if (end_watch_enter(watch, END_LEAVING)) {
        log_warning("calls, or a start, wait for storage for %d s, as if it hung: ending without "
                    "them",
                    WAIT_MAX_S);
        daemon_leave(watch->service, watch->is_over ? -1 : 0);
    }
    if (end_watch_await(watch, begun_us, END_MAX_S))
        return;
    log_error("not everything was flushed within %d s, as if storage hung: ending without it; the "
              "journals have what was acknowledged, for the next start",
              END_MAX_S);
    _exit(1);
}

/* The service manager kills a daemon that does not answer (WatchdogSec=). The answer means that the
 * lock of the devices, which every call needs, is free; storage that hangs never holds it. */
static void end_watch_answer(const struct end_watch *watch)
{
    struct err err;
    struct device_info info;
    if (block_device_info_known(watch->service->block, "", &info, &err) != 0)
        sd_notify(0, "WATCHDOG=1"); /* there is no device of that name */
}

/* The next signal; answers the service manager's watchdog meanwhile. */
static int end_watch_wait(const struct end_watch *watch)
{
    sigset_t set;
    int signal;
    uint64_t interval_us;
    daemon_signals(&set);
    if (sd_watchdog_enabled(0, &interval_us) <= 0)
        return sigwait(&set, &signal) == 0 ? signal : SIGTERM;
    interval_us /= 3;
    struct timespec interval = {.tv_sec = (time_t)(interval_us / 1000000),
                                .tv_nsec = (long)(interval_us % 1000000 * 1000)};
    while ((signal = sigtimedwait(&set, NULL, &interval)) < 0)
        end_watch_answer(watch);
    return signal;
}

/* Reloads; before anything is served, that waits for end_watch_serve(). */
static void end_watch_reload(struct end_watch *watch)
{
    atomic_store(&watch->has_reload, true);
    struct http *http = atomic_load(&watch->http);
    if (http && atomic_exchange(&watch->has_reload, false))
        reload_run(&watch->reload, http);
}

static void *end_watch_run(void *arg)
{
    struct end_watch *watch = arg;
    int signal;
    while ((signal = end_watch_wait(watch)) == SIGHUP)
        end_watch_reload(watch);
    if (!atomic_load(&watch->is_over))
        log_info("ending: %s", strsignal(signal));
    sd_notify(0, "STOPPING=1");
    atomic_store(&watch->has_ended, true);
    block_stop_opening(watch->service->block); /* before block_close() */
    sem_post(&watch->ended);
    end_watch_bound(watch);
    return NULL;
}

static int end_watch_begin(struct end_watch *watch, struct err *err)
{
    sem_init(&watch->ended, 0, 0);
    sem_init(&watch->closed, 0, 0);
    int ret = pthread_create(&watch->thread, NULL, end_watch_run, watch);
    return ret ? err_set(err, ErrOutOfResources, ret, "the daemon cannot wait for signals") : 0;
}

/* REST is served from now on. */
static void end_watch_serve(struct end_watch *watch, struct http *http)
{
    atomic_store(&watch->http, http);
    if (atomic_load(&watch->has_reload))
        pthread_kill(watch->thread, SIGHUP);
}

/* Waits for the signal; with `is_over`, returns at once. */
static void end_watch_end(struct end_watch *watch, bool is_over)
{
    if (is_over) {
        atomic_store(&watch->is_over, true);
        pthread_kill(watch->thread, SIGTERM);
    }
    while (sem_wait(&watch->ended) != 0)
        continue;
}

/* Ends the thread. After end_watch_end(). */
static void end_watch_close(struct end_watch *watch)
{
    sem_post(&watch->closed);
    pthread_join(watch->thread, NULL);
    reload_close(&watch->reload);
    sem_destroy(&watch->closed);
    sem_destroy(&watch->ended);
}

static int daemon_recover(struct service *service, const struct options *options,
                          const char *runtime_dir, struct err *err)
{
    if (block_journals_open(service->block, runtime_dir, err) != 0 ||
        recovery_run(service, err) != 0 || !(service->jobs = jobs_new(service, err)))
        return -1;
    return nbd_open(service, options, runtime_dir, err);
}

/* Serves REST until the signal. */
static int daemon_answer(struct service *service, const struct options *options,
                         const char *runtime_dir, struct end_watch *watch, struct err *err)
{
    struct http *http = http_new(service, err);
    if (!http) {
        end_watch_end(watch, true);
        return -1;
    }
    atomic_store(&service->ready, true);
    struct failures *failures = failures_new(service, err);
    int result = failures ? api_open(http, options, runtime_dir, err) : -1;
    if (result == 0) {
        nbd_announce(service);
        puts("ready");
        fflush(stdout);
        sd_notify(0, "READY=1");
        end_watch_serve(watch, http);
    }
    end_watch_end(watch, result != 0);
    http_free(http);
    if (failures)
        failures_free(failures);
    return result;
}

/* Recovers, then serves until the signal. */
static int daemon_serve(struct service *service, const struct options *options,
                        const char *runtime_dir, struct end_watch *watch, struct err *err)
{
    int result = daemon_recover(service, options, runtime_dir, err);
    if (result == 0 && !atomic_load(&watch->has_ended))
        return daemon_answer(service, options, runtime_dir, watch, err);
    end_watch_end(watch, result != 0);
    return result;
}

/* All that waits for storage has ended, or was left. Does not return if the devices are flushed by
 * another thread, which exits. */
static void daemon_enter_closing(struct end_watch *watch)
{
    while (!end_watch_enter(watch, END_CLOSING))
        pause();
}

/* Returns `result`, or -1 if it was 0 and a flush failed. */
static int daemon_close(struct service *service, struct end_watch *watch, int result,
                        struct err *err)
{
    struct err closing;
    leftovers_close(service); /* they plan jobs, by calls to storage */
    bool has_ended = jobs_close(service->jobs);
    group_runs_close(service->group_runs);
    if (has_ended) {
        storage_calls_close(service->storage_calls);
        readiness_close(service->readiness);
    }
    if (unsettled_resolve(service, &closing) != 0)
        log_error("%s; the next start settles what is left", closing.message);
    settlements_close(service);
    unsettled_close(service);
    daemon_enter_closing(watch);
    if (!has_ended) /* jobs */
        daemon_leave(service, result);
    if (block_close(service->block, &closing) != 0) {
        log_error("%s", closing.message);
        if (result == 0)
            result = err_set(err, closing.code, 0, "not everything was flushed");
    }
    return result;
}

/* Serves and closes `block`; leaves `store` open. */
static int daemon_live(struct service *service, const struct options *options,
                       const char *runtime_dir, struct err *err)
{
    struct end_watch watch = {
        .service = service,
        .reload = {.service = service, .started = options, .runtime_dir = runtime_dir}};
    service->group_runs = group_runs_new(service, err);
    service->storage_calls = storage_calls_new(service->block, err);
    service->readiness = readiness_new(service->block, err);
    if (!service->group_runs || !service->storage_calls || !service->readiness ||
        end_watch_begin(&watch, err) != 0)
        return daemon_close(service, &watch, -1, err);
    int result = daemon_serve(service, options, runtime_dir, &watch, err);
    result = daemon_close(service, &watch, result, err);
    end_watch_close(&watch);
    return result;
}

/* Opens store and block, serves, closes both. */
static int daemon_open(struct service *service, const struct options *options,
                       const char *state_dir, const char *image_dir, const char *runtime_dir,
                       struct err *err)
{
    CLEANUP_FREE char *database = NULL;
    if (asprintf(&database, "%s/snapgroupd.db", state_dir) < 0)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for a path");
    service->store = store_open(database, err);
    if (!service->store)
        return -1;
    int result = -1;
    store_keys_keep(service->store, options->idempotency_retention_s);
    service->tokens = tokens_new(service, err);
    if (service->tokens && (service->block = block_open(image_dir, err))) {
        block_set_index_memory(service->block, options->index_memory_bytes);
        block_set_table_memory(options->table_memory_bytes);
        result = daemon_live(service, options, runtime_dir, err);
    }
    if (service->tokens)
        tokens_free(service->tokens);
    store_close(service->store);
    return result;
}

static int daemon_start(const struct options *options, struct err *err)
{
    char state_dir[PATH_MAX], image_dir[PATH_MAX], runtime_dir[PATH_MAX];
    if (directory_open(options->state_dir, true, state_dir, err) != 0 ||
        directory_open(options->image_dir, !options->image_dir_given, image_dir, err) != 0 ||
        directory_open(options->runtime_dir, true, runtime_dir, err) != 0)
        return -1;
    struct service service = {.names_lock = PTHREAD_MUTEX_INITIALIZER,
                              .names_changed = PTHREAD_COND_INITIALIZER,
                              .settle_lock = PTHREAD_MUTEX_INITIALIZER,
                              .cuts_lock = PTHREAD_MUTEX_INITIALIZER,
                              .leftovers_lock = PTHREAD_MUTEX_INITIALIZER,
                              .keys_lock = PTHREAD_MUTEX_INITIALIZER,
                              .leftovers_changed = PTHREAD_COND_INITIALIZER};
    service.metrics = metrics_new(err);
    service.device_cache = service.metrics ? device_cache_new(err) : NULL;
    int result = service.device_cache
                     ? daemon_open(&service, options, state_dir, image_dir, runtime_dir, err)
                     : -1;
    if (service.device_cache)
        device_cache_free(service.device_cache);
    metrics_free(service.metrics);
    return result;
}

int daemon_run(const struct options *options)
{
    struct err err;
    if (daemon_start(options, &err) == 0)
        return 0;
    log_error("%s", err.message);
    return 1;
}
