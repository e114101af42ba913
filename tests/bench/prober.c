/* SPDX-License-Identifier: Apache-2.0
 *
 * A client that keeps to a schedule: for each disk one NBD connection, and a request every so many
 * microseconds whatever became of the ones before. The latency of a request counts from when it was
 * due, so a server that stops is charged for every request that was due meanwhile; so is a delay of
 * this program itself (`issued_late_us` is the longest that no full queue explains).
 *
 *     bench-prober OP:PERIOD_US:URI...     OP: `write`, 4 KiB; `flush`, a write and then a FLUSH;
 *                                          `read`, 4 KiB, in steps that lead over the whole disk
 *
 * Commands, a line each on standard input; the end of it ends the program:
 *
 *     begin    a window begins; answered `begun`
 *     end      it ends; answered when all its requests are complete, with a line of JSON:
 *              {"real_time":...,"disks":[{"requests","max_us","issued_late_us","p50_us","p99_us",
 *              "p999_us","histogram":[[UP_TO_US,COUNT],...]},...]}
 *
 *   I1. A window has the requests that were due before its end and not complete at its beginning.
 *   I2. `pending` counts the requests of the window that are not complete once it has ended, those
 *       included that were due but not sent.
 *
 * One thread, of real-time priority where that is permitted: other programs' use of the processors
 * then delays the server, as it would a guest's disk, but not the measurement.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <libnbd.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
    DISKS_MAX = 16,
    REQUEST_BYTES = 4096,
    SPAN_BYTES = 4 << 20,            /* what a disk's writes go over, in turn */
    READ_STEP = 977 * REQUEST_BYTES, /* between reads */
    BUCKETS = 640,                   /* 16 for each power of two of microseconds: exact to 6 % */
    IN_FLIGHT_MAX = 64, /* of a disk; a request that is due later waits, and that counts */
    COMMAND_BYTES = 64,
    IDLE_NS = 100000000,
};

struct statistics {
    uint64_t requests, max_us, issued_late_us;
    uint64_t buckets[BUCKETS];
};

struct disk {
    struct nbd_handle *nbd;
    bool is_read;
    bool is_flushed; /* each write */
    uint64_t span_bytes;
    uint64_t period_ns, due_ns, number;
    struct request *to_flush; /* written; a callback may not send the FLUSH itself */
    uint64_t outstanding;
    bool is_behind; /* the queue was full when a request was due; since then none was in time */
    struct statistics statistics;
};

struct request {
    struct request *next;
    struct disk *disk;
    uint64_t due_ns;
    bool is_last; /* part of the request */
};

static struct disk disks[DISKS_MAX];
static unsigned disk_count;
static uint64_t window_end_ns = UINT64_MAX; /* UINT64_MAX: it has not ended */
static uint64_t pending;                    /* I2 */
static bool is_real_time;

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "bench-prober: %s: %s\n", what, why);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- statistics ---- */

static unsigned bucket_of(uint64_t us)
{
    if (us < 16)
        return (unsigned)us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    unsigned bucket = (power - 3) * 16 + (unsigned)(us >> (power - 4) & 15);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The largest time of the bucket. */
static uint64_t bucket_us(unsigned bucket)
{
    if (bucket < 16)
        return bucket;
    unsigned power = bucket / 16 + 3;
    return ((UINT64_C(16) + bucket % 16 + 1) << (power - 4)) - 1;
}

static void statistics_add(struct statistics *statistics, uint64_t us)
{
    statistics->requests++;
    statistics->buckets[bucket_of(us)]++;
    if (us > statistics->max_us)
        statistics->max_us = us;
}

static uint64_t statistics_percentile(const struct statistics *statistics, double part)
{
    double left = (double)statistics->requests * part;
    unsigned bucket = 0;
    while (bucket < BUCKETS - 1 && left > (double)statistics->buckets[bucket]) {
        left -= (double)statistics->buckets[bucket];
        bucket++;
    }
    uint64_t us = bucket_us(bucket);
    return us < statistics->max_us ? us : statistics->max_us;
}

static void statistics_print(const struct statistics *statistics)
{
    printf("{\"requests\":%" PRIu64 ",\"max_us\":%" PRIu64 ",\"issued_late_us\":%" PRIu64
           ",\"p50_us\":%" PRIu64 ",\"p99_us\":%" PRIu64 ",\"p999_us\":%" PRIu64 ",\"histogram\":[",
           statistics->requests, statistics->max_us, statistics->issued_late_us,
           statistics_percentile(statistics, 0.5), statistics_percentile(statistics, 0.99),
           statistics_percentile(statistics, 0.999));
    const char *comma = "";
    for (unsigned i = 0; i < BUCKETS; i++) {
        if (statistics->buckets[i] == 0)
            continue;
        printf("%s[%" PRIu64 ",%" PRIu64 "]", comma, bucket_us(i), statistics->buckets[i]);
        comma = ",";
    }
    printf("]}");
}

/* ---- requests ---- */

static void request_complete(struct request *request)
{
    uint64_t now = now_ns();
    struct disk *disk = request->disk;
    assert(disk->outstanding > 0);
    disk->outstanding--;
    if (request->due_ns < window_end_ns) { /* I1 */
        statistics_add(&disk->statistics, (now - request->due_ns) / 1000);
        if (window_end_ns != UINT64_MAX) {
            assert(pending > 0); /* I2 */
            pending--;
        }
    }
    free(request);
}

static int on_completion(void *user_data, int *error)
{
    struct request *request = user_data;
    if (*error)
        die("a request failed", strerror(*error));
    if (request->is_last) {
        request_complete(request);
    } else {
        request->next = request->disk->to_flush;
        request->disk->to_flush = request;
    }
    return 1;
}

static nbd_completion_callback completion_of(struct request *request)
{
    return (nbd_completion_callback){.callback = on_completion, .user_data = request};
}

static void disk_issue(struct disk *disk, uint64_t now)
{
    static const char data[REQUEST_BYTES] = "probe";
    static char read_data[REQUEST_BYTES];
    struct request *request = malloc(sizeof(*request));
    if (!request)
        die("malloc", strerror(errno));
    *request = (struct request){.disk = disk, .due_ns = disk->due_ns, .is_last = !disk->is_flushed};
    uint64_t late_us = (now - disk->due_ns) / 1000;
    if (late_us > disk->statistics.issued_late_us && !disk->is_behind)
        disk->statistics.issued_late_us = late_us;
    uint64_t step = disk->is_read ? READ_STEP : REQUEST_BYTES;
    uint64_t offset = disk->number++ * step % disk->span_bytes;
    disk->due_ns += disk->period_ns;
    disk->outstanding++;
    int64_t sent =
        disk->is_read
            ? nbd_aio_pread(disk->nbd, read_data, REQUEST_BYTES, offset, completion_of(request), 0)
            : nbd_aio_pwrite(disk->nbd, data, REQUEST_BYTES, offset, completion_of(request), 0);
    if (sent < 0)
        die("a request", nbd_get_error());
}

static void disk_flush_written(struct disk *disk)
{
    while (disk->to_flush) {
        struct request *request = disk->to_flush;
        disk->to_flush = request->next;
        request->is_last = true;
        if (nbd_aio_flush(disk->nbd, completion_of(request), 0) < 0)
            die("a flush", nbd_get_error());
    }
}

static void issue_what_is_due(void)
{
    for (unsigned i = 0; i < disk_count; i++) {
        uint64_t now = now_ns();
        while (disks[i].due_ns <= now && disks[i].outstanding < IN_FLIGHT_MAX)
            disk_issue(&disks[i], now);
        disks[i].is_behind = disks[i].due_ns <= now;
        disk_flush_written(&disks[i]);
    }
}

/* ---- windows ---- */

static void window_begin(void)
{
    window_end_ns = UINT64_MAX;
    for (unsigned i = 0; i < disk_count; i++)
        disks[i].statistics = (struct statistics){0};
    printf("begun\n");
    fflush(stdout);
}

static void window_end(void)
{
    window_end_ns = now_ns();
    pending = 0;
    for (unsigned i = 0; i < disk_count; i++) {
        const struct disk *disk = &disks[i];
        pending += disk->outstanding;
        if (disk->due_ns < window_end_ns)
            pending += (window_end_ns - disk->due_ns - 1) / disk->period_ns + 1;
    }
}

static void window_report(void)
{
    printf("{\"real_time\":%s,\"disks\":[", is_real_time ? "true" : "false");
    for (unsigned i = 0; i < disk_count; i++) {
        printf(i ? "," : "");
        statistics_print(&disks[i].statistics);
    }
    printf("]}\n");
    fflush(stdout);
}

/* Reads one command; false at the end of standard input. The driver sends no second one before it
 * has the answer to the first. */
static bool command_read(bool *is_ending)
{
    char command[COMMAND_BYTES + 1];
    ssize_t length = read(STDIN_FILENO, command, COMMAND_BYTES);
    if (length <= 0)
        return false;
    command[length] = 0;
    if (strcmp(command, "begin\n") == 0) {
        window_begin();
    } else if (strcmp(command, "end\n") == 0) {
        window_end();
        *is_ending = true;
    } else {
        die("unknown command", command);
    }
    return true;
}

/* ---- the loop ---- */

static struct timespec time_until_due(void)
{
    uint64_t due_ns = UINT64_MAX, now = now_ns();
    for (unsigned i = 0; i < disk_count; i++)
        if (disks[i].due_ns < due_ns && disks[i].outstanding < IN_FLIGHT_MAX)
            due_ns = disks[i].due_ns;
    if (due_ns == UINT64_MAX)
        due_ns = now + IDLE_NS;
    uint64_t left = due_ns > now ? due_ns - now : 0;
    return (struct timespec){.tv_sec = (time_t)(left / 1000000000),
                             .tv_nsec = (long)(left % 1000000000)};
}

static void wait_for_events(struct pollfd *fds)
{
    fds[disk_count] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    for (unsigned i = 0; i < disk_count; i++) {
        unsigned direction = nbd_aio_get_direction(disks[i].nbd);
        short events = direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0;
        events |= direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0;
        fds[i] = (struct pollfd){.fd = nbd_aio_get_fd(disks[i].nbd), .events = events};
    }
    struct timespec left = time_until_due();
    if (ppoll(fds, disk_count + 1, &left, NULL) < 0 && errno != EINTR)
        die("ppoll", strerror(errno));
}

static void disk_handle_events(struct disk *disk, short events)
{
    unsigned direction = nbd_aio_get_direction(disk->nbd);
    int ret = 0;
    if (events & (POLLIN | POLLHUP | POLLERR) && direction & LIBNBD_AIO_DIRECTION_READ)
        ret = nbd_aio_notify_read(disk->nbd);
    else if (events & POLLOUT && direction & LIBNBD_AIO_DIRECTION_WRITE)
        ret = nbd_aio_notify_write(disk->nbd);
    if (ret < 0)
        die("a connection", nbd_get_error());
}

static void probe(void)
{
    struct pollfd fds[DISKS_MAX + 1];
    bool is_ending = false;
    for (;;) {
        issue_what_is_due();
        wait_for_events(fds);
        for (unsigned i = 0; i < disk_count; i++)
            disk_handle_events(&disks[i], fds[i].revents);
        if (!is_ending && fds[disk_count].revents && !command_read(&is_ending))
            return;
        if (is_ending && pending == 0) {
            window_report();
            is_ending = false;
        }
    }
}

/* ---- start ---- */

static void disk_connect(struct disk *disk, const char *argument)
{
    char operation[6];
    unsigned period_us;
    int uri_at = 0;
    if (sscanf(argument, "%5[a-z]:%u:%n", operation, &period_us, &uri_at) != 2 || !uri_at ||
        period_us == 0)
        die(argument, "must be OP:PERIOD_US:URI");
    disk->is_read = strcmp(operation, "read") == 0;
    disk->is_flushed = strcmp(operation, "flush") == 0;
    if (!disk->is_read && !disk->is_flushed && strcmp(operation, "write") != 0)
        die(argument, "must begin with write, flush or read");
    disk->period_ns = period_us * UINT64_C(1000);
    disk->nbd = nbd_create();
    if (!disk->nbd || nbd_connect_uri(disk->nbd, argument + uri_at) < 0)
        die(argument, nbd_get_error());
    int64_t size = nbd_get_size(disk->nbd);
    disk->span_bytes = disk->is_read ? (uint64_t)size / REQUEST_BYTES * REQUEST_BYTES : SPAN_BYTES;
    if (size < SPAN_BYTES)
        die(argument, "the disk is smaller than 4 MiB");
}

static void disk_disconnect(struct disk *disk)
{
    while (disk->outstanding) {
        if (nbd_poll(disk->nbd, -1) < 0)
            die("a connection", nbd_get_error());
        disk_flush_written(disk);
    }
    nbd_shutdown(disk->nbd, 0);
    nbd_close(disk->nbd);
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc - 1 > DISKS_MAX)
        die("usage", "bench-prober OP:PERIOD_US:URI... (16 at most)");
    for (int i = 1; i < argc; i++)
        disk_connect(&disks[disk_count++], argv[i]);
    prctl(PR_SET_TIMERSLACK, 1);
    const struct sched_param priority = {.sched_priority = 1};
    is_real_time = sched_setscheduler(0, SCHED_RR, &priority) == 0;
    uint64_t now = now_ns();
    for (unsigned i = 0; i < disk_count; i++)
        disks[i].due_ns = now + disks[i].period_ns * i / disk_count;
    probe();
    for (unsigned i = 0; i < disk_count; i++)
        disk_disconnect(&disks[i]);
    return 0;
}
