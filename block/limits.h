/* SPDX-License-Identifier: Apache-2.0
 *
 * The limits of block/ that users meet: GET /limits lists each constant of this file. What is
 * beyond one is refused, unless stated otherwise.
 */
#ifndef BLOCK_LIMITS_H
#define BLOCK_LIMITS_H

/* ---- devices and groups ---- */

#define DEVICE_NAME_MAX 64 /* characters */

#define DEVICE_SIZE_MAX_BYTES                                                                      \
    (1ULL << 53) /* the largest integer that JSON clients can carry exactly */

#define GROUP_NAME_MAX    128 /* characters */
#define GROUP_MEMBERS_MAX 1024

/* How long a rollback waits for clients that it asks to leave. */
#define ROLLBACK_DISCONNECT_MS 10000

/* ---- images ---- */

/* Images of a chain: a loop that escapes detection ends here. */
#define CHAIN_NODES_MAX 1024

#define CLUSTER_BYTES_MAX 2097152

/* What a qcow2 header may request. They equal QEMU's, so every image that QEMU makes can be opened.
 */
#define QCOW2_L1_BYTES_MAX             (32u << 20)
#define QCOW2_REFCOUNT_TABLE_BYTES_MAX (8u << 20)
#define QCOW2_SNAPSHOTS_MAX            65536u
#define QCOW2_SNAPSHOT_TABLE_BYTES_MAX (64u << 20)
#define QCOW2_SNAPSHOT_L1_BYTES_MAX    (512u << 20) /* sum over all snapshots */
#define QCOW2_BACKING_NAME_MAX         1023u        /* bytes */

/* ---- NBD ---- */

#define NBD_LISTENERS_MAX 16 /* addresses */

/* Connections at a time: in all (Unix sockets may have every one), over TCP, from one address, and
 * from the daemon's own user, unless that is root: the rest is root's. */
#define NBD_CONNECTIONS_MAX     1024
#define NBD_TCP_CONNECTIONS_MAX 896
#define NBD_TCP_PEER_MAX        640
#define NBD_UNIX_PEER_MAX       960

/* Handshakes at a time, of each kind of listener; a newer one ends the oldest. */
#define NBD_HANDSHAKES_MAX 256

/* For a handshake, or for its next option that is of use; and for all of it. */
#define NBD_HANDSHAKE_MAX_MS     10000
#define NBD_HANDSHAKE_ALL_MAX_MS 120000

#define NBD_USELESS_OPTIONS_MAX   1024       /* of one handshake */
#define NBD_OPTION_BYTES_MAX      (64 << 10) /* of payload: far more than any option needs */
#define NBD_OPTION_SKIP_BYTES_MAX (32 << 20) /* a longer one is hung up on, not skipped */

/* "Conventions" of the protocol: no string is longer. */
#define NBD_STRING_BYTES_MAX 4096

/* Of a request. "Block size constraints" of the protocol: what any server must take. */
#define NBD_PAYLOAD_BYTES_MAX (32U << 20)

/* Requests of one connection that may have to wait, with those whose replies are not sent yet, and
 * their payloads and replies (one may be of any size): at these no more is received. */
#define NBD_TASKS_MAX      256
#define NBD_TASK_BYTES_MAX (64 << 20)

/* Memory that all connections share beyond the part of each; then large requests go in pieces. */
#define NBD_MEMORY_BYTES_MAX (1 << 30)

#endif
