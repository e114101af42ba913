/* SPDX-License-Identifier: Apache-2.0
 *
 * The scratch directory of a test program, commands run in it, and nodes opened beneath it.
 */
#include "block/image/drivers.h"
#include "tests/lib/testlib.h"

#include "block/block.h"
#include "block/image/image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MEMORY_NEEDED_MIB = 1024 };

static char directory[PATH_MAX]; /* realpath() with checks of the compiler wants no less */
static struct image_dir images;

static const char *scratch_parent(void)
{
    struct statvfs vfs;
    const char *parent = getenv("TMPDIR");
    if (parent)
        return parent;
    if (access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &vfs) == 0 &&
        (vfs.f_bavail >> 10) * vfs.f_bsize >> 10 >= MEMORY_NEEDED_MIB)
        return "/dev/shm";
    return "/tmp";
}

static int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void scratch_remove(void)
{
    if (directory[0] && nftw(directory, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0)
        directory[0] = '\0';
}

int scratch_begin(void **state)
{
    (void)state;
    struct err err;
    char name[200];
    snprintf(name, sizeof(name), "%s/snapgroupd-test.XXXXXX", scratch_parent());
    if (!mkdtemp(name) || !realpath(name, directory) || chdir(directory) != 0)
        return -1;
    atexit(scratch_remove);
    driver_register(&driver_raw);
    driver_register(&driver_qcow2);
    return image_dir_open(&images, directory, &err);
}

int scratch_end(void **state)
{
    (void)state;
    image_dir_close(&images);
    scratch_remove();
    return directory[0] ? -1 : 0;
}

const char *scratch_dir(void)
{
    return directory;
}

const struct image_dir *scratch_images(void)
{
    return &images;
}

char *scratch_path(const char *name)
{
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", directory, name) > 0);
    return path;
}

/* Runs `command`; *output (heap) is what it printed. Returns the exit status; a signal counts as
 * 128 + N. */
static int shell_run(const char *command, char **output)
{
    CLEANUP_FREE char *line = NULL;
    assert_true(asprintf(&line, "cd '%s' && { %s; } 2>&1", directory, command) > 0);
    FILE *pipe = popen(line, "re");
    assert_non_null(pipe);
    size_t room = 0;
    *output = NULL;
    if (getdelim(output, &room, '\0', pipe) < 0) {
        free(*output);
        *output = strdup("");
    }
    assert_non_null(*output);
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The same with a format's arguments; a status other than 0 fails the test if it `must` be 0. */
static int shell_run_list(bool must, char **output, const char *format, va_list arguments)
{
    CLEANUP_FREE char *command = NULL;
    assert_true(vasprintf(&command, format, arguments) > 0);
    int status = shell_run(command, output);
    if (must && status)
        fail_msg("'%.500s' ended with %d: %s", command, status, *output);
    return status;
}

void shell(const char *format, ...)
{
    CLEANUP_FREE char *output = NULL;
    va_list arguments;
    va_start(arguments, format);
    shell_run_list(true, &output, format, arguments);
    va_end(arguments);
}

int shell_status(const char *format, ...)
{
    CLEANUP_FREE char *output = NULL;
    va_list arguments;
    va_start(arguments, format);
    int status = shell_run_list(false, &output, format, arguments);
    va_end(arguments);
    return status;
}

char *shell_output(const char *format, ...)
{
    char *output = NULL;
    va_list arguments;
    va_start(arguments, format);
    shell_run_list(true, &output, format, arguments);
    va_end(arguments);
    return output;
}

/* Reads the links itself: a command would see its own pipe come and go. */
unsigned descriptors_of(const char *name)
{
    unsigned count = 0;
    DIR *listing = opendir("/proc/self/fd");
    assert_non_null(listing);
    const struct dirent *entry;
    while ((entry = readdir(listing))) {
        char target[PATH_MAX + 1] = "";
        if (readlinkat(dirfd(listing), entry->d_name, target, PATH_MAX) <= 0)
            continue;
        const char *slash = strrchr(target, '/');
        count += slash && strcmp(slash + 1, name) == 0;
    }
    closedir(listing);
    return count;
}

void pki_create(void)
{
    shell("%s/tests/lib/certificates.sh pki >/dev/null", TEST_SOURCE_DIR);
}

uint64_t environment_number(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : fallback;
}

struct node *chain_must_open(const char *name, const char *format, bool read_only)
{
    struct err err;
    struct node *node = chain_open(&images, name, format, read_only, NULL, &err);
    if (!node)
        fail_msg("%s does not open: %s: %s", name, err_code_name(err.code), err.message);
    return node;
}

void chain_must_refuse(const char *name, const char *format, bool read_only, enum err_code code,
                       const char *const *words)
{
    struct err err;
    CLEANUP(node) struct node *node = chain_open(&images, name, format, read_only, NULL, &err);
    if (node)
        fail_msg("%s opens, but should be refused", name);
    if (err.code != code)
        fail_msg("%s: refused with %s, not %s: %s", name, err_code_name(err.code),
                 err_code_name(code), err.message);
    for (; *words; words++)
        if (!strcasestr(err.message, *words))
            fail_msg("%s: the refusal does not mention '%s': %s", name, *words, err.message);
}

struct node *overlay_must_create(const char *name, const struct image_spec *spec,
                                 struct node *backing)
{
    struct err err;
    CLEANUP_FREE char *path = scratch_path(name);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    if (driver_qcow2.create(fd, spec, &err) != 0)
        fail_msg("%s is not created: %s", name, err.message);
    struct node *node = node_open(fd, path, &driver_qcow2, false, backing, &err);
    if (!node)
        fail_msg("%s does not open: %s", name, err.message);
    return node;
}

void node_must_close(struct node **node)
{
    int ret = node_flush(*node);
    if (ret)
        fail_msg("flush of %s: %s", (*node)->path, strerror(-ret));
    node_unref(steal(*node));
}

struct block *journals_must_open(void)
{
    struct err err;
    CLEANUP_FREE char *path = scratch_path("run");
    struct block *block = block_open(directory, &err);
    if (!block || block_journals_open(block, path, &err) != 0)
        fail_msg("the journals cannot be opened: %s", err.message);
    return block;
}

int journals_settle(void)
{
    struct block *block = journals_must_open();
    block_journals_finish(block);
    return block_close(block, &(struct err){0});
}
