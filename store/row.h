/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of all tables.
 */
#ifndef STORE_ROW_H
#define STORE_ROW_H

#include "base/err.h"
#include "store/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_ID_CHARS 36 /* a UUID's text */

/* The revision of a row as it is inserted; that of a token, which never changes, stays. */
#define STORE_REVISION_FIRST 1

/* What may be done to an image (store/schema/6.sql). */
enum image_role {
    IMAGE_GIVEN,
    IMAGE_ATTACHED,
    IMAGE_MADE,
};

/* An image file and its place in its tree. */
struct image_row {
    char *path;     /* canonical */
    char *identity; /* block/image/identity.h; NULL: not known */
    char *format;
    char *backing; /* the path of the image under it; NULL: none, or not known */
    enum image_role role;
    char *made_by;    /* the id in its header; NULL unless it was made */
    bool is_kept;     /* the top of a detached device */
    bool is_complete; /* false: what is under it is not known */
    char *group_name; /* a group that has it as a frozen member, or NULL; with store_image_tree() */
    char *device;     /* a device whose top it is, or NULL; likewise */
    bool is_read;     /* a device that is read-only has it as top; likewise */
};

/* Who needs an image (image-keepers.h). */
enum keeper_kind {
    KEEPER_GROUP,
    KEEPER_DEVICE,
    KEEPER_IMAGE,  /* the top of a detached device */
    KEEPER_OTHERS, /* more than are listed */
    KEEPER_BRANCH, /* the store's own */
};

struct keeper_row {
    char *image; /* the path of the image */
    enum keeper_kind kind;
    char *name; /* of the group or device, or the path of the other image */
};

enum device_row_state {
    DEVICE_ROW_CREATING, /* its image is being made; recovery takes it away */
    DEVICE_ROW_ATTACHED,
    DEVICE_ROW_DETACHING, /* it is being closed, after which the row goes */
};

struct device_row {
    char id[STORE_ID_CHARS + 1];
    enum device_row_state state;
    char *name;
    char *image;              /* absolute path given at attach */
    char *image_identity;     /* of that file (block/image/identity.h), or NULL: not known */
    char *directory_identity; /* of the image's directory when it was created; or NULL: not known */
    char *format;             /* of `image` */
    char *top;          /* absolute path of the top image now; `image` until the first group */
    char *top_identity; /* likewise */
    char *top_format;
    char *top_image;    /* the path of its row in `images`; or NULL: there is none yet */
    size_t chain_count; /* of the open device, top to base: path, identity and format of each; */
    struct image_row *chain; /* to be recorded with the device; never read back */
    uint64_t chain_seen;     /* of one that is inserted: store_merges_generation() before its files
                              * were opened */
    char *origin_base;       /* of a clone that is inserted: the path of the frozen image that was
                              * opened for it; borrowed */
    bool read_only;
    uint32_t cluster_size_bytes; /* of overlays to come */
    bool extended_l2;
    char *labels;     /* JSON object, opaque here */
    char *removed_by; /* while it is detached: its top goes too, which has that id; or NULL */
    char *origin_how; /* "clone" or "rollback"; NULL: neither, and none of the next ones; */
    char *origin_group, *origin_device; /* of that member, the group by its id */
    bool has_origin;                    /* origin_at_us: when it was cloned or rolled back */
    uint64_t origin_at_us;
    char *request_hash;    /* what the request was (service/events.h); or NULL: not known */
    char *allowed_clients; /* JSON array, opaque here; NULL: all */
    uint64_t created_at_us;
    uint64_t revision; /* counted up by every change of what is shown */
    bool has_snapshot; /* last_snapshot_at_us: when a group cut it last; */
    uint64_t last_snapshot_at_us;
};

/* What a caller may do; each includes those before it. */
enum scope {
    SCOPE_NONE,     /* probes and the contract */
    SCOPE_READ,     /* looks */
    SCOPE_SNAPSHOT, /* takes group snapshots */
    SCOPE_ADMIN,    /* attaches and detaches devices, makes tokens */
};

#define STORE_HASH_CHARS 64 /* SHA-256 in hexadecimal digits */

struct token_row {
    char id[STORE_ID_CHARS + 1];
    char *name;
    enum scope scope; /* never SCOPE_NONE */
    char *hash;       /* STORE_HASH_CHARS of the secret */
    uint64_t created_at_us;
    bool has_expiry; /* expires_at_us: from then on it is not valid; */
    uint64_t expires_at_us;
};

/* Why a group was taken. */
enum group_kind {
    GROUP_KIND_SNAPSHOT,
    GROUP_KIND_ROLLBACK, /* it keeps what a rollback went back from */
    GROUP_KIND_CUT,      /* it only makes a top mergeable; no user sees it by name */
};

enum group_state {
    GROUP_PREPARING,
    GROUP_COMMITTING, /* the point of no return */
    GROUP_COMMITTED,
    GROUP_ABORTING,
    GROUP_ABORTED,
    GROUP_DELETING, /* it cannot be used any more, and a job merges its images */
    GROUP_DELETED,
};

/* A file that is, or is beneath, the frozen image of a member: it is never to be written again. */
struct frozen_file_row {
    char *identity; /* block/image/identity.h */
    char *path;     /* absolute: where it was when it was frozen */
};

struct member_row {
    char *device;
    char *device_id;          /* recorded by insert; NULL: not known, as in rows from before */
    char *backing_file;       /* absolute; NULL if the attempt failed before it was known */
    char *backing_format;     /* likewise */
    char *backing_identity;   /* likewise, and in rows from before (block/image/identity.h) */
    char *backing_image;      /* its row in `images`; recorded by insert; NULL: there is none */
    char *base_file;          /* what the overlay is put on, canonical; NULL: backing_file */
    char *snapshot_file;      /* absolute where it could be resolved, else as asked */
    char *format;             /* of snapshot_file */
    char *directory_identity; /* of the overlay's directory; NULL: not known */
    char *snapshot_identity;  /* NULL before the overlay exists, and in rows from before */
    bool has_size;            /* likewise, of size_bytes: of the frozen disk */
    uint64_t size_bytes;
    bool has_grown; /* grown_bytes: the size of the overlay, with which the disk grows */
    uint64_t grown_bytes;
    bool has_pause;
    uint64_t pause_us;
    bool has_copy_wait;
    uint64_t copy_wait_us;
    bool is_settled;       /* frozen, durable, and the overlay is the device's top */
    char *allowed_clients; /* of the device, or the last that it had; as there; never written */
    char *clones; /* JSON array: the names of its clones; never written; or NULL: not read */
};

struct group_row {
    char *request_hash; /* what the request was (service/events.h); or NULL: not known */
    char id[STORE_ID_CHARS + 1];
    enum group_state state;
    enum group_kind kind;
    char *rolled_back_to; /* the id of the group to which this rollback went back; or NULL */
    char *name;
    char *labels;   /* JSON object, opaque here */
    char *holds;    /* JSON array of their names, by name; NULL: none; never written */
    char *selector; /* JSON object: the labels that chose the members; NULL: they were named */
    uint64_t created_at_us;
    uint64_t revision; /* as of a device; given by insert */
    uint64_t sequence; /* given by insert; of two groups the later one has the larger */
    bool
        has_cut; /* cut_at_us and pause_us are known; not so if recovery committed the group, unless
                   * it was recorded as cut before */
    uint64_t cut_at_us, pause_us;
    bool has_sealed;
    uint64_t sealed_us; /* from the cut until the last frozen image was durable */
    bool has_duration;
    uint64_t duration_us;
    size_t member_count;
    struct member_row *members; /* in list order */
    size_t frozen_count;        /* to be recorded with `committing`; never read back */
    struct frozen_file_row *frozen;
    /* Of an aborted group: what went wrong. */
    bool has_error;
    enum err_code error_code;
    int error_errnum;
    char *error_message;
    bool has_error_member;
    size_t error_member; /* position of the failing member */
};

/* A part of a job (merges.h). */
enum merge_stage {
    MERGE_PLANNED,
    MERGE_COPYING,    /* base is being written */
    MERGE_COPIED,     /* the view of base is that of upper, durable */
    MERGE_REDIRECTED, /* nothing names upper any more */
    MERGE_DONE,       /* its files are gone */
    MERGE_STAGES,
};

struct merge_row {
    uint64_t id;  /* given by insert */
    char *device; /* the member for which it is done */
    char *base;   /* the path of the image that is written; NULL: upper only goes */
    char *upper;
    enum merge_stage stage;
    uint64_t offset_bytes; /* below it all is pushed and durable */
    char *group_id;        /* the group that is deleted by it; NULL: not known */
    uint64_t copy_bytes;   /* to be pushed, when it was planned */
    uint64_t pushed_bytes; /* of these, below offset_bytes */
    char *files; /* JSON array: what goes, lowest first, each with path, format, made_by and
                  * identity; NULL until it is redirected */
};

/* A caller's key. Until there is an answer, it follows from the row that the request made. */
struct key_row {
    char *caller, *key;
    char *request_hash; /* of the request that it came with */
    char *request_id;
    uint64_t created_at_us;
    char *resource_kind; /* "device", "group", or NULL: none yet */
    char *resource_id;
    bool has_answer;
    uint64_t status;
    char *headers; /* lines as they are sent */
    char *body;    /* or NULL: none */
};

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

/* What is shown of a group that is GROUP_COMMITTING once its cut is recorded. */
#define GROUP_STATE_CUT "cut"

/* What a list of groups has; all that is given must hold. Strings are borrowed. Zeroed: all. */
#define GROUP_FILTER_LABELS_MAX 8
struct group_list_filter {
    const char *state;  /* its name, GROUP_STATE_CUT, or NULL */
    const char *kind;   /* its name, or NULL */
    const char *name;   /* or NULL */
    const char *device; /* of a member, or NULL */
    size_t label_count;
    struct {
        const char *key, *value;
    } labels[GROUP_FILTER_LABELS_MAX];
    bool has_created_after, has_created_before;
    uint64_t created_after_us, created_before_us; /* neither is included */
};

#endif
