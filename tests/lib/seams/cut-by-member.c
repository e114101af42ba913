/* SPDX-License-Identifier: Apache-2.0
 *
 * Linked into snapgroupd-cut-by-member with -Wl,--wrap for index_new, index_arm and cut_store: a
 * cut of its own is made for every member as soon as that is armed. The daemon made so is wrong on
 * purpose: the dependent-write test must find it out.
 */
#include "block/device/index.h"

struct index *__real_index_new(struct index_memory *memory, const struct cut *cut,
                               struct node *top);
void __real_index_arm(struct index *index, struct node *overlay, uint64_t epoch);
void __real_cut_store(struct cut *cut, uint64_t epoch);
struct index *__wrap_index_new(struct index_memory *memory, const struct cut *cut,
                               struct node *top);
void __wrap_index_arm(struct index *index, struct node *overlay, uint64_t epoch);
void __wrap_cut_store(struct cut *cut, uint64_t epoch);

static _Atomic(struct cut *) the_cut; /* the block layer has one */

struct index *__wrap_index_new(struct index_memory *memory, const struct cut *cut, struct node *top)
{
    atomic_store(&the_cut, (struct cut *)cut);
    return __real_index_new(memory, cut, top);
}

void __wrap_index_arm(struct index *index, struct node *overlay, uint64_t epoch)
{
    struct cut *cut = atomic_load(&the_cut);
    epoch = cut_epoch(cut) + 1;
    __real_index_arm(index, overlay, epoch);
    __real_cut_store(cut, epoch);
}

void __wrap_cut_store(struct cut *cut, uint64_t epoch)
{
    (void)cut, (void)epoch; /* every member is cut already */
}
