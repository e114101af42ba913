/* SPDX-License-Identifier: Apache-2.0
 *
 * Delays calls of its process at random, so that threads meet at moments at which they hardly ever
 * do on fast storage. Preloaded into a daemon by races.py:
 *
 *     SLOW_CALLS="fdatasync=200,100 linkat=300,40"   200 of 1000 calls, by at most 100 ms each
 *     SLOW_SEED=7
 *
 * A call is delayed before it is made, and half as often once it has been made, when others see
 * what it did before the caller knows. SQLite's calls are delayed, too.
 *
 * What the call returns, and errno, are as they would be. No call fails.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define CALLS(X)                                                                                   \
    X(fallocate64)                                                                                 \
    X(fdatasync)                                                                                   \
    X(fstat64)                                                                                     \
    X(fsync)                                                                                       \
    X(ftruncate64)                                                                                 \
    X(io_uring_submit)                                                                             \
    X(linkat)                                                                                      \
    X(openat64)                                                                                    \
    X(pread64)                                                                                     \
    X(pthread_mutex_unlock)                                                                        \
    X(pwrite64)                                                                                    \
    X(pwritev64)                                                                                   \
    X(renameat2)                                                                                   \
    X(unlinkat)

#define AS_ENUM(name) CALL_##name,
#define AS_NAME(name) #name,

enum call { CALLS(AS_ENUM) CALL_COUNT };
enum { PER_MILLE = 1000, NS_PER_MS = 1000000, MS_PER_S = 1000 };

static const char *const names[] = {CALLS(AS_NAME)};
static struct {
    unsigned per_mille, max_ms;
} delays[CALL_COUNT];
static uint64_t seed;

static void delay_set(const char *name, unsigned per_mille, unsigned max_ms)
{
    for (enum call call = 0; call < CALL_COUNT; call++)
        if (strcmp(names[call], name) == 0 && max_ms <= MS_PER_S) {
            delays[call].per_mille = per_mille;
            delays[call].max_ms = max_ms;
            return;
        }
    (void)fprintf(stderr, "SLOW_CALLS: %s=%u,%u is unknown\n", name, per_mille, max_ms);
    _exit(127);
}

__attribute__((constructor)) static void slow_calls_begin(void)
{
    const char *text = getenv("SLOW_CALLS"), *number = getenv("SLOW_SEED");
    char name[64];
    unsigned per_mille, max_ms;
    seed = number ? strtoull(number, NULL, 10) : 0;
    for (int n = 0; text && sscanf(text, " %63[^=]=%u,%u%n", name, &per_mille, &max_ms, &n) == 3;
         text += n)
        delay_set(name, per_mille, max_ms);
}

/* xorshift64; each thread has numbers of its own. */
static uint64_t draw(void)
{
    static atomic_uint_fast64_t threads;
    static _Thread_local uint64_t state;
    if (state == 0)
        state = (seed + ++threads) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void delay(enum call call, unsigned per_mille)
{
    if (per_mille == 0 || draw() % PER_MILLE >= per_mille)
        return;
    uint64_t ns = draw() % ((uint64_t)delays[call].max_ms * NS_PER_MS + 1);
    struct timespec time = {0, (long)(ns < UINT64_C(1000000000) ? ns : 999999999)};
    int kept = errno;
    nanosleep(&time, NULL);
    errno = kept;
}

#define WRAP(type, name, parameters, arguments)                                                    \
    type name parameters                                                                           \
    {                                                                                              \
        static type(*_Atomic next) parameters;                                                     \
        type(*known) parameters = next;                                                            \
        if (!known) {                                                                              \
            *(void **)&known = dlsym(RTLD_NEXT, #name);                                            \
            next = known;                                                                          \
        }                                                                                          \
        delay(CALL_##name, delays[CALL_##name].per_mille);                                         \
        type result = known arguments;                                                             \
        delay(CALL_##name, delays[CALL_##name].per_mille / 2);                                     \
        return result;                                                                             \
    }

/* As in the headers, which do not name the 64-bit ones for every build. */
struct stat64;
int fallocate64(int fd, int mode, off64_t offset, off64_t length);
int fstat64(int fd, struct stat64 *status);
int ftruncate64(int fd, off64_t length);
int openat64(int folder, const char *path, int flags, ...);
ssize_t pread64(int fd, void *data, size_t length, off64_t offset);
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset);
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset);

WRAP(int, fallocate64, (int fd, int mode, off64_t offset, off64_t length),
     (fd, mode, offset, length))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, fstat64, (int fd, struct stat64 *status), (fd, status))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, ftruncate64, (int fd, off64_t length), (fd, length))
WRAP(int, io_uring_submit, (struct io_uring * ring), (ring))
WRAP(int, linkat, (int from_folder, const char *from, int to_folder, const char *to, int flags),
     (from_folder, from, to_folder, to, flags))
WRAP(ssize_t, pread64, (int fd, void *data, size_t length, off64_t offset),
     (fd, data, length, offset))
WRAP(int, pthread_mutex_unlock, (pthread_mutex_t * mutex), (mutex))
WRAP(ssize_t, pwrite64, (int fd, const void *data, size_t length, off64_t offset),
     (fd, data, length, offset))
WRAP(ssize_t, pwritev64, (int fd, const struct iovec *parts, int count, off64_t offset),
     (fd, parts, count, offset))
WRAP(int, renameat2,
     (int from_folder, const char *from, int to_folder, const char *to, unsigned int flags),
     (from_folder, from, to_folder, to, flags))
WRAP(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags))

int openat64(int folder, const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    delay(CALL_openat64, delays[CALL_openat64].per_mille);
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    delay(CALL_openat64, delays[CALL_openat64].per_mille / 2);
    return fd;
}
