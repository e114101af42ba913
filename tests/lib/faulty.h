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

/* The next creation of an overlay on `backing`, and the next open of an image whose path ends in
 * `suffix`, fails once with this errno; NULL: none does. */
void faulty_fail_create(const char *backing, int errnum);
void faulty_fail_open(const char *suffix, int errnum);

/* fdatasync of images whose path ends in `suffix` fails with `errnum` from now on; NULL: never. */
void faulty_fail_sync(const char *suffix, int errnum);

/* Flushes of such images fail before anything is synced, from now on; NULL: never. */
void faulty_fail_flush(const char *suffix, int errnum);

/* Writes to images whose path ends in `suffix` stop inside the driver until
 * faulty_let_writes_go(). */
void faulty_hold_writes(const char *suffix);
void faulty_let_writes_go(void);
void faulty_fail_held_writes(int errnum); /* those that are held fail when they are let go */
void faulty_wait_held(int count); /* until that many writes are held; fails the test after 60 s */

/* Writes to images whose path ends in `suffix` change them and need room, for which there is none
 * from the first one on: `errnum`; NULL: as ever. */
void faulty_fail_room(const char *suffix, int errnum);

/* Creations of overlays on `backing` stop likewise, and count as held, until
 * faulty_let_creates_go(). */
void faulty_hold_creates(const char *backing);
void faulty_let_creates_go(void);

/* Opens of images whose path ends in `suffix` stop likewise, once the header was read, and count as
 * held. */
void faulty_hold_opens(const char *suffix);
void faulty_let_opens_go(void);

/* Flushes of images whose path ends in `suffix` stop likewise, once they are counted, until
 * faulty_let_flushes_go(). */
void faulty_hold_flushes(const char *suffix);
void faulty_let_flushes_go(void);
void faulty_wait_flushes(const char *suffix, int count); /* until that many were counted; or 60 s */

/* How many flushes reached images whose path ends in `suffix` since the reset. */
int faulty_flushes(const char *suffix);

#endif
