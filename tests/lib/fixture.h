/* SPDX-License-Identifier: Apache-2.0
 *
 * A test program is a file of TEST()s, which run in the order in which they stand in it; main() is
 * in fixture.c. The file names its fixture once, before the first test:
 *
 *     static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};
 *
 *     TEST(the_first_failing_member_is_reported)
 *     {
 *         struct block *block = *state;
 *         ...
 *     }
 *
 * A test that needs another fixture than the others names it: TEST_ON(no_locks, ...).
 */
#ifndef TESTS_FIXTURE_H
#define TESTS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
    CMFixtureFunction begin_all, end_all; /* once in a program; one pair for all its fixtures */
    CMFixtureFunction begin, end;         /* for each test; they set and free its `*state` */
    void *state;                          /* what `begin` finds in `*state` */
};

#define TEST(name) TEST_ON(fixture, name)
#define TEST_ON(its_fixture, name)                                                                 \
    static void name(void **state);                                                                \
    __attribute__((constructor)) static void name##_register(void)                                 \
    {                                                                                              \
        test_register(#name, name, &(its_fixture));                                                \
    }                                                                                              \
    static void name(__attribute__((unused)) void **state)

/* Before main() only. */
void test_register(const char *name, CMUnitTestFunction function, const struct fixture *fixture);

#endif
