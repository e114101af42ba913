/* SPDX-License-Identifier: Apache-2.0
 *
 * The host clusters that the records of a journal own (replay.c).
 */
#ifndef BLOCK_FORMAT_QCOW2_OWNED_H
#define BLOCK_FORMAT_QCOW2_OWNED_H

#include "block/format/qcow2/state.h"

/* A host cluster that only the states of one place reference. */
struct qcow2_owned_cluster {
    uint64_t cluster; /* 0: this slot is empty */
    uint64_t place;   /* the owner: a guest cluster or an L1 entry */
    bool is_final;    /* in the last state */
    bool is_named;    /* in the file */
    bool is_doubtful; /* counted, but not in the file */
};

struct qcow2_owned {
    struct qcow2 *q;
    struct qcow2_owned_cluster *slots; /* open addressing */
    size_t room;
    bool is_doubtful; /* a cluster is */
    const char *why;  /* the replay is refused */
};

/* Records the reason of a refusal. -EINVAL. */
int qcow2_owned_refuse(struct qcow2_owned *owned, const char *why);

/* Adds the cluster at host `offset`, which a state of `place` owns. 0, or -EINVAL if that is
 * impossible. */
int qcow2_owned_add(struct qcow2_owned *owned, uint64_t place, uint64_t offset, bool is_final,
                    bool is_named);

/* Refuses counts that a killed daemon cannot have left: an owned cluster is counted at most once, a
 * shared one at least once. 0, -EINVAL or -errno. */
int qcow2_owned_check_counts(struct qcow2_owned *owned);

/* Counts every owned cluster once, and queues those of no last state for release. 0 or -errno. */
int qcow2_owned_set_counts(struct qcow2_owned *owned);

#endif
