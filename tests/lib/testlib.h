/* SPDX-License-Identifier: Apache-2.0
 *
 * What the C tests of the block layer share. Expected values never come from the code under test:
 * they come from qemu-img and qemu-io (shell.c) or from a flat array of bytes that every operation
 * is applied to as well (flat.c, exercise.c).
 *
 *     shell.c     the scratch directory; commands run in it; nodes opened beneath it
 *     flat.c      a flat reference disk
 *     random.c    a seeded generator, so that every run can be repeated
 *     images.c    qcow2 images with chosen or random options, made and filled by QEMU's tools
 *     exercise.c  random requests to a node and to its flat reference
 *
 * A failed expectation ends the test through cmocka, so everything here is for the test's main
 * thread only unless it says otherwise. Memory that a failed test leaves behind is not freed.
 */
#ifndef TESTS_TESTLIB_H
#define TESTS_TESTLIB_H

#include "base/cleanup.h"
#include "base/err.h"
#include "block/format/qcow2/driver-qcow2.h"
#include "block/format/raw.h"
#include "block/image/amend.h"
#include "block/image/chain.h"
#include "block/image/file-io.h"
#include "block/image/freeze.h"
#include "tests/lib/fixture.h"

/* Whether a sanitizer slows this program down: such runs do fewer rounds of the same. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#define TEST_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define TEST_SANITIZED 0
#endif

/* ---- the scratch directory ---- */

/* Group set-up and tear-down for cmocka: makes a directory, opens it as image directory, enters it;
 * then removes it. In memory (/dev/shm) where that has room: the tests are about content, not about
 * disks. */
int scratch_begin(void **state);
int scratch_end(void **state);

const char *scratch_dir(void); /* its canonical absolute path */
const struct image_dir *scratch_images(void);

/* Heap: the absolute path of `name` in the scratch directory. */
char *scratch_path(const char *name);

/* Makes `pki` in the scratch directory, with certificates.sh. */
void pki_create(void);

/* ---- commands ---- */

/* Runs a shell command in the scratch directory. shell() expects status 0; shell_status() returns
 * the status; shell_output() expects status 0 and returns standard output and error (heap). */
void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
int shell_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *shell_output(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How many descriptors of this process are of files of that name. */
unsigned descriptors_of(const char *name);

/* The unsigned number in the environment variable `name`, or `fallback`. */
uint64_t environment_number(const char *name, uint64_t fallback);

/* ---- nodes ---- */

/* chain_open() beneath the scratch directory; an error fails the test with its message. */
struct node *chain_must_open(const char *name, const char *format, bool read_only);

/* Expects the open to fail with `code` and a message that contains every one of the `words`, a list
 * that ends with NULL. */
void chain_must_refuse(const char *name, const char *format, bool read_only, enum err_code code,
                       const char *const *words);
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Creates `name` with the driver's own create() and opens it on `backing` (NULL: none). */
struct node *overlay_must_create(const char *name, const struct image_spec *spec,
                                 struct node *backing);

/* Flushes, expects success, and drops the reference; leaves NULL behind. */
void node_must_close(struct node **node);

/* ---- starts with journals, in "run" of the scratch directory ---- */

struct block;

/* How the daemon begins a start; the block layer stays open. */
struct block *journals_must_open(void);

/* A start and an end: whatever journals there are, their images take them. */
int journals_settle(void);

/* ---- the seeded generator (any thread, each its own) ---- */

struct random {
    uint64_t state;
};
struct random random_seeded(uint64_t seed);
uint64_t random_next(struct random *random);
uint64_t random_below(struct random *random, uint64_t limit);                /* 0 if limit is 0 */
uint64_t random_between(struct random *random, uint64_t low, uint64_t high); /* both included */
bool random_chance(struct random *random, unsigned percent);
void random_fill(struct random *random, void *buf, uint64_t length);

/* ---- flat references ---- */

struct flat {
    unsigned char *bytes;
    uint64_t size_bytes;
};
struct flat *flat_new(uint64_t size_bytes);                           /* zeros */
struct flat *flat_copy(const struct flat *from, uint64_t size_bytes); /* cut, or longer by zeros */
struct flat *flat_load(const char *name); /* a file of the scratch directory */
void flat_save(const struct flat *flat, const char *name);
void flat_free(struct flat *flat);
CLEANUP_DEFINE(flat, struct flat *, flat_free)

/* The first offset at which the two differ, or `length`. Any thread. */
uint64_t bytes_first_difference(const void *a, const void *b, uint64_t length);
bool bytes_are_zero(const void *buf, uint64_t length);

/* What a thread fails with: the first thing that went wrong; "wrong bytes" if `ret` is 0. */
enum { FAILURE_BYTES = 160 };
void failure_note(char failure[FAILURE_BYTES], unsigned thread, const char *verb, uint64_t offset,
                  int ret);

/* Reads the whole node in pieces and expects the reference's content. `what` names it in a failure.
 */
void flat_must_match_node(const struct flat *flat, struct node *node, const char *what);

/* Expects `qemu-img compare` to call the image equal to the reference. */
void flat_must_match_image(const struct flat *flat, const char *name, const char *format);

/* ---- images ---- */

struct image_options {
    uint64_t cluster_bytes;
    unsigned refcount_bits;
    bool version2, extended_l2, lazy_refcounts, zstd;
};

/* Initialisers of the combinations whose tables lie most differently. */
#define IMAGE_VARIANTS                                                                             \
    {.cluster_bytes = 512, .refcount_bits = 64}, {.cluster_bytes = 512, .refcount_bits = 1},       \
        {.cluster_bytes = 4096, .refcount_bits = 16},                                              \
        {.cluster_bytes = 4096, .refcount_bits = 16, .version2 = true},                            \
    {                                                                                              \
        .cluster_bytes = 16384, .refcount_bits = 16, .extended_l2 = true                           \
    }

/* Any legal combination on clusters of that size; cluster_bytes 0 picks one. */
struct image_options image_options_random(struct random *random, uint64_t cluster_bytes);

/* What follows -o, in a static buffer. */
const char *image_options_text(const struct image_options *options);

/* `qemu-img create`; backing NULL: none. */
void image_create(const char *name, const struct image_options *options, uint64_t size_bytes,
                  const char *backing, const char *backing_format);

/* A batch of random qemu-io requests: compressed clusters, then plain ones, zeros and discards. */
void image_fill(const char *name, uint64_t size_bytes, uint64_t cluster_bytes,
                struct random *random);

/* `qemu-img snapshot -c`; false, and the image untouched, where its refcounts are too narrow to
 * count one more reference (compressed clusters share host clusters, so that 8 bits may be too
 * few). */
bool image_snapshot(const char *name, const char *snapshot);

/* What QEMU reads from the image: the reference of an image that QEMU filled. */
struct flat *image_truth(const char *name, const char *format);

/* Expects `qemu-img check` to find neither errors nor leaks. */
void image_must_be_clean(const char *name);

/* Numbers of a header, or of any place in a file: `width` bytes, big-endian. */
uint64_t image_peek(const char *name, uint64_t offset, unsigned width);
void image_poke(const char *name, uint64_t offset, unsigned width, uint64_t value);

/* Where the header extension of this type has its data; 0 if there is none. */
uint64_t image_extension(const char *name, uint32_t type, uint32_t *length);

/* Inserts an extension in front of the first one. A backing file name that is in the way moves up.
 */
void image_extension_insert(const char *name, uint32_t type, const void *data, uint32_t length);

/* ---- random requests ---- */

enum { EXERCISE_LOG_ENTRIES = 4096 };
struct exercise {
    struct node *node;
    struct flat *flat;
    struct random random;
    uint64_t cluster_bytes; /* hot alignment */
    uint64_t last_offset;
    uint64_t count;
    const char *what; /* names the run in a failure */
    struct {
        char kind;
        uint64_t offset, length;
    } log[EXERCISE_LOG_ENTRIES];
};

/* One request of any kind, applied to both; reads are compared at once. */
void exercise_step(struct exercise *exercise);

#endif
