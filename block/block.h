/* SPDX-License-Identifier: Apache-2.0
 *
 * The control interface of the block layer: its life, image files and exports. devices.h has
 * devices, group.h the group transaction.
 *
 * Any thread; calls may block on disks, unless stated otherwise. Paths are relative to the image
 * directory or absolute beneath it; no file outside it is opened (openat2, RESOLVE_BENEATH).
 * Strings passed in are copied.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "base/cleanup.h"
#include "base/err.h"
#include "block/devices.h"
#include "block/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block;

#define INDEX_MEMORY_DEFAULT_BYTES (256ULL << 20) /* of 2 TiB in 64 KiB pieces */

/* ---- life ---- */

/* `image_dir` must exist. NULL and *err (OpenFileFailed) on failure. */
struct block *block_open(const char *image_dir, struct err *err);

/* The memory budget of the block maps of all devices together. 1/8192 of the bytes in regular use
 * is enough; with less, more reads walk their chain. */
void block_set_index_memory(struct block *block, uint64_t budget_bytes);

/* The memory budget of the tables of all images of the process (image/table-memory.h): with less,
 * more of them are read again. */
void block_set_table_memory(uint64_t budget_bytes);

/* A budget of memory. */
struct block_memory {
    uint64_t used_bytes, limit_bytes;
};
/* That of the block maps, of the tables, and that which NBD's connections share. */
struct block_memory block_index_memory(struct block *block);
struct block_memory block_table_memory(void);
struct block_memory block_nbd_memory(const struct block *block);

/* Keeps a journal in `runtime_dir`/journals for every image that is opened for writing from now on,
 * so that acknowledged data survive a kill of the daemon. A journal that a killed daemon left is
 * replayed when its image is opened; if it cannot be, both stay as they are and block_device_open()
 * fails. Call once, before anything is opened. OpenFileFailed. */
int block_journals_open(struct block *block, const char *runtime_dir, struct err *err);

/* Replays and flushes the journals of images that no device has opened. */
void block_journals_finish(struct block *block);

/* Makes all data of the image that an earlier daemon acknowledged durable. OpenFileFailed. */
int block_image_sync(struct block *block, const char *path, struct err *err);

/* Stops all exports after their current requests, and flushes every device, side by side; requests
 * and flushes that hang are left. For when something else that waits for storage keeps
 * block_close() from being called: nothing is freed, and the process must exit then. -1 and *err if
 * a flush failed or hangs. */
int block_stop(struct block *block, struct err *err);

/* The same; then closes every device and frees everything, but not if requests or flushes hang, or
 * an attempt to open an image: then it fails, too, and the process must exit. */
int block_close(struct block *block, struct err *err);

/* OpenFileFailed if another file system was mounted over the image directory since block_open(). */
int block_check_image_dir(const struct block *block, struct err *err);

/* The image directory's canonical absolute path. */
const char *block_image_dir(const struct block *block);

/* ---- image files ---- */

/* The absolute path of `path` with its parent directory resolved (the file itself need not exist).
 * Heap; NULL and *err (OpenFileFailed) if it leaves the image directory or its parent cannot be
 * opened. */
char *block_resolve(struct block *block, const char *path, struct err *err);

/* The same; *is_taken, if asked for: whether something has that path now. */
char *block_resolve_new(struct block *block, const char *path, bool *is_taken, struct err *err);

/* Waits until nothing of this daemon has the image open, no longer than that: true. False:
 * something has; at once after block_stop_opening(). */
bool block_image_await(struct block *block, const char *path, unsigned timeout_ms);

/* Whether a driver of that name exists. */
bool block_format_known(const char *format);

/* Whether images of the format can be created. InvalidBlockFormat. */
int block_format_check_create(const char *format, struct err *err);

/* Creates the image `path` of `size_bytes`, durable. It must not exist yet. `shape` is for formats
 * that have clusters; NULL: the format's default. Until block_image_keep() a second name
 * (".snapgroupd-ID-HASH.tmp" beside it; where there are no hard links a file
 * ".snapgroupd-ID-HASH.mark") marks it as made by `id`, so that after a crash block_image_discard()
 * removes exactly this file or nothing. Codes: OpenFileFailed, InvalidBlockFormat, InvalidValue
 * (the clusters are too small for a disk of that size). */
int block_image_create(struct block *block, const char *path, const char *format,
                       uint64_t size_bytes, const struct cluster_shape *shape,
                       const unsigned char id[OWNER_ID_BYTES], struct err *err);

/* The image is wanted: removes the marking name, if it is there, durably. One that a power failure
 * brings back is removed by the next start. */
int block_image_keep(struct block *block, const char *path, const unsigned char id[OWNER_ID_BYTES],
                     struct err *err);

/* The identity of the directory of `path`, by which a discard recognises the storage later.
 * OpenFileFailed. */
int block_directory_identity(struct block *block, const char *path,
                             char identity[FILE_IDENTITY_BYTES], struct err *err);

/* Whether somebody removed the file of that identity: its file system is there, and its directory
 * has no such name. False where that is not known: its storage may be away. */
bool block_image_is_gone(struct block *block, const char *path, const char *identity);

/* The image is not wanted: removes both names, if `id` made them. Idempotent. `directory` is from
 * block_directory_identity(): where the directory does not exist or is on another file system, the
 * storage is away and nothing is known of the image (OpenFileFailed). NULL: not known; then a
 * missing directory counts as removed. */
int block_image_discard(struct block *block, const char *path, const char *directory,
                        const unsigned char id[OWNER_ID_BYTES], struct err *err);

/* Whether the path leads to the file with that identity (NULL: to any). May wait for a storage. */
bool block_image_is(struct block *block, const char *path, const char *identity);

/* ---- exports ---- */

enum nbd_tls_mode {
    NBD_TLS_OFF,
    NBD_TLS_OPTIONAL, /* required beyond loopback only */
    NBD_TLS_REQUIRED,
};

struct nbd_tls_spec {
    enum nbd_tls_mode mode;
    const char *cert_dir; /* server-cert.pem, server-key.pem; or NULL: no certificates */
    bool verify_peer;     /* clients need a certificate signed by cert_dir's ca-cert.pem and not
                           * revoked in its ca-crl.pem, if that exists */
    const char *psk_file; /* lines NAME:HEXKEY; or NULL: no pre-shared keys */
};

/* TLS for NBD on every address, for connections that begin later; reads the files. On failure
 * nothing changes. Codes: OpenFileFailed; InvalidValue, also if an address beyond loopback is
 * served and clients would not have to prove who they are. The message names the file, if any. */
int block_nbd_set_tls(struct block *block, const struct nbd_tls_spec *spec, struct err *err);

/* Whether block_nbd_set_tls() would succeed, and block_nbd_listen() take each address, as far as
 * that can be told without a socket. */
int block_nbd_check(const struct nbd_tls_spec *spec, const char *const *addresses, size_t count,
                    struct err *err);

/* Serves NBD on one more address: "unix:PATH" or "ADDR:PORT" (port 0: any free port). Beyond
 * loopback TLS is required in every mode, and must authenticate the client. Codes: InvalidValue,
 * OpenFileFailed. */
int block_nbd_listen(struct block *block, const char *address, struct err *err);

/* Listening address number `index` as bound ("unix:/run/x/nbd.sock", "0.0.0.0:10809"); NULL past
 * the last one. */
const char *block_nbd_address(const struct block *block, size_t index);

/* The address for clients: the first Unix socket, else the first address of one host, else loopback
 * for a wildcard; NULL if NBD is not served. */
const char *block_nbd_reach(const struct block *block);

/* Whether a client at block_nbd_reach() must use TLS. */
bool block_nbd_needs_tls(const struct block *block);

/* Whether NBD's clients can prove a name, with TLS and a certificate or a pre-shared key. */
bool block_nbd_knows_clients(const struct block *block);

/* Connections, with those in the handshake. */
unsigned block_nbd_connections(const struct block *block);

/* Stops listening, finishes requests under way, closes every connection. */
void block_nbd_stop(struct block *block);

#endif
