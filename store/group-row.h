/* SPDX-License-Identifier: Apache-2.0
 *
 * A group's row, with those of its members.
 */
#ifndef STORE_GROUP_ROW_H
#define STORE_GROUP_ROW_H

#include "store/row.h"

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
