/* SPDX-License-Identifier: Apache-2.0
 *
 * A merge, for merge.c and collapse.c. Private to block/job/.
 */
#ifndef BLOCK_JOB_MERGE_H
#define BLOCK_JOB_MERGE_H

#include "block/device/held-chain.h"
#include "block/image/chain.h"
#include "block/image/walk.h"
#include "block/job/write-back.h"
#include "block/job/writer.h"
#include "block/merge.h"

enum merge_state { MERGE_FROZEN, MERGE_THAWED, MERGE_REDIRECTED };

struct merge {
    struct block *block;
    enum merge_state state;
    struct node *upper;                   /* a reference, which keeps all beneath it */
    struct node *base;                    /* beneath it */
    struct held_chain held;               /* the same */
    struct node *layers[CHAIN_NODES_MAX]; /* base's chain first */
    unsigned count;                       /* of layers */
    unsigned floor;                       /* up to base */
    struct walks walks;
    struct write_back write_back;
    uint64_t fetched_bytes; /* into the page cache, by reading what is pushed, and not dropped */
    struct merge_run {
        const struct node *node; /* of the last piece; where in its file: */
        uint64_t begin;          /* what was dropped from the page cache, up to the end */
        uint64_t end;            /* of that piece */
    } run;
    uint64_t locked_us;    /* by the last redirection */
    struct writer *writer; /* from merge_begin() to merge_end(), or NULL */
};

/* Base cannot be `what` ("merged into") upper. Returns -1. */
int merge_report(const struct merge *merge, int ret, const char *what, struct err *err);

/* Base was not thawed: if another chain has opened it by another name, says so. Returns -1. */
int merge_report_user(const struct merge *merge, struct err *err);

#endif
