/* SPDX-License-Identifier: Apache-2.0
 *
 * The twin of a device: while a job merges the live top into the image beneath it, each change is
 * made in both, so that the one can take the other's place under requests. Private to block/.
 *
 *     top (live)        MIRRORING  a change is made in the top, then what the top has there is
 *      |                           made in the low image
 *     low (thawed)      HELD       the same; the place is about to be taken
 *                       SWAPPED    what has begun is made in the low image alone, the new top
 *
 *   P1. The low image is written only where the top holds data or zeros, or did before the
 *       exchange: nobody who reads through the top sees it (M1 in block/merge.h).
 *   P2. Outside of the changes that are under way, all that the job has copied, or a change has
 *       made since the twin was put up, is the same in both, unless `error` is set. No assert: both
 *       would have to be read.
 *   P3. An error of the low image fails no request while MIRRORING: it ends the copying. While HELD
 *       it fails the request, as it would an instant later, and the mirroring goes on: nobody knows
 *       which image the record names. No assert: the caller knows what failed.
 *   P4. No request waits for a sync of the low image but one that flushes, or that has to make
 *       room. No assert: a property of the drivers.
 *   P5. Copied is what lies in parts of the disk in which the top held something when the twin was
 *       put up. Of the others the low image has all that the top has, by P2; so the copying ends,
 *       whatever clients write meanwhile. No assert: as for P2.
 *
 * The lock is held while a change is made, which is what makes both images change in the same
 * order. It is taken first, with no other lock of device/ held.
 */
#ifndef BLOCK_DEVICE_TWIN_H
#define BLOCK_DEVICE_TWIN_H

#include "block/image/node.h"

#include <pthread.h>
#include <stdatomic.h>

enum twin_state { TWIN_MIRRORING, TWIN_HELD, TWIN_SWAPPED };

struct twin {
    pthread_mutex_t lock;          /* guards all but the nodes, and what is atomic */
    struct node *top;              /* borrowed, as is the next one */
    struct node *low;              /* beneath it */
    _Atomic enum twin_state state; /* set under lock, as is the next one */
    atomic_int error;              /* the errno of what ended the mirroring, or 0; stays */
    atomic_uint waiting;           /* changes that wait for the lock: a copy lets them go first */
    void *buffer;                  /* of TWIN_BUFFER_BYTES */
    uint64_t part_bytes;           /* a power of two; the job alone uses it, and the next one */
    unsigned char *was_allocated;  /* a bit for each part of the disk: whether it is to be copied */
};

enum { TWIN_BUFFER_BYTES = 256 << 10, TWIN_PARTS_MAX = 8 << 20 };

/* NULL when memory is short. `top` stands on `low`, which may be written; both outlive it. */
struct twin *twin_new(struct node *top, struct node *low);
void twin_free(struct twin *twin);

/* A change that was listed for the top (changes.h), after twin_make_room(). As node_change(). */
int twin_make_room(struct twin *twin);
int twin_change(struct twin *twin, const struct node_change *change);

/* By an error, `ret`, a change may be in one image only: P2. What the request is to return if that
 * image is the top (P3). */
int twin_fail(struct twin *twin, int ret);

/* After the flush of the top: the low image is durable, too. 0 or -errno (P3). */
int twin_flush(struct twin *twin);

/* Once every change that goes on knows the twin, and before anything is copied: finds some of what
 * is to be, from *offset on, and moves the offset past it. 1: all is found; 0; -errno. */
int twin_find(struct twin *twin, uint64_t *offset);

/* Copies what was found from *offset on, at most a buffer of it, and moves the offset past it;
 * *copied: how much. 1: nothing is left; 0; NODE_NEEDS_ROOM: to be repeated after twin_make_room();
 * -errno, also if the mirroring has ended. */
int twin_copy(struct twin *twin, uint64_t *offset, uint64_t *copied);

/* To TWIN_HELD, if all is the same in both: 0 or -errno. And back. */
int twin_hold(struct twin *twin);
void twin_release(struct twin *twin);

#endif
