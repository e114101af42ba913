/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer's socket, with deadlines. Returns 0 or -errno: -ECONNRESET if the peer has hung up,
 * -ETIMEDOUT if the deadline has passed. One thread may receive while another one sends.
 */
#ifndef BLOCK_NBD_SOCKET_H
#define BLOCK_NBD_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct nbd_socket {
    int fd;
    /* The receiving thread's. */
    bool draining; /* only `drain_bytes` more are received */
    size_t drain_bytes;
};

/* Milliseconds on the monotonic clock, `timeout_ms` from now. */
uint64_t nbd_deadline(unsigned timeout_ms);
#define NBD_NO_DEADLINE UINT64_MAX

enum nbd_wait {
    NBD_WAIT_NOT,  /* -EAGAIN if nothing has arrived */
    NBD_WAIT_SOME, /* until something has arrived */
    NBD_WAIT_ALL,  /* until all of it has; less comes only at the end of the connection */
};

/* Receives up to `length` (at least 1) bytes. Returns how many; -errno if there are none. With a
 * deadline, NBD_WAIT_ALL may return less than all. */
ssize_t nbd_socket_receive(struct nbd_socket *socket, void *buf, size_t length, enum nbd_wait wait,
                           uint64_t deadline_ms);

/* Sends all of `length` bytes. */
int nbd_socket_write(struct nbd_socket *socket, const void *buf, size_t length,
                     uint64_t deadline_ms);

/* From now on receives only the bytes that have arrived by now, then reports -ECONNRESET. */
void nbd_socket_drain(struct nbd_socket *socket);

/* Stops sending, then reads and drops input until the peer hangs up or the deadline passes, so that
 * no reset overtakes a reply. */
void nbd_socket_linger(struct nbd_socket *socket, uint64_t deadline_ms);

#endif
