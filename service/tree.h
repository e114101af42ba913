/* SPDX-License-Identifier: Apache-2.0
 *
 * What may become of the images of a tree: which may be merged, which may go, which stay and why.
 * Pure functions over what the store says of the tree (store/images.h); no input or output.
 *
 *   needed      a committed group has it as a frozen member, a device has it as top, or it is the
 *               top of a detached device
 *   mergeable   not given, not needed, exactly one child: its child may be pushed into it
 *   removable   made, not needed, no child
 *
 * An image that another process has open is neither; an overlay may stand on it of which the daemon
 * does not know.
 *
 * Removable images go first, from the leaves down. Then each maximal run L <- ... <- U is one push,
 * so that what was written is copied once, however many images the run has: every image from L up
 * to, not including, U is mergeable; all above L, up to U, are made; and U is frozen, and no top
 * of a device, attached or detached. What U was, L is afterwards: its children stand on L,
 * and who needed U needs L.
 *
 *   L (attached) <- a (made) <- b (made, of group g) <- top      L, with what a and b have, is of g
 *
 * An image whose file is gone is no child. Nothing in a tree with an image that is not complete is
 * merged or removed.
 *
 * Invariants:
 *   T1. An image is in one run at most.
 *   T2. Only made images go; only images that are not given are written.
 *   T3. After a plan was carried out, the next one finds nothing more to do. No assert: a test
 *       carries plans out.
 */
#ifndef SERVICE_TREE_H
#define SERVICE_TREE_H

#include "base/err.h"
#include "store/row.h"

#include <stdbool.h>
#include <stddef.h>

#define TREE_NONE SIZE_MAX /* a position of no image */

/* What the plan makes of an image. */
enum tree_fate {
    TREE_STAYS,  /* because of `reason` */
    TREE_GOES,   /* its file is removed, without a push */
    TREE_BASE,   /* L of a run, whose U is `partner` */
    TREE_PUSHED, /* above L, which is `partner`; it goes after the push */
};

/* Why an image stays. The first that holds. */
enum tree_reason {
    TREE_INCOMPLETE,     /* what is under an image of its tree, or of a device, is not known */
    TREE_IS_MEMBER,      /* of a group, frozen */
    TREE_IS_TOP,         /* of a device */
    TREE_IS_KEPT,        /* the top of a detached device */
    TREE_IS_GONE,        /* its file does not exist, and it was not made */
    TREE_HAS_BRANCHES,   /* several images stand on it */
    TREE_IS_USED,        /* another process has it open */
    TREE_IS_GIVEN,       /* it is never written or removed */
    TREE_IS_ATTACHED,    /* nothing stands on it, but it is the operator's */
    TREE_UNDER_ATTACHED, /* the image on it is the operator's, and would have to go */
    TREE_UNDER_USED,     /* another process has the image on it open */
    TREE_UNDER_TOP,      /* the image on it is the top of a device, to be cut first */
    TREE_UNDER_READ,     /* the image on it is the top of a device that is read-only */
    TREE_UNDER_KEPT,     /* the image on it is the top of a detached device */
    TREE_REASONS,
};

struct tree_image {
    /* Given. */
    size_t backing; /* the position of the image under it, which comes before it; or TREE_NONE */
    enum image_role role;
    bool is_member, is_top, is_kept;
    bool is_read;     /* the top of a device that is read-only, which cannot be cut */
    bool is_gone;     /* its file does not exist, its directory does */
    bool is_used;     /* another process has its file open */
    bool is_complete; /* what is under it is known */
    /* The plan. */
    enum tree_fate fate;
    enum tree_reason reason; /* if it stays */
    size_t partner;          /* of a run */
    size_t children;         /* that count, without those that go */
    size_t child;            /* the last of them, if any */
};

bool tree_is_needed(const struct tree_image *image);

/* Of an image with `children` counted. */
bool tree_is_mergeable(const struct tree_image *image);
bool tree_is_removable(const struct tree_image *image);

/* Plans one tree, or several. Takes time and memory in proportion to `count`. */
void tree_plan(struct tree_image *images, size_t count);

/* The images of rows, each of which comes after the one under it, as store_image_tree() lists them;
 * is_gone is false. Heap; NULL and *err (OutOfResources; StoreFailed: they are no tree). */
struct tree_image *tree_from_rows(const struct image_row *rows, size_t count, struct err *err);

#define TREE_REASON_BYTES 512

/* Says why an image stays: a phrase that goes after "because". `rows` are those that `images` were
 * made from. */
void tree_explain(const struct tree_image *images, const struct image_row *rows, size_t position,
                  char text[TREE_REASON_BYTES]);

#endif
