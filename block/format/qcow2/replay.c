/* SPDX-License-Identifier: Apache-2.0
 *
 * Replay of the journal of a daemon that was killed.
 *
 * The records of one place (a guest cluster or an L1 entry) are a chain of states, s0 -> s1 -> ...
 * -> sn. The file has one of them: s0, or a later one if the kill came during a flush, or during a
 * replay before this one. Afterwards it has sn. Counts follow from the entries:
 *
 *     host cluster of a state with the copied flag   1 if it is in sn, else 0; owned by this chain
 *     s0 without the flag, or compressed, not in sn  one less: it was not dropped yet, since a
 *                                                    flush drops its records first (flush.c, W3)
 *
 * Everything is checked before anything is written. A state that a killed daemon cannot have left
 * is refused: another program has changed the image since (owned.c).
 *
 * Then tables and counts are changed in memory, and the next flush writes them. Missing refcount
 * blocks go past the end of the file, where no record names a cluster; only they are written now.
 * The records stay until that flush has made the entries durable, and go before it lowers counts.
 * Until then no cluster that a record names may be allocated, so those of no sn stay counted and
 * are released by that flush.
 */
#include "block/format/qcow2/replay.h"

#include "block/format/qcow2/allocate.h"
#include "block/format/qcow2/frees.h"
#include "block/format/qcow2/l2.h"
#include "block/format/qcow2/metadata.h"
#include "block/format/qcow2/owned.h"
#include "block/format/qcow2/writable.h"

#include <stdlib.h>

struct replay {
    struct qcow2 *q;
    const struct journal_record **records; /* by place, then in order */
    size_t count;
    struct qcow2_owned owned;
};

static int replay_refuse(struct replay *replay, const char *why)
{
    return qcow2_owned_refuse(&replay->owned, why);
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

/* The number of records from `first` on that are of one place. */
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

/* Checks that the states follow one another and that `words`, in the file, is one of them. */
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

static bool is_owned(uint64_t word)
{
    return word & QCOW2_COPIED && !(word & QCOW2_COMPRESSED) && word & QCOW2_OFFSET_MASK;
}

/* Adds the clusters that the states of the chain own. */
static int chain_own(struct replay *replay, size_t first, size_t length, uint64_t in_file)
{
    const struct journal_record *const *records = &replay->records[first];
    uint64_t end = records[length - 1]->new[0] & QCOW2_OFFSET_MASK;
    uint64_t named = is_owned(in_file) ? in_file & QCOW2_OFFSET_MASK : 0;
    int ret = 0;
    for (size_t i = 0; i <= length && ret == 0; i++) {
        uint64_t word = i ? records[i - 1]->new[0] : records[0]->old[0];
        uint64_t offset = word & QCOW2_OFFSET_MASK;
        if (is_owned(word))
            ret = qcow2_owned_add(&replay->owned, records[0]->place, offset, offset == end,
                                  offset == named);
        else if (i && offset)
            ret = replay_refuse(replay, "its journal names a shared cluster");
    }
    return ret;
}

/* ---- tables ---- */

static void l1_set(struct qcow2 *q, uint64_t index, uint64_t word)
{
    q->l1[index] = word;
    q->l1_dirty[index] = q->has_dirty_l1 = true; /* S6 */
}

static int replay_table(struct replay *replay, size_t first, size_t length)
{
    struct qcow2 *q = replay->q;
    const struct journal_record *const *records = &replay->records[first];
    uint64_t index = records[0]->place & ~QCOW2_PLACE_L1;
    uint64_t old = records[0]->old[0], new = records[length - 1]->new[0];
    uint64_t table = (new &QCOW2_OFFSET_MASK) >> q->cluster_bits;
    uint64_t old_table = (old & QCOW2_OFFSET_MASK) >> q->cluster_bits;
    if (index >= q->l1_entries)
        return replay_refuse(replay, "it was changed by another program since");
    bool is_changed = q->l1[index] != new;
    int ret = chain_check(replay, first, length, (uint64_t[2]){q->l1[index]});
    if (ret == 0)
        ret = chain_own(replay, first, length, q->l1[index]);
    if (ret == 0 && (!is_owned(new) || (is_changed && qcow2_metadata_has(q, table, 1))))
        ret = replay_refuse(replay, "it was changed by another program since");
    if (ret == 0)
        ret = qcow2_metadata_add(q, table);
    if (ret == 0 && old && !is_owned(old))
        ret = qcow2_release_later(q, old_table);
    if (ret)
        return ret;
    if (old && old != new)
        qcow2_metadata_retire(q, old_table);
    if (is_changed)
        l1_set(q, index, new);
    return 0;
}

/* ---- entries ---- */

/* Checks that all subclusters of the entry are possible, and that it covers no metadata. */
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
        ret = chain_own(replay, first, length, in_file.word);
    if (ret == 0)
        ret = entry_check(replay, final);
    struct qcow2_entry shared = {.word = start->old[0]};
    if (ret == 0 && !is_owned(shared.word))
        ret = qcow2_entry_release(q, shared);
    if (ret == 0 && (in_file.word != final.word || in_file.bitmap != final.bitmap))
        ret = qcow2_entry_set(q, offset, final);
    return ret;
}

/* ---- the whole journal ---- */

static int replay_sort(struct replay *replay, const struct journal_record *records)
{
    assert(replay->owned.q == replay->q && !replay->owned.slots);
    replay->owned.room = 4 * replay->count + 1; /* two states a record at most */
    replay->owned.slots = calloc(replay->owned.room, sizeof(*replay->owned.slots));
    replay->records = malloc((replay->count + 1) * sizeof(*replay->records));
    if (!replay->owned.slots || !replay->records)
        return -ENOMEM;
    for (size_t i = 0; i < replay->count; i++)
        replay->records[i] = &records[i];
    qsort(replay->records, replay->count, sizeof(*replay->records), record_compare);
    return 0;
}

/* Applies the records in memory. Tables come first, since entries are found through them. */
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
        ret = qcow2_owned_check_counts(&replay->owned);
    return ret ? ret : qcow2_owned_set_counts(&replay->owned);
}

static int replay_apply(struct qcow2 *q, struct replay *replay,
                        const struct journal_record *records)
{
    LOCK_GUARD(&q->lock);
    int ret = replay_sort(replay, records);
    if (ret == 0)
        ret = replay_run(replay);
    if (ret == 0)
        qcow2_file_trim(q); /* or the file would grow with every kill */
    free(replay->records);
    free(replay->owned.slots);
    return ret;
}

int qcow2_replay(struct node *node, const struct journal_record *records, size_t count,
                 struct err *err)
{
    struct qcow2 *q = node->state;
    struct replay replay = {.q = q, .count = count, .owned = {.q = q}};
    /* Opening to write cleared all of these, so another program set them since. */
    if (q->autoclear || q->incompatible & (QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT))
        return err_set(err, ErrOpenFileFailed, 0,
                       "image '%s' was changed by another program, or found to be corrupt",
                       node->path);
    if (qcow2_make_writable(node, err) != 0)
        return -1;
    int ret = replay_apply(q, &replay, records);
    if (ret == -EINVAL && replay.owned.why)
        return err_set(err, ErrOpenFileFailed, 0, "image '%s': %s", node->path, replay.owned.why);
    return ret ? err_set(err, ErrOpenFileFailed, -ret,
                         "image '%s' cannot be brought up to date from its journal", node->path)
               : 0;
}
