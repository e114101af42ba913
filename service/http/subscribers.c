/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread that serves all subscribers of the events.
 *
 *   commit --> eventfd --> thread: reads the new events once, as text, into `recent`
 *                                              sends each subscriber what it lacks
 *
 * Where there are many subscribers that takes milliseconds of a processor, for each pass. A pass
 * for new events then begins a moment later, and not while a group runs, for GATHER_MAX_MS at most:
 * the group has the processors to itself, and its events go out together, after its answer.
 *
 * A subscriber is a position in the table of events: `after` is the last event that it got or did
 * not ask for. What it lacks comes from `recent`, or, if it is further behind, a page at a time
 * from the store, when its socket takes more. So one that does not read costs a page and its
 * socket's buffer, holds up nobody, and is dropped after SUBSCRIBER_STALL_S; it can resume where it
 * was, with Last-Event-ID, as long as those events are kept. If they are not, it gets a message
 * `gap`.
 *
 * A subscriber whose token is revoked gets no event after that one: the thread learns of it from
 * the events themselves.
 *
 * Invariants:
 *   U1  Only the thread uses a subscriber that was started, and closes its connection.
 *   U2  An event is appended to `output` and `after` set to its id at one place, in the order of
 *       ids: a subscriber gets each event once.
 *   U3  `output` is empty before more is appended; it has at most OUTPUT_MAX_BYTES and an event.
 */
#include "service/http/subscribers.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/monotonic.h"
#include "service/clock.h"
#include "service/context.h"
#include "service/event-feed.h"
#include "service/events.h"
#include "service/group-runs.h"
#include "service/http/event-text.h"
#include "service/tokens.h"
#include "store/tokens.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RECENT_EVENTS     256
#define PAGE_EVENTS       64
#define OUTPUT_MAX_BYTES  ((size_t)64 << 10)
#define SOCKET_SEND_BYTES (64 << 10)
#define TICK_MS           1000
#define EPOLL_EVENTS_MAX  64
#define GATHER_FROM       64 /* subscribers */
#define GATHER_MS         10
#define GATHER_MAX_MS     100

struct subscriber {
    struct subscribers *subscribers;
    struct subscriber *next, *next_arriving; /* subscribers->lock */
    struct subscriber *next_live;            /* the thread's */
    struct principal principal;
    struct subscription subscription; /* `after`: see above */
    struct http_stream stream;
    uint64_t sent_ms; /* when the client last took something */
    uint64_t ends_us; /* when its token expires; 0: not looked up */
    bool is_new;      /* nothing was looked up for it yet */
    bool is_blocked;  /* the socket takes no more */
    bool is_over;
    char *output; /* heap; the part from `start` to `end` is to be sent */
    size_t start, end, room;
};

struct recent_event {
    struct event_row row; /* the texts for the filters; zeroed: none */
    char *text;
};

struct subscribers {
    struct service *service;
    pthread_t thread;
    int epoll_fd, wake_fd;
    pthread_mutex_t lock;
    struct subscriber *all, *arriving; /* these four: lock */
    size_t count;
    bool is_stopping;
    /* The thread's. */
    struct subscriber *live;
    bool is_crowded;       /* there are more than GATHER_FROM */
    uint64_t newest;       /* the last event read */
    bool has_token_events; /* among those read last: a token may be gone */
    struct recent_event recent[RECENT_EVENTS];
};

/* ---- output ---- */

static int output_append(struct subscriber *subscriber, const char *text)
{
    size_t length = strlen(text);
    if (subscriber->end + length > subscriber->room) {
        char *grown = realloc(subscriber->output, subscriber->end + length);
        if (!grown)
            return -1;
        subscriber->output = grown;
        subscriber->room = subscriber->end + length;
    }
    memcpy(subscriber->output + subscriber->end, text, length);
    subscriber->end += length;
    return 0;
}

static int output_format(struct subscriber *subscriber, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int output_format(struct subscriber *subscriber, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return output_append(subscriber, text);
}

/* Sends what is there. A client that has gone is over. */
static void output_send(struct subscriber *subscriber)
{
    while (subscriber->start < subscriber->end && !subscriber->is_over) {
        ssize_t sent =
            http_stream_send_some(&subscriber->stream, subscriber->output + subscriber->start,
                                  subscriber->end - subscriber->start);
        subscriber->is_blocked = sent == -EAGAIN;
        if (subscriber->is_blocked)
            return;
        if (sent < 0) {
            subscriber->is_over = true;
            return;
        }
        subscriber->start += (size_t)sent;
        subscriber->sent_ms = clock_monotonic_ms();
    }
    free(subscriber->output);
    subscriber->output = NULL;
    subscriber->start = subscriber->end = subscriber->room = 0;
}

/* ---- events ---- */

static bool subscriber_wants(const struct subscriber *subscriber, const struct event_row *row)
{
    const struct subscription *wanted = &subscriber->subscription;
    return (wanted->kind == EVENT_KIND_COUNT || wanted->kind == row->kind) &&
           (!*wanted->device || (row->device && strcmp(wanted->device, row->device) == 0)) &&
           (!*wanted->group || (row->group_id && strcmp(wanted->group, row->group_id) == 0));
}

static void recent_clear(struct recent_event *event)
{
    event_row_clear(&event->row);
    free(event->text);
    event->text = NULL;
}

/* Goes on with the latest events, where more than `recent` has room for have come since the last
 * look: while there was no subscriber. */
static bool recent_skip(struct subscribers *subscribers, const struct event_range *range)
{
    if (range->newest <= subscribers->newest + RECENT_EVENTS)
        return false;
    subscribers->newest = range->newest - RECENT_EVENTS;
    subscribers->has_token_events = true; /* perhaps */
    return true;
}

/* Reads the events since the last look. */
static void recent_load(struct subscribers *subscribers)
{
    struct err err;
    struct event_row *rows;
    struct event_range range;
    size_t count;
    do {
        const struct event_filter filter = {.after = subscribers->newest, .kind = EVENT_KIND_COUNT};
        if (store_event_list(subscribers->service->store, &filter, PAGE_EVENTS, &rows, &count,
                             &range, &err) != 0)
            return; /* the next look comes within TICK_MS */
        bool is_behind = recent_skip(subscribers, &range);
        for (size_t i = 0; i < count && !is_behind; i++) {
            struct recent_event *event = &subscribers->recent[rows[i].id % RECENT_EVENTS];
            recent_clear(event);
            event->text = event_format(&rows[i]);
            event->row = rows[i];
            subscribers->newest = rows[i].id;
            subscribers->has_token_events |= rows[i].kind == EVENT_TOKEN_REVOKED;
            rows[i] = (struct event_row){0};
        }
        event_rows_free(rows, count);
    } while (count > 0);
}

/* Takes the event after `after` from `recent`. False: it is not there. */
static bool subscriber_take_recent(struct subscriber *subscriber)
{
    const struct subscribers *subscribers = subscriber->subscribers;
    uint64_t id = subscriber->subscription.after + 1;
    const struct recent_event *event = &subscribers->recent[id % RECENT_EVENTS];
    if (event->row.id != id || !event->text ||
        (*subscriber->subscription.device && event->row.group_id)) /* the store knows its members */
        return false;
    if (subscriber_wants(subscriber, &event->row) && output_append(subscriber, event->text) != 0)
        return false;
    subscriber->subscription.after = id;
    return true;
}

/* Tells the client that events are missing, and goes on with those that are kept. */
static int subscriber_tell_gap(struct subscriber *subscriber, const struct event_range *range)
{
    uint64_t after = subscriber->subscription.after, next = range->oldest - 1;
    if (output_format(subscriber,
                      "id: %" PRIu64 "\nevent: gap\ndata: {\"after\":%" PRIu64
                      ",\"oldest\":%" PRIu64 ",\"newest\":%" PRIu64 "}\n\n",
                      next, after, range->oldest, range->newest) != 0)
        return -1;
    subscriber->subscription.after = next;
    return 0;
}

/* Takes a page of events from the store. False: not now. */
static bool subscriber_take_page(struct subscriber *subscriber)
{
    struct err err;
    struct event_row *rows;
    struct event_range range;
    size_t count, taken = 0;
    struct subscription *at = &subscriber->subscription;
    const struct event_filter filter = subscription_filter(at);
    if (store_event_list(subscriber->subscribers->service->store, &filter, PAGE_EVENTS, &rows,
                         &count, &range, &err) != 0)
        return false;
    bool has_failed = false;
    if (events_check_kept(at->after, &range, &err) != 0) {
        has_failed = subscriber_tell_gap(subscriber, &range) != 0;
    } else {
        for (; taken < count && subscriber->end < OUTPUT_MAX_BYTES && !has_failed; taken++) {
            CLEANUP_FREE char *text = event_format(&rows[taken]);
            has_failed = !text || output_append(subscriber, text) != 0;
            assert(rows[taken].id > at->after); /* U2 */
            if (!has_failed)
                at->after = rows[taken].id;
        }
        if (taken == count && count < PAGE_EVENTS && !has_failed && range.newest > at->after)
            at->after = range.newest; /* nothing else was asked for */
    }
    event_rows_free(rows, count);
    return !has_failed;
}

/* Sends what the client lacks, as far as its socket takes it. */
static void subscriber_serve(struct subscriber *subscriber)
{
    const uint64_t *after = &subscriber->subscription.after;
    const struct subscribers *subscribers = subscriber->subscribers;
    output_send(subscriber);
    while (!subscriber->is_over && subscriber->start == subscriber->end &&
           (subscriber->is_new || *after < subscribers->newest)) {
        assert(subscriber->end == 0); /* U3 */
        while (!subscriber->is_new && *after < subscribers->newest &&
               subscriber->end < OUTPUT_MAX_BYTES && subscriber_take_recent(subscriber))
            continue;
        if (subscriber->end == 0 && (subscriber->is_new || *after < subscribers->newest) &&
            !subscriber_take_page(subscriber))
            return;
        subscriber->is_new = false;
        output_send(subscriber);
    }
}

/* Whether it may be served now: its token, if any, is neither revoked nor expired. */
static bool subscriber_check_token(struct subscriber *subscriber)
{
    struct err err;
    const char *id = subscriber->principal.token.id;
    CLEANUP_BY(token_row_clear) struct token_row row = {0};
    if (!*id)
        return true;
    if (subscriber->ends_us == 0) {
        if (tokens_get(subscriber->subscribers->service, id, &row, &err) == 0)
            subscriber->ends_us = row.has_expiry ? row.expires_at_us : UINT64_MAX;
        else
            subscriber->is_over = err.code == ErrTokenNotFound;
    }
    if (subscriber->ends_us > 0 && subscriber->ends_us <= clock_now_us())
        subscriber->is_over = true;
    return subscriber->ends_us > 0 && !subscriber->is_over;
}

/* ---- life of a subscriber ---- */

struct subscriber *subscriber_new(struct subscribers *subscribers,
                                  const struct subscription *subscription,
                                  const struct principal *principal, struct err *err)
{
    struct subscriber *subscriber = calloc(1, sizeof(*subscriber));
    LOCK_GUARD(&subscribers->lock);
    size_t of_peer = 0;
    for (const struct subscriber *each = subscribers->all; each; each = each->next)
        of_peer += principal_is(&each->principal, principal);
    if (!subscriber || subscribers->is_stopping || subscribers->count >= SUBSCRIBERS_MAX ||
        of_peer >= SUBSCRIBERS_PEER_MAX) {
        free(subscriber);
        err_set(err, ErrOutOfResources, 0,
                "there are too many subscribers (at most %d, and %d of one caller); close some, or "
                "poll /events",
                SUBSCRIBERS_MAX, SUBSCRIBERS_PEER_MAX);
        return NULL;
    }
    subscribers->count++;
    subscriber->subscribers = subscribers;
    subscriber->principal = *principal;
    subscriber->subscription = *subscription;
    subscriber->stream.fd = -1;
    subscriber->next = subscribers->all;
    subscribers->all = subscriber;
    return subscriber;
}

/* Frees the place. Its connection is closed already. */
void subscriber_free(struct subscriber *subscriber)
{
    struct subscribers *subscribers = subscriber->subscribers;
    pthread_mutex_lock(&subscribers->lock);
    struct subscriber **link = &subscribers->all;
    while (*link != subscriber)
        link = &(*link)->next;
    *link = subscriber->next;
    subscribers->count--;
    pthread_mutex_unlock(&subscribers->lock);
    free(subscriber->output);
    free(subscriber);
}

static void subscribers_wake(struct subscribers *subscribers)
{
    uint64_t one = 1;
    ssize_t written = write(subscribers->wake_fd, &one, sizeof(one));
    (void)written; /* a full counter wakes it, too */
}

void subscriber_start(struct subscriber *subscriber, struct http_stream *stream)
{
    struct subscribers *subscribers = subscriber->subscribers;
    subscriber->stream = *stream;
    *stream = (struct http_stream){.fd = -1, .deadline_ms = stream->deadline_ms};
    subscriber->sent_ms = clock_monotonic_ms();
    subscriber->is_new = true;
    setsockopt(subscriber->stream.fd, SOL_SOCKET, SO_SNDBUF, &(int){SOCKET_SEND_BYTES},
               sizeof(int));
    pthread_mutex_lock(&subscribers->lock);
    subscriber->next_arriving = subscribers->arriving;
    subscribers->arriving = subscriber;
    pthread_mutex_unlock(&subscribers->lock);
    subscribers_wake(subscribers);
}

/* ---- the thread ---- */

static void subscriber_arrive(struct subscribers *subscribers, struct subscriber *subscriber)
{
    struct epoll_event event = {.events = EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = subscriber};
    subscriber->next_live = subscribers->live;
    subscribers->live = subscriber;
    if (epoll_ctl(subscribers->epoll_fd, EPOLL_CTL_ADD, subscriber->stream.fd, &event) != 0 ||
        output_format(subscriber, "retry: 1000\nid: %" PRIu64 "\n\n",
                      subscriber->subscription.after) != 0)
        subscriber->is_over = true;
    output_send(subscriber);
}

/* Takes in those that were handed over. False: the end has come. */
static bool subscribers_admit(struct subscribers *subscribers)
{
    pthread_mutex_lock(&subscribers->lock);
    struct subscriber *arriving = steal(subscribers->arriving);
    bool is_stopping = subscribers->is_stopping;
    subscribers->is_crowded = subscribers->count > GATHER_FROM;
    pthread_mutex_unlock(&subscribers->lock);
    for (struct subscriber *next; arriving; arriving = next) {
        next = arriving->next_arriving;
        subscriber_arrive(subscribers, arriving);
    }
    return !is_stopping;
}

/* Lets a silent client know that the stream lives, and where it is; drops one that is stalled. */
static void subscriber_tend(struct subscriber *subscriber, uint64_t now_ms)
{
    if (subscriber->is_blocked && subscriber->sent_ms + SUBSCRIBER_STALL_S * 1000 <= now_ms)
        subscriber->is_over = true;
    if (subscriber->end > 0 || subscriber->sent_ms + SUBSCRIBER_HEARTBEAT_S * 1000 > now_ms)
        return;
    if (output_format(subscriber, ":\nid: %" PRIu64 "\n\n", subscriber->subscription.after) == 0)
        output_send(subscriber);
}

/* Serves all that are not blocked, and closes those that are over; with `is_end`, all. */
static void subscribers_serve(struct subscribers *subscribers, bool is_end)
{
    uint64_t now_ms = clock_monotonic_ms();
    struct subscriber **link = &subscribers->live;
    while (*link) {
        struct subscriber *each = *link;
        if (subscribers->has_token_events)
            each->ends_us = 0;
        if (!is_end && !each->is_over && subscriber_check_token(each) && !each->is_blocked)
            subscriber_serve(each);
        if (!is_end && !each->is_over)
            subscriber_tend(each, now_ms);
        if (!is_end && !each->is_over) {
            link = &each->next_live;
            continue;
        }
        *link = each->next_live;
        http_stream_end(&each->stream);
        close(each->stream.fd); /* U1 */
        subscriber_free(each);
    }
    subscribers->has_token_events = false;
}

/* Waits for the events that are to come with those that there are. */
static void subscribers_gather(const struct subscribers *subscribers)
{
    const struct timespec moment = {.tv_nsec = GATHER_MS * 1000000};
    int waited_ms = 0;
    do {
        nanosleep(&moment, NULL);
        waited_ms += GATHER_MS;
    } while (waited_ms < GATHER_MAX_MS && group_runs_is_busy(subscribers->service->group_runs));
}

/* Waits for new events, subscribers, and sockets that take more. */
static void subscribers_wait(struct subscribers *subscribers)
{
    struct epoll_event events[EPOLL_EVENTS_MAX];
    uint64_t wakes = 0;
    int count = epoll_wait(subscribers->epoll_fd, events, EPOLL_EVENTS_MAX, TICK_MS);
    for (int i = 0; i < count; i++) {
        struct subscriber *subscriber = events[i].data.ptr;
        if (!subscriber) {
            ssize_t got = read(subscribers->wake_fd, &wakes, sizeof(wakes));
            (void)got;
            continue;
        }
        if (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            subscriber->is_over = true;
        subscriber->is_blocked = false;
    }
    if (wakes > 0 && subscribers->is_crowded)
        subscribers_gather(subscribers);
}

static void *subscribers_run(void *arg)
{
    struct subscribers *subscribers = arg;
    pthread_setname_np(pthread_self(), "http-events");
    while (subscribers_admit(subscribers)) {
        if (subscribers->live)
            recent_load(subscribers);
        subscribers_serve(subscribers, false);
        subscribers_wait(subscribers);
    }
    subscribers_serve(subscribers, true);
    return NULL;
}

/* ---- life ---- */

static void subscribers_close(struct subscribers *subscribers)
{
    for (size_t i = 0; i < RECENT_EVENTS; i++)
        recent_clear(&subscribers->recent[i]);
    if (subscribers->epoll_fd >= 0)
        close(subscribers->epoll_fd);
    if (subscribers->wake_fd >= 0)
        close(subscribers->wake_fd);
    pthread_mutex_destroy(&subscribers->lock);
    free(subscribers);
}

struct subscribers *subscribers_new(struct service *service, struct err *err)
{
    struct epoll_event event = {.events = EPOLLIN};
    struct subscribers *subscribers = calloc(1, sizeof(*subscribers));
    if (subscribers) {
        subscribers->service = service;
        pthread_mutex_init(&subscribers->lock, NULL);
        subscribers->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        subscribers->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (epoll_ctl(subscribers->epoll_fd, EPOLL_CTL_ADD, subscribers->wake_fd, &event) == 0 &&
            pthread_create(&subscribers->thread, NULL, subscribers_run, subscribers) == 0) {
            store_events_listen(service->store, subscribers->wake_fd);
            return subscribers;
        }
    }
    err_set(err, ErrOutOfResources, errno, "events cannot be served");
    if (subscribers)
        subscribers_close(subscribers);
    return NULL;
}

void subscribers_stop(struct subscribers *subscribers)
{
    store_events_listen(subscribers->service->store, -1);
    pthread_mutex_lock(&subscribers->lock);
    subscribers->is_stopping = true;
    pthread_mutex_unlock(&subscribers->lock);
    subscribers_wake(subscribers);
    pthread_join(subscribers->thread, NULL);
}

void subscribers_free(struct subscribers *subscribers)
{
    for (struct subscriber *next, *each = subscribers->arriving; each; each = next) {
        next = each->next_arriving; /* handed over after the thread had ended */
        http_stream_end(&each->stream);
        close(each->stream.fd);
        subscriber_free(each);
    }
    assert(!subscribers->live && subscribers->count == 0); /* U1 */
    subscribers_close(subscribers);
}
