/* SPDX-License-Identifier: Apache-2.0
 *
 * Kills its own process as one of the threads enters its n-th call of a name. Preloaded into a
 * daemon by killer.py, which shares the file named by KILLER_CONTROL, a `struct control`, with it.
 *
 * strace can do the same, but stops a thread twice at every call of any name: that is most of what
 * a kill costs then, and the more so the busier the machine is. Here nothing is stopped. Only calls
 * that change something are seen, and only those that the program itself or SQLite makes: libc's
 * own, as of fopen(), open to read.
 *
 * `thread` is stored last by the test, and all else is the thread's from then on.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CALLS(X)                                                                                   \
    X(fallocate)                                                                                   \
    X(fchmod)                                                                                      \
    X(fdatasync)                                                                                   \
    X(fremovexattr)                                                                                \
    X(fsetxattr)                                                                                   \
    X(fsync)                                                                                       \
    X(ftruncate)                                                                                   \
    X(io_uring_enter)                                                                              \
    X(linkat)                                                                                      \
    X(mkdirat)                                                                                     \
    X(openat)                                                                                      \
    X(openat2)                                                                                     \
    X(pwrite64)                                                                                    \
    X(pwritev)                                                                                     \
    X(renameat2)                                                                                   \
    X(sendmsg)                                                                                     \
    X(sendto)                                                                                      \
    X(unlink)                                                                                      \
    X(unlinkat)                                                                                    \
    X(write)                                                                                       \
    X(writev)

#define AS_ENUM(name) CALL_##name,

enum call { CALLS(AS_ENUM) CALL_COUNT };

/* In killer.py, too; calls are numbered as in CHANGES of strace.py. */
struct control {
    uint32_t calls;                   /* CALL_COUNT, once the program has begun */
    atomic_uint thread;               /* 0: none */
    uint32_t at, number;              /* the call to die at; CALL_COUNT: none */
    uint32_t seen, order[CALL_COUNT]; /* calls, in the order of their first one */
    uint32_t counts[CALL_COUNT];
};

static struct control *control;

__attribute__((constructor)) static void killer_begin(void)
{
    const char *path = getenv("KILLER_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        _exit(127);
    void *mapped = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        _exit(127);
    close(fd);
    control = mapped;
    control->calls = CALL_COUNT;
}

static void enter(enum call call)
{
    static _Thread_local unsigned int self;
    if (self == 0)
        self = (unsigned int)gettid();
    if (!control || atomic_load(&control->thread) != self)
        return;
    if (control->counts[call]++ == 0)
        control->order[control->seen++] = call;
    if (control->at == call && control->counts[call] == control->number)
        kill(getpid(), SIGKILL);
}

#define WRAP(call, type, name, parameters, arguments)                                              \
    type name parameters                                                                           \
    {                                                                                              \
        static type(*next) parameters;                                                             \
        enter(CALL_##call);                                                                        \
        if (!next)                                                                                 \
            *(void **)&next = dlsym(RTLD_NEXT, #name);                                             \
        return next arguments;                                                                     \
    }

/* As in the headers, which do not name the 64-bit ones for every build. */
int fallocate64(int fd, int mode, off64_t offset, off64_t length);
int posix_fallocate64(int fd, off64_t offset, off64_t length);
int ftruncate64(int fd, off64_t length);
int open64(const char *path, int flags, ...);
int openat64(int folder, const char *path, int flags, ...);
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset);
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset);

WRAP(fallocate, int, fallocate64, (int fd, int mode, off64_t offset, off64_t length),
     (fd, mode, offset, length))
WRAP(fallocate, int, posix_fallocate64, (int fd, off64_t offset, off64_t length),
     (fd, offset, length))
WRAP(fchmod, int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(fdatasync, int, fdatasync, (int fd), (fd))
WRAP(fremovexattr, int, fremovexattr, (int fd, const char *name), (fd, name))
WRAP(fsetxattr, int, fsetxattr,
     (int fd, const char *name, const void *value, size_t size, int flags),
     (fd, name, value, size, flags))
WRAP(fsync, int, fsync, (int fd), (fd))
WRAP(ftruncate, int, ftruncate64, (int fd, off64_t length), (fd, length))
WRAP(io_uring_enter, int, io_uring_submit, (struct io_uring * ring), (ring))
WRAP(linkat, int, linkat,
     (int from_folder, const char *from, int to_folder, const char *to, int flags),
     (from_folder, from, to_folder, to, flags))
WRAP(mkdirat, int, mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode))
WRAP(pwrite64, ssize_t, pwrite64, (int fd, const void *data, size_t length, off64_t offset),
     (fd, data, length, offset))
WRAP(pwritev, ssize_t, pwritev64, (int fd, const struct iovec *parts, int count, off64_t offset),
     (fd, parts, count, offset))
WRAP(renameat2, int, renameat2,
     (int from_folder, const char *from, int to_folder, const char *to, unsigned int flags),
     (from_folder, from, to_folder, to, flags))
WRAP(sendmsg, ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags),
     (fd, message, flags))
WRAP(sendto, ssize_t, send, (int fd, const void *data, size_t length, int flags),
     (fd, data, length, flags))
WRAP(unlink, int, unlink, (const char *path), (path))
WRAP(unlinkat, int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags))
WRAP(write, ssize_t, write, (int fd, const void *data, size_t length), (fd, data, length))
WRAP(write, int, eventfd_write, (int fd, eventfd_t value), (fd, value))
WRAP(writev, ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))

static int open_in(int folder, const char *path, int flags, va_list more)
{
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    enter(CALL_openat);
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int fd = open_in(folder, path, flags, more);
    va_end(more);
    return fd;
}

int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int fd = open_in(AT_FDCWD, path, flags, more);
    va_end(more);
    return fd;
}

int dprintf(int fd, const char *format, ...)
{
    va_list more;
    va_start(more, format);
    enter(CALL_write);
    int length = vdprintf(fd, format, more);
    va_end(more);
    return length;
}

long syscall(long number, ...)
{
    static long (*next)(long number, ...);
    long with[6];
    va_list more;
    va_start(more, number);
    for (size_t i = 0; i < sizeof(with) / sizeof(*with); i++)
        with[i] = va_arg(more, long); /* those that were not given are not used */
    va_end(more);
    if (number == SYS_openat2)
        enter(CALL_openat2);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "syscall");
    return next(number, with[0], with[1], with[2], with[3], with[4], with[5]);
}
