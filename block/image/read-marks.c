/* SPDX-License-Identifier: Apache-2.0
 *
 * See read-marks.h. A disk that becomes larger has its new end in the last part.
 */
#include "block/image/read-marks.h"

#include <stdlib.h>

enum { PART_SHIFT_MIN = 18, PARTS_MAX = 1 << 15, WORD_BITS = 64 };

struct read_marks {
    unsigned shift; /* a part has 1 << shift bytes */
    _Atomic uint64_t words[PARTS_MAX / WORD_BITS];
};

/* Those of the node, made if it has none. NULL when memory is short. */
static struct read_marks *marks_of(struct node *node)
{
    struct read_marks *marks = atomic_load_explicit(&node->read_marks, memory_order_acquire);
    struct read_marks *none = NULL;
    if (marks || !(marks = calloc(1, sizeof(*marks))))
        return marks;
    for (marks->shift = PART_SHIFT_MIN; node->size_bytes >> marks->shift > PARTS_MAX;)
        marks->shift++;
    if (atomic_compare_exchange_strong(&node->read_marks, &none, marks))
        return marks;
    free(marks); /* another thread was faster */
    return none;
}

static uint64_t marks_part(const struct read_marks *marks, uint64_t at)
{
    uint64_t part = at >> marks->shift;
    return part < PARTS_MAX ? part : PARTS_MAX - 1;
}

static bool marks_have(const struct read_marks *marks, uint64_t part)
{
    uint64_t word = atomic_load_explicit(&marks->words[part / WORD_BITS], memory_order_relaxed);
    return word >> part % WORD_BITS & 1;
}

void read_marks_set(struct node *node, uint64_t offset, uint64_t length)
{
    struct read_marks *marks =
        atomic_load_explicit(&node->read_only, memory_order_relaxed) ? marks_of(node) : NULL;
    if (!marks)
        return;
    const uint64_t last = marks_part(marks, offset + length - 1);
    for (uint64_t part = marks_part(marks, offset); part <= last; part++)
        if (!marks_have(marks, part))
            atomic_fetch_or_explicit(&marks->words[part / WORD_BITS],
                                     UINT64_C(1) << part % WORD_BITS, memory_order_relaxed);
}

bool read_marks_has(const struct node *node, uint64_t offset, uint64_t length)
{
    const struct read_marks *marks = atomic_load_explicit(&node->read_marks, memory_order_acquire);
    if (!marks)
        return false;
    const uint64_t last = marks_part(marks, offset + length - 1);
    uint64_t part = marks_part(marks, offset);
    while (part < last && !marks_have(marks, part))
        part++;
    return marks_have(marks, part);
}
