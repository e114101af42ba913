/* SPDX-License-Identifier: Apache-2.0
 *
 * A record of a journal, and its stamp: see journal.h.
 */
#ifndef BLOCK_IMAGE_JOURNAL_RECORD_H
#define BLOCK_IMAGE_JOURNAL_RECORD_H

#include <stdint.h>

struct journal_record {
    uint64_t place;
    uint64_t old[2], new[2];
    uint64_t check; /* over all but new[1], and over the record's number */
};

enum { JOURNAL_STAMP_BYTES = 16 }; /* journal_stamp() */

#endif
