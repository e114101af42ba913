/* SPDX-License-Identifier: Apache-2.0
 *
 * Who waits for whom around a cut, for SPIN. README.md lists the rules; -DNO_R4, -DNO_R5 leave one
 * out. One device, all of whose changes overlap. Layer OLD is slow, and may never answer.
 *
 *     connection A   its thread --inline, or queue--> two threads of the pool
 *     connection B   its thread
 *
 *     COPY    an unaligned write: on NEW it waits for the changes in flight on OLD (R3)
 *     PLAIN   an aligned one
 *     FLUSH   on NEW takes io_lock exclusively for an instant; later requests wait behind it
 *
 * When nothing moves any more, everything is answered, if OLD did answer. If it did not, all else
 * is, but for what R3 lets wait and what is queued behind that on the same connection.
 */
#define TASKS   3 /* of connection A */
#define CALLS   2 /* of connection B */
#define WORKERS 2

#define OLD 1
#define NEW 2

mtype = { COPY, PLAIN, FLUSH };
mtype = { IDLE, BUSY, IN_R3, ON_DISK };

bool epoch, is_sealed;
byte old_changes;            /* in the list, of OLD */
byte sharers;                /* of NEW's io_lock */
bool is_wanted;              /* exclusively, too */
byte answered;
mtype doing[WORKERS + 1] = IDLE;
chan queue = [TASKS] of { mtype, byte }; /* the layer that it is in the list for, or 0 */

inline enter() {
    atomic { l = (epoch -> NEW : OLD); old_changes = old_changes + (l == OLD) }
}

inline leave() {
    atomic { old_changes = old_changes - (l == OLD); l = 0; answered++ }
}

inline io_lock_share() {
    atomic { !is_wanted -> sharers++ }
}

inline wait_r3() {
    doing[me] = IN_R3;
    atomic { old_changes == 0 -> doing[me] = BUSY }
}

inline execute() {
    doing[me] = BUSY;
    if
    :: l == 0 -> enter()
    :: else
    fi;
    if
    :: l == OLD ->
        doing[me] = ON_DISK;
        if
        :: doing[me] = BUSY
        :: true -> false /* OLD never answers */
        fi
    :: l == NEW && kind == COPY ->
#ifdef NO_R4
        io_lock_share();
        wait_r3();
#else
        wait_r3();
        io_lock_share();
#endif
        sharers--
    :: l == NEW && kind == PLAIN -> io_lock_share(); sharers--
    :: l == NEW && kind == FLUSH ->
        is_wanted = true;
        atomic { sharers == 0 -> is_wanted = false }
    fi;
    leave();
    doing[me] = IDLE
}

inline choose() {
    if :: kind = COPY :: kind = PLAIN fi
}

proctype worker(byte me) {
    mtype kind;
    byte l;
    do
    :: queue ? kind, l -> execute()
    od
}

active proctype connection_a() {
    mtype kind;
    byte l, tasks;
    do
    :: tasks == TASKS -> break
    :: tasks < TASKS ->
        tasks++; choose();
        if
        :: skip
        :: enter(); /* inline */
            if
            :: l == OLD || kind == PLAIN -> leave(); goto next /* it waited for nothing */
            :: skip /* EAGAIN */
            fi;
#ifndef NO_R5
            atomic { old_changes = old_changes - (l == OLD); l = 0 }
#endif
        fi;
        atomic { queue ! kind, l; l = 0 }
next:   skip
    od
}

proctype connection_b(byte me) {
    mtype kind;
    byte l, calls;
    do
    :: calls == CALLS -> break
    :: calls < CALLS ->
        calls++;
        if
        :: kind = PLAIN
        :: atomic { epoch -> kind = FLUSH } /* one of OLD waits for OLD, cut or not */
        fi;
        execute()
    od
}

active proctype cutter() {
    epoch = true;
    old_changes == 0;
    is_sealed = true
}

#define IS_EXCUSED(me) (doing[me] == IN_R3 || doing[me] == ON_DISK)
active proctype judge() {
    byte i;
    atomic {
        run worker(0); run worker(1); run connection_b(2)
    }
    timeout;
    if
    :: doing[0] != ON_DISK && doing[1] != ON_DISK && doing[2] != ON_DISK ->
        assert(is_sealed && answered == TASKS + CALLS) /* ends */
    :: else ->
        assert(doing[0] != BUSY && doing[1] != BUSY && doing[2] != BUSY); /* waits */
        assert(empty(queue) || (IS_EXCUSED(0) && IS_EXCUSED(1)))          /* waits */
    fi
}
