/* SPDX-License-Identifier: Apache-2.0
 *
 * An event's row.
 */
#ifndef STORE_EVENT_ROW_H
#define STORE_EVENT_ROW_H

#include <stdint.h>

/* Kinds of events. An event of a group or device whose `detail` is NULL gets it from that row; one
 * of a group with a `detail` gets both. */
#define EVENT_KINDS(X)                                                                             \
    X(EVENT_DEVICE_ATTACHED, "device.attached")                                                    \
    X(EVENT_DEVICE_DETACHED, "device.detached")                                                    \
    X(EVENT_DEVICE_UPDATED, "device.updated")                                                      \
    X(EVENT_DEVICE_RESIZED, "device.resized")                                                      \
    X(EVENT_DEVICE_FAILED, "device.failed")                                                        \
    X(EVENT_GROUP_PREPARING, "group.preparing")                                                    \
    X(EVENT_GROUP_CUT, "group.cut")                                                                \
    X(EVENT_GROUP_COMMITTED, "group.committed")                                                    \
    X(EVENT_GROUP_ABORTED, "group.aborted")                                                        \
    X(EVENT_GROUP_UPDATED, "group.updated")                                                        \
    X(EVENT_GROUP_HELD, "group.held")                                                              \
    X(EVENT_GROUP_RELEASED, "group.released")                                                      \
    X(EVENT_GROUP_DELETED, "group.deleted")                                                        \
    X(EVENT_JOB_QUEUED, "job.queued")                                                              \
    X(EVENT_JOB_RUNNING, "job.running")                                                            \
    X(EVENT_JOB_PAUSED, "job.paused")                                                              \
    X(EVENT_JOB_DONE, "job.done")                                                                  \
    X(EVENT_JOB_FAILED, "job.failed")                                                              \
    X(EVENT_JOB_CANCELLED, "job.cancelled")                                                        \
    X(EVENT_TOKEN_CREATED, "token.created")                                                        \
    X(EVENT_TOKEN_REVOKED, "token.revoked")                                                        \
    X(EVENT_RECOVERY_DONE, "recovery.done")

enum event_kind {
#define EVENT_ENUM(symbol, name) symbol,
    EVENT_KINDS(EVENT_ENUM)
#undef EVENT_ENUM
        EVENT_KIND_COUNT
};

struct event_row {
    uint64_t id; /* given by insert; of two events the later one has the larger */
    uint64_t at_us;
    enum event_kind kind;
    char *device, *group_id, *job; /* what it is about; or NULL */
    char *actor;                   /* who caused it */
    char *request_id;              /* or NULL: no request did */
    char *detail;                  /* JSON object */
};

#endif
