/* SPDX-License-Identifier: Apache-2.0
 *
 * What every test of the NBD server begins with: a block layer on the scratch directory, its
 * devices, and a server that listens. A test file says what differs in a setup:
 *
 *     static const struct nbd_setup setup = {.disks = {{.name = "disk", .size_bytes = 1 << 20}}};
 *     static const struct fixture fixture = NBD_FIXTURE(setup);
 *
 * `probe` is a driver with hooks, for what only a slow or failing disk shows. Main thread only.
 */
#ifndef TESTS_NBD_FIXTURE_H
#define TESTS_NBD_FIXTURE_H

#include "block/block.h"
#include "block/nbd/connection.h"
#include "block/nbd/server.h"
#include "tests/lib/nbd-peer.h"

enum { NBD_DISKS_MAX = 3 };

struct nbd_disk {
    const char *name;    /* of the device; its image is NAME.raw */
    const char *driver;  /* NULL: "raw" */
    uint64_t size_bytes; /* of zeros; 0: `prepare` makes the image */
    bool read_only;
};

/* In the order in which it takes effect. */
struct nbd_setup {
    struct nbd_tls_spec tls; /* its files are those of certificates.sh, beneath "pki" */
    void (*prepare)(void);   /* images, limits of the server; or NULL */
    struct nbd_disk disks[NBD_DISKS_MAX];
    bool is_silent;             /* the test calls nbd_server_listen() itself */
    const char *second_address; /* to listen on too; or NULL */
    void (*ready)(void);        /* once the server listens: clients; or NULL */
    void (*finish)(void);       /* before the server is freed; or NULL */
};

struct nbd_served {
    struct block *block;
    struct nbd_server *server; /* NULL: the test has freed it */
    const char *address;       /* "unix:..." */
    char second_address[64];   /* as it is reached from here */
    void (*finish)(void);
};
extern struct nbd_served served;

#define NBD_FIXTURE(setup)                                                                         \
    {                                                                                              \
        .begin_all = nbd_begin_all, .end_all = scratch_end, .begin = nbd_begin, .end = nbd_end,    \
        .state = (void *)(uintptr_t) & (setup)                                                     \
    }

int nbd_begin_all(void **state); /* the scratch directory and the probe */
int nbd_begin(void **state);     /* `*state`: the setup */
int nbd_end(void **state);       /* and the probe is as it was */

/* nbd_begin() for tests that each have a setup of their own. */
void served_begin(const struct nbd_setup *setup);

/* Before it listens: TLS with these options. */
void served_set_tls(const struct nbd_tls_spec *spec);

/* How many connections use the device now. */
unsigned served_clients(const char *name);

/* Until no client has it open any more; fails the test after PEER_WAIT_S. */
void served_wait_until_left(const char *name);

/* Waits until `*flag` is at least `value`; fails the test after PEER_WAIT_S. */
void wait_until_at_least(const atomic_uint *flag, unsigned value);

/* ---- the probe ---- */

/* Raw with hooks. Reads of what lies at or after `mapped_from` bypass it, as raw's do. */
struct probe {
    atomic_int error; /* what the next writes, zeroes, discards and reads return: 0 or -errno */
    atomic_int zero_fast_error;   /* what zero_fast() returns */
    atomic_bool hold;             /* writes wait while this is set */
    atomic_bool holds_connection; /* and on the thread of their connection, not of the pool */
    atomic_uint held;             /* writes that have come to wait, ever */
    atomic_bool hold_reads, hold_flushes;
    atomic_uint held_reads, held_flushes;
    atomic_ullong mapped_from, broken_from;      /* reads at or after `broken_from` fail with EIO */
    atomic_uint flushes;                         /* ever */
    atomic_ullong zeroed_bytes, discarded_bytes; /* the length of the last one */
    atomic_bool unmapped;                        /* the last zero's `unmap` */
};
extern struct probe probe;

#endif
