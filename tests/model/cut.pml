/* SPDX-License-Identifier: Apache-2.0
 *
 * The cut, for SPIN: every interleaving of two clients, two disks and CUTS cuts. README.md lists
 * the promises, which are asserted, and the rules that keep them; -DNO_name leaves a rule out.
 *
 *     disk 0  one copy unit of two sectors      disk 1  one sector: nothing is ever copied there
 *     layer 0 the base                          layer 1 the top at first; 2, 3 the cuts' overlays
 *
 *     cut:    arm every overlay --> store the epoch (THE CUT) --> each disk by itself:
 *             LIVE --seal--> SEALED --settle--> SETTLED
 *     change: enter the list and look at the top --> wait (R3) --> copy --> land --> leave, answer
 *     read:   look in the index --> read where it says, or walk down from the top
 *     fill:   walk down from the top; keep the result unless the index was told of a change
 *     flush:  flush the layer below the top, then the top
 *
 * The first client makes two requests of any kind, one at a time, and the second SECOND. A zero
 * covers disk 0 as a whole and frees its cluster. These requests stand for others:
 *
 *     an aligned write     is a zero that frees nothing
 *     a write with FUA     is a write and a flush
 *     a read that misses   is a fill and a read
 *
 * With -DROOM a change whose data are in the file may find no room for its tables: it leaves the
 * list and begins again, whole. A change that fails is one that ends there.
 *
 * A change has a number. Sets of changes are bits by number; 0 is what the disks held at first.
 * Steps are joined where the code holds a lock, and where whatever could come between them only
 * makes an assertion weaker.
 */
#ifndef CUTS
#define CUTS 1
#endif
#ifndef SECOND
#define SECOND 1
#endif
#define FIRST       2
#define CHANGES     (FIRST + SECOND)
#define LAYERS      (CUTS + 2)
#define NEVER       255
#define BIT(n)      (1 << (n))
#define MAX(a, b)   ((a) > (b) -> (a) : (b))
#define WHOLE       3               /* disk 0; a mask has a bit for each sector */
#define DISK(mask)  ((mask) / 4)
#define OF(l, d)    ((l) * 2 + (d)) /* the part of a layer that belongs to a disk */
#define CELL(l, x)  ((l) * 3 + (x)) /* sector x: 0 and 1 of disk 0, 2 of disk 1 */

/* ---- the state of the code ---- */

#define LIVE    0
#define SEALED  1 /* no change of it is in the list, nor ever will be */
#define SETTLED 2 /* durable and read-only */

#define BELOW 0 /* how a layer maps the unit */
#define ZEROS 1
#define DATA  2

#define LOST 255 /* in `reading`: the place has been freed */

typedef listed_change {
    byte node, mask /* node 0: not in the list */
};

byte epoch, above_at[LAYERS * 2] = NEVER;
byte state[LAYERS * 2], unit[LAYERS * 2], content[LAYERS * 3];
bool is_locked[LAYERS];   /* range lock of disk 0 */
listed_change changes[2]; /* by client */
byte index[2];            /* by disk: 1 + the layer that has the unit, or 0 */
byte filling[2];          /* by client: 1 + disk, until the index is told of a change there */
byte reading[2];          /* by client: 1 + the layer of disk 0 that is read without io_lock */

/* ---- what the assertions need ---- */

byte newest = 1;                      /* side of the newest change, or cut, that anybody knows */
byte side[CHANGES + 1];
byte before[CHANGES + 1];             /* those of its sectors that were answered as it arrived */
byte answered[3] = 1, overwritten[3]; /* by sector */
byte landed, durable = 1;
byte finished;                        /* clients */
#ifdef NO_R7_EACH
bool was_flushed;
#endif
#ifdef NO_R13
bool is_passed[LAYERS * 2];
#endif

#define IS_LISTED(c, l, m) (changes[c].node == (l) && (changes[c].mask & (m)))
#define IN_FLIGHT(l, m)    (IS_LISTED(0, l, m) || IS_LISTED(1, l, m))

/* ---- the top ---- */

/* l = the top of disk d. */
inline top_now() {
    l = 1;
    do
    :: l + 1 < LAYERS && above_at[OF(l, d)] <= epoch -> l++
    :: else -> break
    od
}

/* i = the content of sector x as layer k shows it. */
inline see(k) {
    at = k;
    do
    :: unit[OF(at, x / 2)] != BELOW -> break
    :: else -> at--
    od;
    i = content[CELL(at, x)]; at = 0
}

/* The index forgets the unit; who is filling it keeps nothing. */
inline tell() {
    if
#ifdef NO_R8
    :: above_at[OF(l, d)] != NEVER
#endif
    :: else ->
        index[d] = 0;
        if :: filling[0] == d + 1 -> filling[0] = 0 :: else fi;
        if :: filling[1] == d + 1 -> filling[1] = 0 :: else fi
    fi
}

inline flush_layer(k) {
    i = 1;
    do
    :: i > CHANGES -> break
    :: else ->
        if :: landed & BIT(i) && side[i] == k -> durable = durable | BIT(i) :: else fi;
        i++
    od;
    i = 0
}

/* ---- changes ---- */

#define QUOTA  (me == 0 -> FIRST : SECOND)
#define number (me * FIRST + requests) /* of the change that is this request */

#if defined(NO_R3)
#define MAY_COPY true
#elif defined(NO_R3_UNIT)
#define MAY_COPY !IN_FLIGHT(l - 1, mask)
#else
#define MAY_COPY !IN_FLIGHT(l - 1, WHOLE)
#endif

inline change_enter() {
    atomic {
        top_now();
#ifdef NO_R2
    }
    atomic {
#endif
        changes[me].node = l; changes[me].mask = mask;
        landed = landed & ~BIT(number); durable = durable & ~BIT(number);
        side[number] = l; assert(l >= floor) /* closed */
    }
}

inline place_free() {
    if :: reading[0] == l + 1 -> reading[0] = LOST :: else fi;
    if :: reading[1] == l + 1 -> reading[1] = LOST :: else fi
}

/* The data are in the file and the tables lead to them. */
inline change_land() {
    d_step {
        assert(state[OF(l, d)] == LIVE); /* frozen; and no client sees an error */
        if
        :: mask == WHOLE ->
            if :: unit[OF(l, 0)] == DATA -> place_free() :: else fi;
            if :: unit[OF(l, 0)] != ZEROS -> tell() :: else fi;
            unit[OF(l, 0)] = ZEROS;
            content[CELL(l, 0)] = number; content[CELL(l, 1)] = number
        :: mask != WHOLE ->
            if
            :: unit[OF(l, d)] != DATA ->
                tell();
                unit[OF(l, d)] = DATA;
                if :: d == 0 -> content[CELL(l, 2 - mask)] = copy :: else fi
            :: else
            fi;
            content[CELL(l, mask / 2)] = number
        fi;
        landed = landed | BIT(number); copy = 0
    }
}

inline change_make() {
    change_enter();
    if
    :: atomic { mask == 4 || (mask == WHOLE && !is_locked[l]) -> change_land() }
    :: atomic { mask < WHOLE && MAY_COPY && unit[OF(l, 0)] == DATA -> change_land() }
    :: atomic {
            mask < WHOLE && MAY_COPY && unit[OF(l, 0)] != DATA && !is_locked[l] ->
            is_locked[l] = true; at = l
        }
        do
        :: atomic { unit[OF(at, 0)] != BELOW -> copy = content[CELL(at, 2 - mask)]; break }
        :: else -> at--
        od;
        atomic { at = 0; change_land(); is_locked[l] = false }
    fi
}

inline change_answer(x) {
    if
    :: mask & BIT(x) ->
        answered[x] = answered[x] | BIT(number);
        overwritten[x] = overwritten[x] | before[number]
    :: else
    fi
}

/* Of `mask`. It has arrived. */
inline change() {
    change_make();
#ifdef ROOM
    if
    :: changes[me].node = 0 -> change_make()
    :: skip
    fi;
#endif
    atomic {
        changes[me].node = 0; changes[me].mask = 0;
        newest = MAX(newest, l);
        change_answer(0); change_answer(1); change_answer(2);
        floor = 0; l = 0; d = 0; mask = 0
    }
}

/* ---- reads, fills and flushes ---- */

#if defined(NO_R9)
#define IS_STABLE_BEFORE true
#define IS_STABLE_AFTER  true
#elif defined(NO_R9_ORDER)
#define IS_STABLE_BEFORE true
#define IS_STABLE_AFTER  (state[OF(at, d)] != LIVE)
#else
#define IS_STABLE_BEFORE (state[OF(at, d)] != LIVE)
#define IS_STABLE_AFTER  true
#endif

/* Of sector x, from layer `at`. */
inline read_answer() {
    copy = content[CELL(at, x)];
    assert(!(stale & BIT(copy))); /* live */
    newest = MAX(newest, side[copy]);
    overwritten[x] = overwritten[x] | before[copy];
    at = 0; stale = 0; copy = 0; l = 0; d = 0; x = 0
}

inline read() {
    atomic {
        stale = overwritten[x]; top_now();
        if
        :: index[d] == 0 -> at = l
        :: index[d] != 0 ->
            at = index[d] - 1;
            if
            :: at == l || unit[OF(at, d)] == ZEROS -> /* io_lock is held; zeros have no place */
                read_answer(); goto next
            :: at != l && unit[OF(at, d)] != ZEROS && IS_STABLE_BEFORE -> reading[me] = at + 1
            :: else -> at = l
            fi
        fi
    }
    if
    :: atomic {
            reading[me] != 0 && IS_STABLE_AFTER ->
            assert(reading[me] != LOST); /* live: another one's data may be there by now */
            reading[me] = 0; read_answer(); goto next
        }
    :: else -> d_step { reading[me] = 0; at = l }
    fi;
    do
    :: atomic { unit[OF(at, d)] != BELOW -> read_answer(); break }
    :: else -> at--
    od
}

inline fill_keep() {
    if :: filling[me] != 0 -> index[d] = at + 1 :: else fi;
    filling[me] = 0; at = 0; l = 0; d = 0
}

inline fill() {
#ifdef NO_R10
    atomic { top_now(); at = l }
    filling[me] = d + 1;
#else
    atomic { filling[me] = d + 1; top_now(); at = l }
#endif
    do
#ifdef NO_R13
    :: atomic {
            unit[OF(at, d)] == BELOW || is_passed[OF(at, d)] ->
            if :: at < l -> is_passed[OF(at, d)] = true :: else fi;
            at--
        }
#else
    :: unit[OF(at, d)] == BELOW -> at--
#endif
    :: atomic { else -> fill_keep(); break }
    od
}

/* Whatever it flushes later than this covers more. */
inline flush() {
    stale = answered[0] | answered[1]; d = 0; top_now();
#if defined(NO_R7_EACH)
    if :: l > 1 && was_flushed :: else -> flush_layer(l - 1) fi;
    was_flushed = l > 1;
#elif !defined(NO_R7)
    flush_layer(l - 1);
#endif
    flush_layer(l);
    assert(!(stale & ~durable)); /* durable */
    stale = 0; l = 0
}

/* ---- the cut ---- */

inline arm(d) {
    above_at[OF(k, d)] = at
}

/* The store, and from here on somebody may know of it. */
inline epoch_store() {
    atomic { epoch = at; newest = MAX(newest, k + 1) }
}

inline cut() {
    at = epoch + 1;
    arm(0);
#ifdef NO_R1
    epoch_store();
    arm(1);
#else
    arm(1);
    epoch_store();
#endif
    at = 0
}

#ifdef NO_R6
#define IS_IDLE(d) true
#else
#define IS_IDLE(d) !IN_FLIGHT(k, (d == 0 -> WHOLE : 4))
#endif

/* content: of the changes on this side that were answered, none is missing but those that another
 * one overwrote. */
inline snapshot_check(d) {
    x = d * 2;
    do
    :: x > d + 1 -> break
    :: else ->
        see(k);
        w = 1;
        do
        :: w > CHANGES -> break
        :: else ->
            assert(!(answered[x] & BIT(w)) || side[w] > k || !(before[w] & BIT(i)));
            w++
        od;
        x++
    od;
    x = 0; w = 0; i = 0
}

#ifdef NO_R12
#define MAY_SETTLE(d) (state[OF(k, d)] != SETTLED)
#else
#define MAY_SETTLE(d) (state[OF(k, d)] == SEALED)
#endif

inline seal_and_settle() {
    do
    :: atomic {
            state[OF(k, 0)] == LIVE && IS_IDLE(0) ->
            state[OF(k, 0)] = SEALED; snapshot_check(0)
        }
    :: atomic {
            state[OF(k, 1)] == LIVE && IS_IDLE(1) ->
            state[OF(k, 1)] = SEALED; snapshot_check(1)
        }
    :: atomic { MAY_SETTLE(0) -> flush_layer(k); state[OF(k, 0)] = SETTLED }
    :: atomic { MAY_SETTLE(1) -> state[OF(k, 1)] = SETTLED }
    :: state[OF(k, 0)] == SETTLED && state[OF(k, 1)] == SETTLED -> break
    od
}

/* At the end: what the disks hold is what was answered, and the index leads there. */
inline disks_check() {
    x = 0;
    do
    :: x == 3 -> break
    :: else ->
        see(LAYERS - 1);
        assert(!(overwritten[x] & BIT(i))); /* live */
        d = x / 2; at = LAYERS - 1;
        do
        :: unit[OF(at, d)] != BELOW -> break
        :: else -> at--
        od;
        assert(index[d] == 0 || index[d] == at + 1); /* index */
        x++
    od;
    x = 0; i = 0; d = 0; at = 0
}

/* ---- processes ---- */

proctype client(byte me) {
    byte requests, mask, d, x, l, at, floor, copy, stale, i;
next:
    do
    :: atomic {
            requests < QUOTA -> requests++; floor = newest;
            if :: mask = 1 :: mask = 2 :: mask = 4 :: mask = WHOLE fi;
            d = DISK(mask);
            before[number] = (mask & 1 -> answered[0] : 0) | (mask & 2 -> answered[1] : 0) |
                             (mask & 4 -> answered[2] : 0)
        }
        change()
    :: atomic { requests < QUOTA -> requests++; if :: x = 0 :: x = 1 :: x = 2 fi; d = x / 2 }
        read()
    :: atomic { requests < QUOTA -> requests++; if :: d = 0 :: d = 1 fi }
        fill()
    :: d_step { requests < QUOTA -> requests++; flush() }
    :: requests == QUOTA -> break
    od;
    finished++
}

init {
    byte k = 1, d, x, w, at, i;
    atomic {
        state[OF(0, 0)] = SETTLED; state[OF(0, 1)] = SETTLED;
        unit[OF(0, 0)] = DATA; unit[OF(0, 1)] = DATA;
        if
        :: unit[OF(1, 0)] = DATA; index[0] = 2 /* the top has the unit, and the index says so */
        :: skip
        fi;
        run client(0); run client(1)
    }
    do
    :: k > CUTS -> break
    :: else ->
        cut();
#ifdef NO_R11
        if :: k < CUTS :: else -> seal_and_settle() fi;
#else
        seal_and_settle();
#endif
        k++
    od;
    finished == 2;
    d_step { disks_check() }
}
