/* SPDX-License-Identifier: Apache-2.0
 *
 * See cut.h.
 */
#include "block/device/cut.h"

#include <assert.h>

void cut_store(struct cut *cut, uint64_t epoch)
{
    assert(epoch == cut_epoch(cut) + 1); /* E2 */
    atomic_store_explicit(&cut->epoch, epoch, memory_order_release);
}
