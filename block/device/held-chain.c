/* SPDX-License-Identifier: Apache-2.0
 *
 * See held-chain.h.
 */
#include "block/device/held-chain.h"

#include "block/device/object.h"

#include <stdlib.h>

int held_chain_begin(struct block *block, struct node *top, struct held_chain *chain)
{
    READERS_GUARD(&block->walkers);
    size_t count = 0;
    for (const struct node *node = top; node; node = node->backing)
        count++;
    *chain = (struct held_chain){calloc(count + 1, sizeof(struct node *)), 0};
    if (!chain->nodes)
        return -1;
    for (struct node *node = top; node && chain->count < count; node = node->backing)
        chain->nodes[chain->count++] = node_ref(node);
    return 0;
}

int held_chain_of(struct block *block, struct device *device, struct held_chain *chain)
{
    CLEANUP(node) struct node *top = device_top(device);
    return held_chain_begin(block, top, chain);
}

void held_chain_end(struct held_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++)
        node_unref(chain->nodes[i]);
    free(chain->nodes);
    *chain = (struct held_chain){NULL, 0};
}
