/* SPDX-License-Identifier: Apache-2.0
 *
 * Linked into snapgroupd-dropped-rule with -Wl,--wrap for each function below: a cut that does
 * without one of its rules (tests/model/README.md), which DROPPED_RULE in the environment names.
 * The daemon made so is wrong on purpose; without that variable it is right.
 *
 * CUT_GATES names a directory. Where a file NAME.closed is there, whoever passes waits until that
 * is removed, and creates NAME.reached meanwhile:
 *
 *     change-IMAGE-OFFSET   a change of the image file before anything of it is done
 *     look-OFFSET           a change before it is listed
 *     read-DEVICE-OFFSET    a read that knows where its data lie
 *
 * CUT_GATES also gets a file `cut` at each cut, `frozen` when rule R12 is broken, and a line in
 * `flushes` for each flush of an image that the cut's code asks for, once it is done.
 *
 * With SLOW_CHANGES in the environment changes take some milliseconds, some more than others, so
 * that clients that know nothing of gates have changes in flight at every cut.
 */
#include "block/device/device.h"
#include "block/image/file-io.h"
#include "block/image/freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WRAP(result, name, ...)                                                                    \
    result __real_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__)

static bool is_dropped(const char *rule)
{
    const char *dropped = getenv("DROPPED_RULE");
    return dropped && strcmp(dropped, rule) == 0;
}

/* ---- gates ---- */

static void note(const char *name, const char *line)
{
    const char *directory = getenv("CUT_GATES");
    char path[PATH_MAX];
    if (!directory)
        return;
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dprintf(fd, "%s", line) < 0)
        abort();
}

static bool is_closed(const char *name)
{
    const char *directory = getenv("CUT_GATES");
    char path[PATH_MAX];
    if (!directory)
        return false;
    snprintf(path, sizeof(path), "%s/%s.closed", directory, name);
    return access(path, F_OK) == 0;
}

static void pass_gate(const char *name)
{
    char reached[NAME_MAX];
    if (!is_closed(name))
        return;
    snprintf(reached, sizeof(reached), "%s.reached", name);
    note(reached, "");
    const struct timespec pause = {.tv_nsec = 2000000};
    while (is_closed(name))
        nanosleep(&pause, NULL); /* the fault itself, not a way to wait for something */
}

/* ---- changes ---- */

static void change_gate(char name[NAME_MAX], const struct node *node, uint64_t offset)
{
    const char *slash = strrchr(node->path, '/');
    snprintf(name, NAME_MAX, "change-%.128s-%ju", slash ? slash + 1 : node->path,
             (uintmax_t)offset);
}

static void pause_if_slow(void)
{
    static atomic_uint changes;
    if (!getenv("SLOW_CHANGES"))
        return;
    long pause_ms = atomic_fetch_add(&changes, 1) * 7 % 10;
    nanosleep(&(struct timespec){.tv_nsec = pause_ms * 1000000}, NULL); /* the fault itself */
}

WRAP(int, node_change, struct node *node, const struct node_change *change)
{
    char gate[NAME_MAX];
    change_gate(gate, node, change->offset);
    pass_gate(gate);
    pause_if_slow();
    return __real_node_change(node, change);
}

WRAP(int, node_write_cached, struct node *node, const void *buf, uint64_t offset, uint64_t length)
{
    char gate[NAME_MAX];
    change_gate(gate, node, offset);
    return is_closed(gate) || getenv("SLOW_CHANGES")
               ? -EAGAIN
               : __real_node_write_cached(node, buf, offset, length);
}

/* R2: the look comes before the lock. */
WRAP(void, changes_begin, struct changes *changes, struct index *const _Atomic *index,
     struct change *change, uint64_t start, uint64_t end)
{
    char gate[NAME_MAX];
    struct node *node = index_top(atomic_load(index));
    snprintf(gate, sizeof(gate), "look-%ju", (uintmax_t)start);
    pass_gate(gate);
    __real_changes_begin(changes, index, change, start, end);
    if (is_dropped("R2"))
        change->node = node;
}

/* R3: no change waits for another; R6: nor does a seal. */
WRAP(void, changes_await, struct changes *changes, const struct node *node, uint64_t start,
     uint64_t end)
{
    bool is_seal = start == 0 && end == UINT64_MAX;
    if (!is_dropped(is_seal ? "R6" : "R3"))
        __real_changes_await(changes, node, start, end);
}

/* ---- the cut ---- */

WRAP(void, cut_store, struct cut *cut, uint64_t epoch)
{
    __real_cut_store(cut, epoch);
    note("cut", "");
}

/* R8: the old top's changes are no longer reported. */
WRAP(void, index_arm, struct index *index, struct node *overlay, uint64_t epoch)
{
    __real_index_arm(index, overlay, epoch);
    if (is_dropped("R8"))
        node_watch(overlay->backing, NULL, NULL);
}

/* R12: read-only, then sealed. */
WRAP(uint64_t, device_seal, struct device *device)
{
    if (is_dropped("R12")) {
        node_freeze(index_top(device->index)->backing);
        note("frozen", "");
    }
    return __real_device_seal(device);
}

/* ---- flushes ---- */

WRAP(int, node_flush, struct node *node)
{
    int ret = __real_node_flush(node);
    char line[PATH_MAX + 1];
    snprintf(line, sizeof(line), "%s\n", node->path);
    note("flushes", line);
    return ret;
}

/* R7: the image below the top is left to the seal. */
WRAP(int, device_flush, struct device *device)
{
    if (!is_dropped("R7"))
        return __real_device_flush(device);
    CLEANUP(node) struct node *top = device_top(device);
    return __wrap_node_flush(top);
}

/* ---- reads ---- */

static _Thread_local char read_gate[NAME_MAX]; /* "": this thread does not read */

static void read_begin(const struct device *device, uint64_t offset)
{
    snprintf(read_gate, sizeof(read_gate), "read-%.128s-%ju", device->name, (uintmax_t)offset);
}

WRAP(int, device_read, struct device *device, void *buf, uint64_t offset, uint64_t length)
{
    read_begin(device, offset);
    int ret = __real_device_read(device, buf, offset, length);
    read_gate[0] = '\0';
    return ret;
}

WRAP(int, device_read_cached, struct device *device, void *buf, uint64_t offset, uint64_t length)
{
    read_begin(device, offset);
    int ret =
        is_closed(read_gate) ? -EAGAIN : __real_device_read_cached(device, buf, offset, length);
    read_gate[0] = '\0';
    return ret;
}

WRAP(int, file_read_padded, int fd, void *buf, uint64_t offset, uint64_t length)
{
    if (read_gate[0])
        pass_gate(read_gate);
    return __real_file_read_padded(fd, buf, offset, length);
}

/* R9: what the unsealed image holds is read like what a frozen one holds. */
WRAP(const struct node *, index_unsealed, const struct index *index)
{
    return read_gate[0] && is_dropped("R9") ? NULL : __real_index_unsealed(index);
}
