/* SPDX-License-Identifier: Apache-2.0
 *
 * Openings: chains are opened while images leave chains (redirect.h), and neither waits for the
 * other's storage. Private to block/.
 *
 *       +--- opened again: an image beneath it has left the chains meanwhile ---+
 *       v                                                                       |
 *     begun --> files are opened, headers are read, for as long as that takes --+--> settled
 *
 *     settled, one of block->walkers --> its images are offered, it is in a list --> ended
 *
 *   O1. An opening is settled only if no image beneath its own has left the chains since it began.
 *       Before an image leaves, all headers name another one (redirect.h, V1): what is opened
 *       later does not find it.
 *   O2. What is settled, and not in a list yet, is one of block->walkers, for whom a redirect
 *       waits before it looks through the lists: it misses no chain. No wait for storage is in
 *       that part.
 *   O3. An image that is offered to other chains (file-table.h) is found by a redirect whoever has
 *       it, an opening too: so what an opening takes from others stands on nothing that has left.
 *       No assert: redirect.c exchanges all of them under the file table's lock.
 */
#ifndef BLOCK_DEVICE_OPENING_H
#define BLOCK_DEVICE_OPENING_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct block;
struct child;
struct node;
struct readers;

/* The last images that left the chains. */
enum { LEFT_IMAGES_KEPT = 64 };
struct left_images {
    uint64_t count;     /* how often one has left */
    uint64_t forgotten; /* of those up to this one not all are listed */
    struct {
        dev_t dev;
        ino_t ino;
        uint64_t number; /* which of `count` it was; 0: none */
    } images[LEFT_IMAGES_KEPT];
};

/* All of a block layer. The lock is taken last. */
struct openings {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t ended;
    struct opening *first;
    struct child *children;
    uint64_t serial; /* of the newest of both */
    struct left_images left;
    struct readers *walkers; /* of the block layer; constant */
};
void openings_init(struct openings *openings, struct readers *walkers);
void openings_destroy(struct openings *openings); /* there is none */

/* In a frame or object of its own. OPENING_OF(block): nothing is open. */
#define OPENING_OF(its_block)                                                                      \
    {                                                                                              \
        .block = (its_block), .all = &(its_block)->openings                                        \
    }
struct opening {
    struct block *block;
    struct openings *all;
    struct opening *next; /* of `all`, while it goes on; its lock */
    const char *image;    /* the top, as it was asked for */
    uint64_t serial;      /* in order of their beginning */
    uint64_t begun;       /* left.count then */
    unsigned rounds;      /* how often it has begun */
    bool is_listed;
    bool is_walker;  /* it is one of block->walkers */
    bool is_settled; /* O2 */
    unsigned walker;
};

/* Before the first file is opened, and before all are opened again. After some rounds it is one of
 * block->walkers from then on, so that whatever leaves the chains waits for it. */
void opening_begin(struct opening *opening, const char *image);

/* All are open, `top` first: it is settled. Or (NULL) one could not be. False: all are to be opened
 * again. */
bool opening_settle(struct opening *opening, const struct node *top);

/* The chain is in a list, or what it has is offered, or it is about to be given up. May be called
 * twice. */
void opening_end(struct opening *opening);
#define CLEANUP_OPENING __attribute__((cleanup(opening_end)))

/* An image is about to leave the chains; all headers name another one. Then the caller waits
 * for block->walkers. */
void openings_forbid(struct openings *all, const struct node *image);

/* Waits until the openings of that image that have begun have ended. */
void openings_await(struct openings *all, const char *image);

/* ---- images that are made on others, outside of groups ---- */

struct child {
    struct openings *all; /* NULL: it has not begun */
    struct child *next;   /* its lock */
    uint64_t serial;      /* in order of their beginning */
    const struct node *base;
};

void child_begin(struct openings *all, struct child *child, const struct node *base);
void child_end(struct child *child);

/* Waits until those on that image that have begun have ended. */
void children_await(struct openings *all, const struct node *base);

#endif
