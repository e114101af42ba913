/* SPDX-License-Identifier: Apache-2.0
 *
 * A shortage of descriptors or memory, whatever it kept from being done, is OutOfResources: 503 and
 * worth trying again. Other causes change no code, and one that is retryable stays.
 */
#include "tests/lib/testlib.h"

#include "base/err.h"

#include <errno.h>
#include <string.h>

static const struct fixture fixture = {0}; /* none */

TEST(shortages_become_one_code)
{
    static const int shortages[] = {EMFILE, ENFILE, ENOMEM};
    static const enum err_code codes[] = {ErrOpenFileFailed, ErrInvalidBlockFormat,
                                          ErrInternalError, ErrOutOfResources};
    for (size_t i = 0; i < sizeof(shortages) / sizeof(*shortages); i++)
        for (size_t j = 0; j < sizeof(codes) / sizeof(*codes); j++) {
            struct err err;
            assert_int_equal(err_set(&err, codes[j], shortages[i], "image 'a' cannot be opened"),
                             -1);
            assert_string_equal(err_code_name(err.code), "OutOfResources");
            assert_int_equal(err_code_status(err.code), 503);
            assert_true(err_code_retryable(err.code));
            assert_int_equal(err.errnum, shortages[i]);
            assert_non_null(strstr(err.message, strerror(shortages[i])));
        }
}

TEST(other_causes_stay)
{
    static const int causes[] = {0, ENOENT, EACCES, ENOSPC, EIO};
    struct err err;
    for (size_t i = 0; i < sizeof(causes) / sizeof(*causes); i++) {
        err_set(&err, ErrOpenFileFailed, causes[i], "image 'a' cannot be opened");
        assert_int_equal(err.code, ErrOpenFileFailed);
    }
    /* Whether a commit took place is unknown: callers have to know (store.h). */
    err_set(&err, ErrStoreFailed, ENOMEM, "the commit failed");
    assert_int_equal(err.code, ErrStoreFailed);
    /* A sync is not tried again, whatever it failed with. */
    err_set(&err, ErrUnflushedData, ENOMEM, "image 'a' could not be made durable");
    assert_int_equal(err.code, ErrUnflushedData);
}
