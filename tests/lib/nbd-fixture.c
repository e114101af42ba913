/* SPDX-License-Identifier: Apache-2.0
 *
 * See nbd-fixture.h.
 */
#include "tests/lib/nbd-fixture.h"
#include "block/image/drivers.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- the probe ---- */

struct probe probe;

static void probe_reset(void)
{
    atomic_store(&probe.error, 0);
    atomic_store(&probe.zero_fast_error, 0);
    atomic_store(&probe.hold, false);
    atomic_store(&probe.holds_connection, false);
    atomic_store(&probe.hold_reads, false);
    atomic_store(&probe.hold_flushes, false);
    atomic_store(&probe.mapped_from, UINT64_MAX);
    atomic_store(&probe.broken_from, UINT64_MAX);
}

/* Waits while `*hold` is set; counts whoever comes to wait. */
static void probe_wait(const atomic_bool *hold, atomic_uint *held)
{
    if (atomic_load(hold))
        atomic_fetch_add(held, 1);
    while (atomic_load(hold))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* All data, and only the probe's read() can tell what they are: so every read comes by. */
static int probe_map(struct node *node, uint64_t offset, unsigned flags, struct extent *extent)
{
    uint64_t mapped_from = atomic_load(&probe.mapped_from);
    if (offset < mapped_from && extent->length > mapped_from - offset)
        extent->length = mapped_from - offset;
    int ret = driver_raw.map(node, offset, flags, extent);
    if (extent->kind == EXTENT_DATA && offset < mapped_from)
        extent->host = EXTENT_NO_HOST;
    return ret;
}

static int probe_read(struct node *node, void *buf, uint64_t offset, uint64_t length)
{
    int error = atomic_load(&probe.error);
    probe_wait(&probe.hold_reads, &probe.held_reads);
    if (offset + length > atomic_load(&probe.broken_from))
        return -EIO;
    return error ? error : file_read_padded(node->fd, buf, offset, length);
}

static int probe_write(struct node *node, const void *buf, uint64_t offset, uint64_t length,
                       unsigned flags)
{
    int error = atomic_load(&probe.error);
    if (flags & WRITE_CACHED && atomic_load(&probe.hold) && !atomic_load(&probe.holds_connection))
        return -EAGAIN;
    probe_wait(&probe.hold, &probe.held);
    return error ? error : driver_raw.write(node, buf, offset, length, flags);
}

static int probe_zero(struct node *node, uint64_t offset, uint64_t length, unsigned flags)
{
    int error = atomic_load(flags & ZERO_FAST ? &probe.zero_fast_error : &probe.error);
    if (flags & ZERO_DISCARD) {
        atomic_store(&probe.discarded_bytes, length);
    } else if (!(flags & ZERO_FAST)) {
        atomic_store(&probe.zeroed_bytes, length);
        atomic_store(&probe.unmapped, flags & ZERO_UNMAP);
        flags |= ZERO_UNMAP;
    }
    return error ? error : driver_raw.zero(node, offset, length, flags);
}

static int probe_flush(struct node *node)
{
    atomic_fetch_add(&probe.flushes, 1);
    probe_wait(&probe.hold_flushes, &probe.held_flushes);
    return driver_raw.flush(node);
}

static void probe_register(void)
{
    static struct driver driver;
    driver = driver_raw;
    driver.name = "probe";
    driver.map = probe_map;
    driver.read = probe_read;
    driver.write = probe_write;
    driver.zero = probe_zero;
    driver.flush = probe_flush;
    driver_register(&driver);
}

/* ---- the server ---- */

struct nbd_served served;

static void disk_serve(const struct nbd_disk *disk)
{
    struct err err;
    char image[100];
    snprintf(image, sizeof(image), "%s.raw", disk->name);
    if (disk->size_bytes)
        shell("truncate -s %" PRIu64 " %s", disk->size_bytes, image);
    struct device_spec spec = {.name = disk->name,
                               .image = image,
                               .format = disk->driver ? disk->driver : "raw",
                               .read_only = disk->read_only};
    if (block_device_open(served.block, &spec, &err) != 0)
        fail_msg("%s", err.message);
    block_device_export(served.block, disk->name);
}

static const char *listen_on(const char *address, size_t number)
{
    struct err err;
    if (nbd_server_listen(served.server, address, &err) != 0)
        fail_msg("%s", err.message);
    return nbd_server_address(served.server, number);
}

static void served_listen(const char *second_address)
{
    char address[300];
    snprintf(address, sizeof(address), "unix:%s/nbd.sock", scratch_dir());
    served.address = listen_on(address, 0);
    assert_string_equal(served.address, address);
    if (second_address)
        snprintf(served.second_address, sizeof(served.second_address), "127.0.0.1:%s",
                 strrchr(listen_on(second_address, 1), ':') + 1);
}

void served_set_tls(const struct nbd_tls_spec *spec)
{
    struct err err;
    if (access("pki", F_OK) != 0)
        pki_create();
    if (nbd_server_set_tls(served.server, spec, &err) != 0)
        fail_msg("%s", err.message);
}

void served_begin(const struct nbd_setup *setup)
{
    struct err err;
    served = (struct nbd_served){.block = block_open(scratch_dir(), &err), .finish = setup->finish};
    assert_non_null(served.block);
    served.server = nbd_server_new(served.block);
    assert_non_null(served.server);
    if (setup->tls.mode != NBD_TLS_OFF)
        served_set_tls(&setup->tls);
    if (setup->prepare)
        setup->prepare();
    for (size_t i = 0; i < NBD_DISKS_MAX && setup->disks[i].name; i++)
        disk_serve(&setup->disks[i]);
    if (!setup->is_silent)
        served_listen(setup->second_address);
    if (setup->ready)
        setup->ready();
}

int nbd_begin_all(void **state)
{
    probe_reset();
    int ret = scratch_begin(state);
    probe_register();
    return ret;
}

int nbd_begin(void **state)
{
    served_begin(*state);
    return 0;
}

int nbd_end(void **state)
{
    struct err err;
    (void)state;
    probe_reset();
    if (served.finish)
        served.finish();
    if (served.server)
        nbd_server_free(served.server);
    if (block_close(served.block, &err) != 0)
        fail_msg("%s", err.message);
    shell("rm -f *.raw");
    return 0;
}

unsigned served_clients(const char *name)
{
    struct err err;
    struct device_info info;
    assert_int_equal(block_device_info(served.block, name, &info, &err), 0);
    unsigned clients = info.clients;
    device_info_clear(&info);
    return clients;
}

void served_wait_until_left(const char *name)
{
    for (int i = 0; i < PEER_WAIT_S * 1000 && served_clients(name); i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(served_clients(name), 0);
}

void wait_until_at_least(const atomic_uint *flag, unsigned value)
{
    for (int i = 0; i < PEER_WAIT_S * 1000 && atomic_load(flag) < value; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_true(atomic_load(flag) >= value);
}
