/* SPDX-License-Identifier: Apache-2.0
 *
 * See redirect.h.
 *
 *   openings that have found `upper` are not settled from now on (opening.h); wait for others
 *   under the cut's lock and block->lock: make an index of each chain without `upper`; only then
 *       put whatever stands on `upper` on `lower`, and give each device its new index
 *   wait for the requests that may use an old index; then for those that may tell one of a change
 *   free the old indexes; drop the references to `upper`
 */
#include "block/device/redirect.h"

#include "base/monotonic.h"
#include "block/device/exports.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A device whose chain gets shorter. It stays while it is listed here. */
struct redirected {
    struct redirected *next;
    struct device *device;
    bool is_frozen;     /* of an export of a frozen image */
    struct index *heir; /* until it is the device's */
    struct index *old;  /* since then */
};

/* An image on `upper` that is offered to all chains (file-table.h): no device may have it yet. */
struct offered {
    struct offered *next;
    struct node *node; /* a reference */
};

struct redirect {
    struct block *block;
    struct index_bypass bypass;
    struct redirected *devices;
    struct offered *offered;
    unsigned dropped; /* references to the image that nodes had */
    bool is_busy;
};

/* ---- under the locks ---- */

static int redirect_report(const struct device *device, struct err *err)
{
    return err_set(err, ErrOutOfResources, ENOMEM, "the chain of device '%s' stays long",
                   device->name);
}

static int redirect_add(struct redirect *redirect, struct device *device, bool is_frozen,
                        struct err *err)
{
    if (!device_has_image(device, redirect->bypass.out))
        return 0;
    struct redirected *redirected = calloc(1, sizeof(*redirected));
    if (!redirected)
        return redirect_report(device, err);
    *redirected = (struct redirected){redirect->devices, device, is_frozen, NULL, NULL};
    redirect->devices = redirected;
    if (is_frozen)
        device->clients++;
    else
        device->lookers++;
    if (index_unsealed(device->index) || *device->holder || device->is_collapsing) {
        redirect->is_busy = true; /* a group offers the image first, by its name of now */
        return 0;
    }
    redirected->heir = index_new_heir(device->index, &redirect->bypass);
    return redirected->heir ? 0 : redirect_report(device, err);
}

/* The chain that a rollback is about to put a device on is in no device's list yet. */
static bool chain_has(const struct node *node, const struct node *image)
{
    while (node && (node->dev != image->dev || node->ino != image->ino))
        node = node->backing;
    return node;
}

/* The table's lock is held, too. */
static int redirect_add_offered(void *arg, const struct shared_image *image)
{
    struct redirect *redirect = arg;
    if (image->node->backing != redirect->bypass.out)
        return 0;
    struct offered *offered = malloc(sizeof(*offered));
    if (!offered)
        return -1;
    if (!shared_image_ref(image)) {
        free(offered); /* it is being closed */
        return 0;
    }
    *offered = (struct offered){redirect->offered, image->node};
    redirect->offered = offered;
    return 0;
}

static int redirect_list_locked(struct redirect *redirect, struct err *err)
{
    struct block *block = redirect->block;
    for (struct device *device = block->devices; device; device = device->next) {
        redirect->is_busy |= chain_has(device->base, redirect->bypass.out);
        if (redirect_add(redirect, device, false, err) != 0)
            return -1;
    }
    for (struct frozen *frozen = block->frozen; frozen; frozen = frozen->next) {
        redirect->is_busy |= strcmp(frozen->image, redirect->bypass.out->path) == 0; /* new */
        if (frozen->device && redirect_add(redirect, frozen->device, true, err) != 0)
            return -1;
    }
    return file_table_each_shared(block->files, redirect_add_offered, redirect) == 0
               ? 0
               : err_set(err, ErrOutOfResources, ENOMEM, "the chains above '%s' stay long",
                         redirect->bypass.out->path);
}

/* A node that several chains share is found, and changed, once. */
static void redirect_node(struct redirect *redirect, struct node *node)
{
    const struct node *out = redirect->bypass.out;
    if (node->backing != out)
        return;
    struct node *old = node_exchange_backing(node, redirect->bypass.instead);
    assert(old == out);
    (void)old;
    redirect->dropped++;
}

static void redirect_chain(struct redirect *redirect, struct device *device)
{
    for (struct node *node = device->newest; node; node = node->backing)
        redirect_node(redirect, node);
}

/* Memory only; cannot fail. */
static void redirect_exchange_locked(struct redirect *redirect)
{
    for (struct offered *each = redirect->offered; each; each = each->next)
        redirect_node(redirect, each->node);
    for (struct redirected *each = redirect->devices; each; each = each->next) {
        redirect_chain(redirect, each->device);
        each->old = device_renew_index(each->device, &redirect->bypass, steal(each->heir));
    }
}

/* ---- afterwards ---- */

static void redirected_retire(struct redirected *redirected)
{
    if (redirected->heir)
        index_drop_heir(redirected->heir);
    if (!redirected->old)
        return;
    readers_wait(&redirected->device->readers); /* who uses the old index */
    index_hand_over(redirected->old);
    readers_wait(&redirected->device->readers); /* who tells it of a change */
    index_free(redirected->old);
}

static void redirected_release(struct block *block, const struct redirected *redirected)
{
    if (redirected->is_frozen) {
        export_unuse(block, redirected->device);
        return;
    }
    LOCK_GUARD(&block->lock);
    assert(redirected->device->lookers > 0);
    if (--redirected->device->lookers == 0)
        pthread_cond_broadcast(&block->changed);
}

/* Nobody looks at the image when its references are dropped. */
static void redirect_end(struct redirect *redirect)
{
    struct block *block = redirect->block;
    for (struct redirected *each = redirect->devices; each; each = each->next)
        redirected_retire(each);
    readers_wait(&block->walkers);
    while (redirect->devices) {
        struct redirected *first = redirect->devices;
        redirect->devices = first->next;
        redirected_release(block, first);
        free(first);
    }
    while (redirect->offered) {
        struct offered *first = redirect->offered;
        redirect->offered = first->next;
        node_unref(first->node);
        free(first);
    }
    while (redirect->dropped-- > 0)
        node_unref((struct node *)redirect->bypass.out);
}

int redirect_chains(struct block *block, struct node *upper, struct node *lower,
                    uint64_t *locked_us, struct err *err)
{
    struct redirect redirect = {.block = block, .bypass = {upper, lower}};
    openings_forbid(&block->openings, upper); /* O1 of opening.h */
    readers_wait(&block->walkers);            /* O2 */
    pthread_mutex_lock(&block->cut.lock);
    pthread_mutex_lock(&block->lock);
    uint64_t begun_us = clock_monotonic_us();
    int ret = redirect_list_locked(&redirect, err);
    if (ret == 0 && !redirect.is_busy)
        redirect_exchange_locked(&redirect);
    uint64_t ended_us = clock_monotonic_us();
    pthread_mutex_unlock(&block->lock);
    pthread_mutex_unlock(&block->cut.lock);
    if (locked_us)
        *locked_us = ended_us - begun_us;
    redirect_end(&redirect);
    return ret == 0 && redirect.is_busy ? 1 : ret;
}
