/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of tables; of groups and events see group-row.h and event-row.h.
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

#endif
