/* SPDX-License-Identifier: Apache-2.0
 *
 * A driver that fails on request. faulty_install() registers it under the name "qcow2": it calls
 * the real driver except for the faults that a test sets. One set of faults per process.
 */
#ifndef TESTS_FAULTY_H
#define TESTS_FAULTY_H

#include "block/image/driver.h"

void faulty_install(void);

/* No faults, counters at zero. */
void faulty_reset(void);

/* The Nth call from now on (1: the next) fails once with this errno; N 0: never. */
void faulty_fail_create(int nth, int errnum);
void faulty_fail_open(int nth, int errnum);

/* fdatasync of images whose path ends in `suffix` fails with `errnum` from now on; NULL: never. */
void faulty_fail_sync(const char *suffix, int errnum);

/* Flushes of such images fail before anything is synced, from now on; NULL: never. */
void faulty_fail_flush(const char *suffix, int errnum);

/* Writes to images whose path ends in `suffix` stop inside the driver until
 * faulty_let_writes_go(). */
void faulty_hold_writes(const char *suffix);
void faulty_let_writes_go(void);
void faulty_wait_held(int count); /* until that many writes are held; fails the test after 60 s */

/* Flushes of images whose path ends in `suffix` stop likewise, once they are counted, until
 * faulty_let_flushes_go(). */
void faulty_hold_flushes(const char *suffix);
void faulty_let_flushes_go(void);
void faulty_wait_flushes(const char *suffix, int count); /* until that many were counted; or 60 s */

/* How many flushes reached images whose path ends in `suffix` since the reset. */
int faulty_flushes(const char *suffix);

#endif
