/* SPDX-License-Identifier: Apache-2.0
 *
 * Replay: the journal of a daemon that was killed, made good.
 *
 * The records of one place are a chain of states, s0 -> s1 -> ... -> sn. What is in the file is one
 * of them: s0, or a later one if the kill came while a flush was writing, or if a replay before
 * this one was killed. Afterwards it is sn. Counts follow from the entries:
 *
 *     host cluster of a state with the copied flag   1 if it is in an sn, else 0. No other guest
 *                                                    cluster ever has it in the same journal, and
 *                                                    the count in the file may be either already
 *     s0 without it, or compressed, and not in sn    one less: while the record exists that has not
 *                                                    happened (a flush drops the records before it
 *                                                    decreases counts)
 *
 * Everything is looked at before anything is written, and whatever a killed daemon cannot have left
 * is refused: the image was changed by somebody else since. One thing cannot be seen in the
 * entries: a cluster that is counted but named by none of its own chain in the file may have been
 * counted by our flush, or given to something else by another program. In that case all L2 tables
 * in the file are read to make sure that nobody names it.
 *
 * Then tables and counts are changed in memory; the next flush writes them. Refcount blocks that
 * are missing go past the end of the file, where no cluster is that a record names; that is all
 * that is written now. The records stay until that flush has made the entries durable, and go
 * before it decreases counts. Until then no cluster that one of them names may be given to anybody
 * else, so those of no sn are counted, and released by that flush.
 */
#include "block/format/qcow2/replay.h"

#include "block/format/qcow2/allocate.h"
#include "block/format/qcow2/compressed.h"
#include "block/format/qcow2/frees.h"
#include "block/format/qcow2/l2.h"
#include "block/format/qcow2/metadata.h"
#include "block/format/qcow2/refcount.h"
#include "block/format/qcow2/tables.h"
#include "block/format/qcow2/writable.h"

#include <stdlib.h>

/* A host cluster that a chain has, or had, to itself. */
struct claimed {
    uint64_t cluster; /* 0: this slot is empty */
    uint64_t place;   /* whose */
    bool is_final;    /* in sn */
    bool is_named;    /* in the file */
    bool is_doubtful; /* counted, but not named */
};

struct replay {
    struct node *node;
    struct qcow2 *q;
    const struct journal_record **records; /* by place, then in order */
    size_t count;
    struct claimed *claimed; /* open addressing */
    size_t claimed_room;
    bool is_doubtful; /* one of them is */
    const char *why;  /* it is refused */
};

static int replay_refuse(struct replay *replay, const char *why)
{
    replay->why = why;
    return -EINVAL;
}

/* ---- order ---- */

static int record_compare(const void *a, const void *b)
{
    const struct journal_record *x = *(const struct journal_record *const *)a;
    const struct journal_record *y = *(const struct journal_record *const *)b;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* How many records from `first` on are of one place. */
static size_t chain_length(const struct replay *replay, size_t first)
{
    size_t end = first + 1;
    while (end < replay->count && replay->records[end]->place == replay->records[first]->place)
        end++;
    return end - first;
}

static bool is_same(const uint64_t a[2], const uint64_t b[2])
{
    return a[0] == b[0] && a[1] == b[1];
}

/* Whether the chain hangs together and `words`, of the file, is one of its states. */
static int chain_check(struct replay *replay, size_t first, size_t length, const uint64_t words[2])
{
    const struct journal_record *const *records = &replay->records[first];
    bool found = is_same(records[0]->old, words);
    for (size_t i = 0; i < length; i++) {
        if (i && !is_same(records[i]->old, records[i - 1]->new))
            return replay_refuse(replay, "its journal contradicts itself");
        found |= is_same(records[i]->new, words);
    }
    return found ? 0 : replay_refuse(replay, "it was changed by another program since");
}

/* ---- clusters ---- */

static struct claimed *claimed_slot(const struct replay *replay, uint64_t cluster)
{
    size_t at = (cluster * 0x9e3779b97f4a7c15ULL >> 20) % replay->claimed_room;
    while (replay->claimed[at].cluster && replay->claimed[at].cluster != cluster)
        at = (at + 1) % replay->claimed_room;
    return &replay->claimed[at];
}

/* One state of a chain that has a cluster to itself. */
static int cluster_claim(struct replay *replay, uint64_t place, uint64_t offset, bool is_final,
                         bool is_named)
{
    const struct qcow2 *q = replay->q;
    uint64_t cluster = offset >> q->cluster_bits;
    if (offset & (q->cluster_bytes - 1))
        return replay_refuse(replay, "its journal names an impossible offset");
    if (cluster >= q->end_cluster)
        return replay_refuse(replay, "it has become shorter since");
    struct claimed *slot = claimed_slot(replay, cluster);
    if (slot->cluster && slot->place != place)
        return replay_refuse(replay, "its journal gives one cluster to two");
    slot->cluster = cluster;
    slot->place = place;
    slot->is_final |= is_final;
    slot->is_named |= is_named;
    return 0;
}

static bool is_owned(uint64_t word)
{
    return word & QCOW2_COPIED && !(word & QCOW2_COMPRESSED) && word & QCOW2_OFFSET_MASK;
}

/* Claims what the states of the chain have to themselves. */
static int chain_claim(struct replay *replay, size_t first, size_t length, uint64_t in_file)
{
    const struct journal_record *const *records = &replay->records[first];
    uint64_t end = records[length - 1]->new[0] & QCOW2_OFFSET_MASK;
    uint64_t named = is_owned(in_file) ? in_file & QCOW2_OFFSET_MASK : 0;
    int ret = 0;
    for (size_t i = 0; i <= length && ret == 0; i++) {
        uint64_t word = i ? records[i - 1]->new[0] : records[0]->old[0];
        uint64_t offset = word & QCOW2_OFFSET_MASK;
        if (is_owned(word))
            ret = cluster_claim(replay, records[0]->place, offset, offset == end, offset == named);
        else if (i && offset)
            ret = replay_refuse(replay, "its journal names a shared cluster");
    }
    return ret;
}

/* ---- tables ---- */

static int replay_table(struct replay *replay, size_t first, size_t length)
{
    struct qcow2 *q = replay->q;
    const struct journal_record *const *records = &replay->records[first];
    uint64_t index = records[0]->place & ~QCOW2_PLACE_L1;
    uint64_t old = records[0]->old[0], new = records[length - 1]->new[0];
    if (index >= q->l1_entries)
        return replay_refuse(replay, "it was changed by another program since");
    uint64_t in_file = q->l1[index], table = (new &QCOW2_OFFSET_MASK) >> q->cluster_bits;
    int ret = chain_check(replay, first, length, (uint64_t[2]){in_file});
    if (ret == 0)
        ret = chain_claim(replay, first, length, in_file);
    if (ret == 0 && (!is_owned(new) || (in_file != new &&qcow2_metadata_has(q, table, 1))))
        ret = replay_refuse(replay, "it was changed by another program since");
    if (ret == 0)
        ret = qcow2_metadata_add(q, table);
    if (ret == 0 && old && !is_owned(old))
        ret = qcow2_release_later(q, (old & QCOW2_OFFSET_MASK) >> q->cluster_bits);
    if (ret == 0 && old && old != new)
        qcow2_metadata_retire(q, (old & QCOW2_OFFSET_MASK) >> q->cluster_bits);
    if (ret == 0 && in_file != new) {
        q->l1[index] = new;
        q->l1_dirty[index] = 1;
        q->has_dirty_l1 = true;
    }
    return ret;
}

/* ---- entries ---- */

/* All subclusters of the entry are possible ones, and no guest data would lie over metadata. */
static int entry_check(struct replay *replay, struct qcow2_entry entry)
{
    struct qcow2 *q = replay->q;
    for (uint64_t at = 0; at < q->cluster_bytes; at += q->subcluster_bytes) {
        enum qcow2_kind kind;
        uint64_t host;
        if (qcow2_entry_kind(q, entry, at, &kind, &host) != 0 || kind == QCOW2_DATA_COMPRESSED)
            return replay_refuse(replay, "its journal names an impossible entry");
    }
    uint64_t host = qcow2_entry_host(entry);
    if (host && qcow2_metadata_has(q, host >> q->cluster_bits, 1))
        return replay_refuse(replay, "it was changed by another program since");
    return 0;
}

static int replay_entry(struct replay *replay, size_t first, size_t length)
{
    struct qcow2 *q = replay->q;
    const struct journal_record *const *records = &replay->records[first];
    const struct journal_record *start = records[0], *end = records[length - 1];
    struct qcow2_entry in_file, final = {.word = end->new[0], .bitmap = end->new[1]};
    uint64_t offset = start->place << q->cluster_bits;
    uint64_t table = start->place >> q->l2_bits;
    if (start->place > UINT64_MAX >> q->cluster_bits || table >= q->l1_entries ||
        !is_owned(q->l1[table]))
        return replay_refuse(replay, "it was changed by another program since");
    int ret = qcow2_entry_get(q, offset, &in_file);
    if (ret == 0)
        ret = chain_check(replay, first, length, (uint64_t[2]){in_file.word, in_file.bitmap});
    if (ret == 0)
        ret = chain_claim(replay, first, length, in_file.word);
    if (ret == 0)
        ret = entry_check(replay, final);
    struct qcow2_entry shared = {.word = start->old[0]};
    if (ret == 0 && !is_owned(shared.word))
        ret = qcow2_entry_release(q, shared);
    if (ret == 0 && (in_file.word != final.word || in_file.bitmap != final.bitmap))
        ret = qcow2_entry_set(q, offset, final);
    return ret;
}

/* ---- who else names them ---- */

/* A table's word in the file, of the guest cluster or L1 index `place` (UINT64_MAX: an internal
 * snapshot's). */
static int word_check(struct replay *replay, uint64_t word, uint64_t place)
{
    const struct qcow2 *q = replay->q;
    uint64_t offset = word & QCOW2_OFFSET_MASK, length = q->cluster_bytes;
    if (word & QCOW2_COMPRESSED)
        qcow2_compressed_range(q, word, &offset, &length);
    else if (!offset)
        return 0;
    for (uint64_t cluster = offset >> q->cluster_bits;
         cluster <= (offset + length - 1) >> q->cluster_bits; cluster++) {
        const struct claimed *claimed = claimed_slot(replay, cluster);
        if (claimed->cluster && claimed->is_doubtful && claimed->place != place)
            return replay_refuse(replay, "it was changed by another program since");
    }
    return 0;
}

/* An L2 table as it is in the file. */
static int table_check(struct replay *replay, uint64_t table, uint64_t index, bool is_snapshot)
{
    const struct qcow2 *q = replay->q;
    if (qcow2_table_is_hole(q, table))
        return 0;
    CLEANUP_FREE uint64_t *words = malloc(q->cluster_bytes);
    if (!words)
        return -ENOMEM;
    int ret = file_read_padded(q->fd, words, table, q->cluster_bytes);
    uint64_t step = q->l2_entry_bytes / sizeof(uint64_t);
    for (uint64_t i = 0; i < q->cluster_bytes / sizeof(uint64_t) && ret == 0; i += step)
        ret = word_check(replay, be64toh(words[i]),
                         is_snapshot ? UINT64_MAX : (index << q->l2_bits) + i / step);
    return ret;
}

/* The tables that an L1 table names, each of which is there once: opening to write has seen to
 * that. */
static int l1_check(struct replay *replay)
{
    const struct qcow2 *q = replay->q;
    int ret = 0;
    for (uint32_t i = 0; i < q->l1_entries && ret == 0; i++) {
        uint64_t table = q->l1[i] & QCOW2_OFFSET_MASK;
        if (!table)
            continue;
        ret = word_check(replay, q->l1[i], QCOW2_PLACE_L1 | i);
        if (ret == 0)
            ret = table_check(replay, table, i, false);
    }
    return ret;
}

/* The same for an internal snapshot's; its tables, which others may share, are only collected. */
static int snapshot_check(struct replay *replay, const struct qcow2_snapshot *snapshot,
                          struct qcow2_tables *tables)
{
    uint64_t bytes = snapshot->l1_entries * sizeof(uint64_t);
    CLEANUP_FREE uint64_t *words = malloc(bytes + 1);
    if (!words)
        return -ENOMEM;
    int ret = file_read(replay->q->fd, words, snapshot->l1_offset, bytes);
    for (uint32_t i = 0; i < snapshot->l1_entries && ret == 0; i++) {
        uint64_t word = be64toh(words[i]), table = word & QCOW2_OFFSET_MASK;
        ret = word_check(replay, word, UINT64_MAX);
        if (ret == 0 && table)
            ret = qcow2_tables_note(tables, table);
    }
    return ret;
}

static int snapshots_check(struct replay *replay, struct qcow2_tables *tables)
{
    const struct qcow2 *q = replay->q;
    int ret = 0;
    for (uint32_t i = 0; i < q->snapshot_count && ret == 0; i++)
        ret = snapshot_check(replay, &q->snapshots[i], tables);
    for (size_t i = 0; i < tables->room && ret == 0; i++)
        if (tables->slots[i].offset)
            ret = table_check(replay, tables->slots[i].offset, 0, true);
    return ret;
}

/* Nobody but their own chains names the doubtful ones. The L1 table in memory has the new tables
 * too. */
static int replay_check_doubtful(struct replay *replay)
{
    struct qcow2_tables tables = {0};
    int ret = l1_check(replay);
    if (ret == 0)
        ret = snapshots_check(replay, &tables);
    qcow2_tables_free(&tables);
    return ret;
}

/* ---- counts ---- */

/* Nothing that a daemon cannot have left: its own clusters are counted once at most, shared ones at
 * least once. */
static int replay_check_counts(struct replay *replay)
{
    struct qcow2 *q = replay->q;
    uint64_t count;
    for (size_t i = 0; i < replay->claimed_room; i++) {
        struct claimed *claimed = &replay->claimed[i];
        if (!claimed->cluster)
            continue;
        int ret = qcow2_refcount_get(q, claimed->cluster, &count);
        if (ret)
            return ret;
        if (count > 1 || (count == 0 && claimed->is_named))
            return replay_refuse(replay, "it was changed by another program since");
        claimed->is_doubtful = count == 1 && !claimed->is_named;
        replay->is_doubtful |= claimed->is_doubtful;
    }
    for (size_t i = 0; i < q->frees.count; i++) {
        int ret = qcow2_refcount_get(q, q->frees.clusters[i], &count);
        if (ret)
            return ret;
        if (count == 0)
            return replay_refuse(replay, "it was changed by another program since");
    }
    return replay->is_doubtful ? replay_check_doubtful(replay) : 0;
}

static int replay_set_counts(struct replay *replay)
{
    struct qcow2 *q = replay->q;
    /* Refcount blocks that are missing: what the records name is not all counted yet. */
    q->free_hint = q->end_cluster;
    int ret = 0;
    for (size_t i = 0; i < replay->claimed_room && ret == 0; i++) {
        const struct claimed *claimed = &replay->claimed[i];
        uint64_t count = 0;
        if (!claimed->cluster)
            continue;
        ret = qcow2_refcount_get(q, claimed->cluster, &count);
        if (ret == 0 && count == 0)
            ret = qcow2_refcount_set(q, claimed->cluster, 1);
        if (ret == 0 && !claimed->is_final)
            ret = qcow2_release_later(q, claimed->cluster);
    }
    q->free_hint = 0;
    return ret;
}

/* ---- all of it ---- */

static int replay_begin(struct replay *replay, const struct journal_record *records)
{
    replay->claimed_room = 4 * replay->count + 1; /* two states a record at most */
    replay->claimed = calloc(replay->claimed_room, sizeof(*replay->claimed));
    replay->records = malloc((replay->count + 1) * sizeof(*replay->records));
    if (!replay->claimed || !replay->records)
        return -ENOMEM;
    for (size_t i = 0; i < replay->count; i++)
        replay->records[i] = &records[i];
    qsort(replay->records, replay->count, sizeof(*replay->records), record_compare);
    return 0;
}

/* Everything, in memory. Tables come first: entries are found through them. */
static int replay_run(struct replay *replay)
{
    int ret = 0;
    for (int tables = 1; tables >= 0; tables--)
        for (size_t i = 0, n; i < replay->count && ret == 0; i += n) {
            n = chain_length(replay, i);
            if (!!(replay->records[i]->place & QCOW2_PLACE_L1) == tables)
                ret = tables ? replay_table(replay, i, n) : replay_entry(replay, i, n);
        }
    if (ret == 0)
        ret = replay_check_counts(replay);
    return ret ? ret : replay_set_counts(replay);
}

int qcow2_replay(struct node *node, const struct journal_record *records, size_t count,
                 struct err *err)
{
    struct qcow2 *q = node->state;
    /* Opening to write cleared all of these, so another program set them since. */
    if (q->autoclear || q->incompatible & (QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT))
        return err_set(err, ErrOpenFileFailed, 0,
                       "image '%s' was changed by another program, or found to be corrupt",
                       node->path);
    if (qcow2_make_writable(node, err) != 0)
        return -1;
    struct replay replay = {.node = node, .q = q, .count = count};
    pthread_mutex_lock(&q->lock);
    int ret = replay_begin(&replay, records);
    if (ret == 0)
        ret = replay_run(&replay);
    if (ret == 0)
        qcow2_file_trim(
            q); /* or a file whose daemon is killed again and again would grow each time */
    pthread_mutex_unlock(&q->lock);
    free(replay.records);
    free(replay.claimed);
    if (ret == -EINVAL && replay.why)
        return err_set(err, ErrOpenFileFailed, 0, "image '%s': %s", node->path, replay.why);
    return ret ? err_set(err, ErrOpenFileFailed, -ret,
                         "image '%s' cannot be brought up to date from its journal", node->path)
               : 0;
}
