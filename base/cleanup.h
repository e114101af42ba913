/* SPDX-License-Identifier: Apache-2.0
 *
 * Scope-bound release of what a function acquires. An acquisition and its CLEANUP_ attribute are on
 * one line, and the variable is always initialised:
 *
 *     CLEANUP_FREE char *path = strdup(name);
 *     CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
 *     ...
 *     return steal_fd(&fd);            // the caller owns it now
 *
 * A room defines more in its headers, with CLEANUP_DEFINE.
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* Defines cleanup_NAME() for variables of TYPE, which calls FUNCTION unless the variable is NULL.
 */
#define CLEANUP_DEFINE(name, type, function)                                                       \
    static inline void cleanup_##name(type *p)                                                     \
    {                                                                                              \
        if (*p)                                                                                    \
            function(*p);                                                                          \
    }
#define CLEANUP(name) __attribute__((cleanup(cleanup_##name)))

/* For structs that a function of their own address releases. */
#define CLEANUP_BY(function) __attribute__((cleanup(function)))

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_unlock(pthread_mutex_t **lock)
{
    if (*lock)
        pthread_mutex_unlock(*lock);
}

#define CLEANUP_FREE  __attribute__((cleanup(cleanup_free)))
#define CLEANUP_CLOSE __attribute__((cleanup(cleanup_close)))

/* Holds `lock` until the enclosing scope ends. */
#define LOCK_GUARD(lock)          LOCK_GUARD_NAMED(lock, __COUNTER__)
#define LOCK_GUARD_NAMED(lock, n) LOCK_GUARD_PASTED(lock, n)
#define LOCK_GUARD_PASTED(lock, n)                                                                 \
    __attribute__((cleanup(cleanup_unlock), unused)) pthread_mutex_t *lock_guard_##n =             \
        (pthread_mutex_lock(lock), (lock))

/* Hands a pointer over: returns it and leaves NULL behind. */
#define steal(p)                                                                                   \
    ({                                                                                             \
        __typeof__(p) *slot_ = &(p);                                                               \
        __typeof__(p) value_ = *slot_;                                                             \
        *slot_ = NULL;                                                                             \
        value_;                                                                                    \
    })

/* Hands a file descriptor over: returns it and leaves -1 behind. */
static inline int steal_fd(int *fd)
{
    int value = *fd;
    *fd = -1;
    return value;
}

#endif
