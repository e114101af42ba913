/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that wait for storage. They are carried out by threads of a bounded set, and whoever makes
 * one waits no longer than it says: storage that hangs holds neither callers nor calls to other
 * storage. Any thread.
 */
#ifndef SERVICE_STORAGE_CALLS_H
#define SERVICE_STORAGE_CALLS_H

#include "base/err.h"
#include "service/limits.h"

#include <stdbool.h>
#include <stdint.h>

struct block;
struct storage_calls;

/* NULL and *err (OutOfResources). */
struct storage_calls *storage_calls_new(struct block *block, struct err *err);

/* Waits for storage that is being waited for. The caller starts nothing more. NULL: nothing. */
void storage_calls_close(struct storage_calls *calls);

struct storage_call {
    const char *what;    /* that it looks at: "'vda@g'", "image 'PATH'" */
    const char *storage; /* where that is: the directories of its images (chain_storage()) */
    unsigned wait_ms;    /* how long its maker waits */
    bool is_long;        /* it takes as long as its storage answers: the wait begins anew whenever
                            * its thread has got on */
    unsigned calls_max;  /* no more than so many calls wait when it begins */
    /* Uses nothing but the context, which outlives it. */
    int (*work)(void *context, struct block *block, struct err *err);
    void (*free)(void *context);
    void *context;
};

/* What work() gave; the context is the maker's again. DeadlineExceeded (the storage does not
 * answer) and OutOfResources: the context may have gone with the call, which then has NULL there.
 */
int storage_call(struct storage_calls *calls, struct storage_call *call, struct err *err);

#endif
