/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-state.h. I3 is in group.c.
 */
#include "block/device/group-state.h"

#include <assert.h>

static void transaction_assert_member(const struct member *member, enum transaction_state state)
{
    switch (state) {
    case TRANSACTION_BEGINNING:
    case TRANSACTION_BEGUN:
        assert(!member->overlay && !member->is_staged && !member->is_published && !member->frozen);
        break;
    case TRANSACTION_PREPARING:
        assert(!member->frozen);
        break;
    case TRANSACTION_PREPARED:
        assert(member->overlay && member->is_staged && member->is_published && !member->frozen);
        break;
    case TRANSACTION_CUT:
    case TRANSACTION_FINISHING:
        assert(member->frozen && member->state >= MEMBER_UNSEALED);
        break;
    case TRANSACTION_FINISHED:
        assert(member->frozen && member->state >= MEMBER_FROZEN);
        break;
    case TRANSACTION_ABORTED:
        assert(!member->overlay && !member->frozen);
        break;
    }
    (void)member;
}

static void group_assert_state_locked(const struct group *group, enum transaction_state state)
{
    assert(group->state == state);
    assert(group->count >= 1 || state == TRANSACTION_BEGINNING);
    for (size_t i = 0; i < group->count; i++) {
        const struct member *member = &group->members[i];
        transaction_assert_member(member, state);
        assert(state == TRANSACTION_BEGINNING || member->state == MEMBER_RELEASED ||
               (member->device && *member->device->holder)); /* I3 */
    }
}

void group_assert_state(struct group *group, enum transaction_state state)
{
    LOCK_GUARD(&group->finish.lock);
    group_assert_state_locked(group, state);
}

void group_enter_state(struct group *group, enum transaction_state state)
{
    LOCK_GUARD(&group->finish.lock);
    group->state = state;
    group_assert_state_locked(group, state);
}
