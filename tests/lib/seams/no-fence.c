/* SPDX-License-Identifier: Apache-2.0
 *
 * Linked into snapgroupd-no-fence with -Wl,--wrap for fence_raise and fence_drain: the fence holds
 * nobody back. The daemon made so is wrong on purpose: the dependent-write test must find it out.
 */
#include "block/device/fence.h"

void __wrap_fence_raise(struct fence *fence);
void __wrap_fence_drain(struct fence *fence);

void __wrap_fence_raise(struct fence *fence)
{
    (void)fence;
}

void __wrap_fence_drain(struct fence *fence)
{
    (void)fence;
}
