/* SPDX-License-Identifier: Apache-2.0
 *
 * See fixture.h.
 */
#include "tests/lib/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { TESTS_MAX = 64 };

static struct CMUnitTest tests[TESTS_MAX]; /* cmocka passes over those without a name */
static size_t test_count;
static struct fixture program;

void test_register(const char *name, CMUnitTestFunction function, const struct fixture *fixture)
{
    if (test_count == TESTS_MAX)
        abort();
    if (fixture->begin_all)
        program = *fixture;
    tests[test_count++] = (struct CMUnitTest){.name = name,
                                              .test_func = function,
                                              .setup_func = fixture->begin,
                                              .teardown_func = fixture->end,
                                              .initial_state = fixture->state};
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests_name(program_invocation_short_name, tests, program.begin_all,
                                       program.end_all);
}
