/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of which parts are holes, and whose end lies past that of the file, is read as if it had
 * been read whole; an entry that a block of the file system splits off is not lost.
 */
#include "block/format/qcow2/tables.h"
#include "tests/lib/testlib.h"

#include <fcntl.h>
#include <unistd.h>

enum { OFFSET = 65536, ENTRIES = 100000, FILE_ENTRIES = 70001 };

static const uint64_t places[] = {0, 511, 512, 8191, 40000, FILE_ENTRIES - 1};

static void expect_word(const uint64_t *table, uint64_t place, uint64_t value)
{
    assert_int_equal(table[place], value);
}

static const struct fixture fixture = {.begin = scratch_begin, .end = scratch_end};

TEST(holes_are_zeros)
{
    CLEANUP_CLOSE int fd = open("table", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CLEANUP_FREE uint64_t *table = NULL;
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        uint64_t word = htobe64(places[i] + 1);
        assert_int_equal(pwrite(fd, &word, 8, OFFSET + (off_t)places[i] * 8), 8);
        sum += places[i] + 1;
    }
    assert_int_equal(ftruncate(fd, OFFSET + FILE_ENTRIES * 8), 0);
    assert_int_equal(qcow2_table_load(fd, OFFSET, ENTRIES, &table), 0);
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++)
        expect_word(table, places[i], places[i] + 1);
    for (size_t i = 0; i < ENTRIES; i++)
        sum -= table[i];
    assert_int_equal(sum, 0);
}

TEST(a_table_may_be_a_hole_or_past_the_end)
{
    CLEANUP_CLOSE int fd = open("table", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CLEANUP_FREE uint64_t *hole = NULL;
    CLEANUP_FREE uint64_t *past = NULL;
    CLEANUP_FREE uint64_t *none = NULL;
    assert_int_equal(ftruncate(fd, 2 * OFFSET), 0);
    assert_int_equal(qcow2_table_load(fd, OFFSET, OFFSET / 8, &hole), 0);
    assert_int_equal(qcow2_table_load(fd, 8 * OFFSET, OFFSET / 8, &past), 0);
    assert_int_equal(qcow2_table_load(fd, 0, 0, &none), 0);
    assert_non_null(none);
    for (size_t i = 0; i < OFFSET / 8; i++)
        assert_int_equal(hole[i] | past[i], 0);
}
