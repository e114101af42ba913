/* SPDX-License-Identifier: Apache-2.0
 *
 * A daemon that is killed, without the daemon: a child process that writes through a node with a
 * journal and sends itself SIGKILL as it enters, or as it is in the midst of, or as it leaves the
 * N-th call that changes a file.
 *
 * Include it once, in the program itself: it puts its own pwrite64, pwritev64, fallocate64 and
 * fdatasync between the driver and the kernel.
 */
#ifndef TESTS_KILLABLE_H
#define TESTS_KILLABLE_H

#include "block/block.h"
#include "tests/lib/testlib.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    _Atomic uint64_t countdown; /* calls, of any thread, until the end; 0: not armed */
    bool after;
} doom;

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Whether this call is the last one; if it is not to be entered, does not return. */
static bool doom_due(void)
{
    uint64_t left = atomic_load(&doom.countdown);
    while (left > 0 && !atomic_compare_exchange_weak(&doom.countdown, &left, left - 1))
        continue;
    if (left != 1)
        return false;
    if (!doom.after)
        die();
    return true;
}

ssize_t pwrite64(int fd, const void *buf, size_t length, off64_t offset)
{
    bool due = doom_due();
    /* A kill ends a long write between two pages of the file: it tears no sector. */
    off64_t middle = (offset + (off64_t)(length / 2)) & ~(off64_t)511;
    size_t part = due && length > 4096 ? (size_t)(middle - offset) : length;
    ssize_t n = syscall(SYS_pwrite64, fd, buf, part, offset);
    if (due)
        die();
    return n;
}

ssize_t pwritev64(int fd, const struct iovec *vector, int count, off64_t offset)
{
    bool due = doom_due();
    ssize_t n = syscall(SYS_pwritev, fd, vector, (long)count, offset, 0L);
    if (due)
        die();
    return n;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
    bool due = doom_due();
    int ret = (int)syscall(SYS_fallocate, fd, mode, offset, length);
    if (due)
        die();
    return ret;
}

int fdatasync(int fd)
{
    bool due = doom_due();
    int ret = (int)syscall(SYS_fdatasync, fd);
    if (due)
        die();
    return ret;
}

/* Runs body(arg) in a child that dies at its countdown-th call (0: only when body kills it). True
 * if it was killed, false if body came to its end and returned 0; anything else fails the test. */
static inline bool killed_child(int (*body)(void *arg), void *arg, uint64_t countdown, bool after)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        doom.countdown = countdown;
        doom.after = after;
        _exit(body(arg));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the child ended with status 0x%x", status);
    return false;
}

/* A node of the scratch directory with a journal in run/journals, which block_journals_open() made.
 * NULL, and the reason on standard error, on failure: for children. */
static inline struct node *journaled_open(const char *name)
{
    struct err err;
    CLEANUP_FREE char *path = NULL;
    if (asprintf(&path, "%s/run/journals", scratch_dir()) < 0)
        return NULL;
    int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* for the child's life */
    CLEANUP(node)
    struct node *node = chain_open(scratch_images(), name, "qcow2", false, NULL, &err);
    if (node && node_add_journal(node, dirfd, &err) == 0)
        return steal(node);
    fprintf(stderr, "%s does not open: %s\n", name, err.message);
    return NULL;
}

#endif
