/* SPDX-License-Identifier: Apache-2.0
 *
 * An image gets another backing file while it is open, frozen or written to. Whenever the power
 * fails, and whichever sectors reached the disk, QEMU finds the old name with its format or the new
 * one with its own, and no error (powerdisk.h). A header that has no room is left as it is.
 *
 * The names are as long as wanted and all lead to the same file: "././././base".
 */
#include "tests/lib/powerdisk.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DISK_BYTES = 1 << 20, NAME_MAX_BYTES = 1023, CHECK_LEAKS = 3, END_BYTES = 8, RENAMES = 8 };

struct name {
    char text[NAME_MAX_BYTES + 1];
    const char *format;
};

static struct name name_of(size_t length, const char *format)
{
    struct name name = {.format = format};
    size_t padding = length - strlen("base");
    for (size_t i = 0; i < padding; i++)
        name.text[i] = i % 2 ? '/' : '.';
    if (padding % 2)
        name.text[padding - 1] = '/'; /* "././/base" */
    memcpy(name.text + padding, "base", strlen("base"));
    return name;
}

static bool info_says(const char *info, const struct name *name)
{
    char format[64];
    CLEANUP_FREE char *file = NULL;
    assert_true(asprintf(&file, "\"backing-filename\": \"%s\"", name->text) > 0);
    snprintf(format, sizeof(format), "\"backing-filename-format\": \"%s\"", name->format);
    return strstr(info, file) && strstr(info, format);
}

static bool image_says(const char *image, const struct name *name)
{
    CLEANUP_FREE char *info = shell_output("qemu-img info -U --output=json %s", image);
    return info_says(info, name);
}

/* ---- power losses ---- */

struct renaming {
    const struct name *old, *new;
    const char *what;
    uint64_t old_seen, new_seen;
};

static void crash_image_examine(void *arg, uint64_t state)
{
    struct renaming *renaming = arg;
    bool is_old = image_says("crash.qcow2", renaming->old);
    if (!is_old && !image_says("crash.qcow2", renaming->new))
        fail_msg("%s: state %" PRIu64 ": neither name, from %zu to %zu bytes", renaming->what,
                 state, strlen(renaming->old->text), strlen(renaming->new->text));
    renaming->old_seen += is_old;
    renaming->new_seen += !is_old;
    if (state % 8)
        return;
    int status = shell_status("qemu-img check -q -f qcow2 crash.qcow2");
    if (status != 0 && status != CHECK_LEAKS)
        fail_msg("%s: state %" PRIu64 ": qemu-img check ended with %d", renaming->what, state,
                 status);
}

/* False: there is no room, and nothing has changed. */
static bool rename_under_power_loss(struct node *node, struct random *random,
                                    struct renaming *renaming)
{
    struct err err, trial;
    const struct power_rig rig = {.random = random,
                                  .examine = crash_image_examine,
                                  .arg = renaming,
                                  .all_max = 64,
                                  .each = 4,
                                  .states_max = UINT32_MAX};
    int has_room = node_can_set_backing(node, renaming->new->text, renaming->new->format, &trial);
    power_watch(&rig, node->fd);
    if (!atomic_load(&node->read_only)) /* tables are dirty */
        assert_int_equal(node_write(node, "x", random_below(random, DISK_BYTES), 1), 0);
    int ret = node_set_backing(node, renaming->new->text, renaming->new->format, &err);
    power_unwatch(node->fd);
    assert_int_equal(ret, has_room);
    if (ret)
        assert_int_equal(err.code, ErrInvalidValue);
    assert_true(image_says("top", ret ? renaming->old : renaming->new));
    return ret == 0;
}

/* Renames the image again and again; returns how often that had room. */
static unsigned image_rename(struct random *random, bool is_frozen, struct name old,
                             const char *what)
{
    const size_t lengths[] = {4, 21, 100, 260, 420, 700, 1023};
    struct node *node = chain_must_open("top", "qcow2", is_frozen);
    unsigned renamed = 0;
    for (unsigned i = 0; i < RENAMES; i++) {
        struct name new =
            name_of(lengths[random_below(random, 7)], random_chance(random, 50) ? "raw" : "qcow2");
        struct renaming renaming = {&old, &new, what, 0, 0};
        if (!rename_under_power_loss(node, random, &renaming))
            continue;
        assert_true(renaming.old_seen || strcmp(old.text, new.text) == 0);
        assert_true(renaming.new_seen || is_frozen == false || strcmp(old.text, new.text) == 0);
        renamed++;
        old = new;
    }
    node_must_close(&node);
    image_must_be_clean("top");
    return renamed;
}

static void base_create(void)
{
    shell("rm -f base top; qemu-img create -q -f qcow2 base %d && "
          "qemu-io -f qcow2 -c 'write -P 5 0 64k' base",
          DISK_BYTES);
}

static void overlay_create(uint32_t cluster_bytes, const struct name *name)
{
    const unsigned char id[OWNER_ID_BYTES] = {7};
    const struct image_spec spec = {.size_bytes = DISK_BYTES,
                                    .cluster_bytes = cluster_bytes,
                                    .extended_l2 = cluster_bytes >= 16384,
                                    .backing_file = name->text,
                                    .backing_format = name->format,
                                    .group_id = id};
    struct node *node = overlay_must_create("top", &spec, NULL);
    node_must_close(&node);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(overlays_of_ours)
{
    struct random random = random_seeded(environment_number("CHAIN_SEED", 20141));
    const uint32_t clusters[] = {512, 4096, 65536};
    for (unsigned i = 0; i < 6; i++) {
        struct name name = name_of(i % 2 ? 60 : 180, "qcow2");
        base_create();
        overlay_create(clusters[i / 2], &name);
        unsigned renamed = image_rename(&random, i % 2, name, "ours");
        assert_true(clusters[i / 2] == 512 ? renamed < RENAMES : renamed == RENAMES);
        assert_true(renamed > 0);
    }
}

TEST(overlays_of_qemu)
{
    struct random random = random_seeded(environment_number("CHAIN_SEED", 20142));
    const struct image_options variants[] = {IMAGE_VARIANTS};
    for (size_t i = 0; i < sizeof(variants) / sizeof(*variants); i++) {
        struct name name = name_of(30, "qcow2");
        base_create();
        image_create("top", &variants[i], DISK_BYTES, name.text, name.format);
        unsigned renamed = image_rename(&random, i % 2, name, image_options_text(&variants[i]));
        if (variants[i].cluster_bytes > 512)
            assert_int_equal(renamed, RENAMES);
    }
}

/* ---- headers without room ---- */

static void top_must_refuse(const struct name *name, const char *word)
{
    struct err err;
    CLEANUP_FREE char *before = shell_output("sha256sum top");
    struct node *node = chain_must_open("top", "qcow2", true);
    assert_int_equal(node_can_set_backing(node, name->text, name->format, &err), -1);
    assert_int_equal(err.code, ErrInvalidValue);
    if (!strstr(err.message, word))
        fail_msg("'%s' is not in: %s", word, err.message);
    assert_int_equal(node_set_backing(node, name->text, name->format, &err), -1);
    node_unref(node);
    CLEANUP_FREE char *after = shell_output("sha256sum top");
    assert_string_equal(before, after);
}

TEST(long_names_do_not_fit_into_small_clusters)
{
    struct name old = name_of(60, "qcow2"), new = name_of(400, "qcow2"), fits = name_of(300, "raw");
    struct err err;
    base_create();
    overlay_create(512, &old);
    top_must_refuse(&new, "first cluster");
    struct node *node = chain_must_open("top", "qcow2", true);
    assert_int_equal(node_set_backing(node, fits.text, fits.format, &err), 0);
    node_unref(node);
    assert_true(image_says("top", &fits));
}

TEST(headers_of_others_may_have_no_room)
{
    struct name old = name_of(60, "qcow2"), new = name_of(61, "raw");
    unsigned char data[600] = {0};
    base_create();
    overlay_create(4096, &old);
    image_extension_insert("top", 0xe2792aca, "qcow2", 5);
    top_must_refuse(&new, "two formats");

    base_create();
    overlay_create(4096, &old);
    image_extension_insert("top", 0x12345678, data, sizeof(data));
    top_must_refuse(&new, "does not fit where");

    base_create();
    overlay_create(4096, &old);
    uint64_t end = image_peek("top", 8, 8) - END_BYTES;
    assert_int_equal(image_peek("top", end, 8), 0);
    image_poke("top", end, 4, 0x12345678); /* goes up to the name */
    top_must_refuse(&new, "no end");

    base_create();
    image_create("top", &(struct image_options){.cluster_bytes = 65536, .refcount_bits = 16},
                 DISK_BYTES, NULL, NULL);
    top_must_refuse(&new, "it has none");
    shell("qemu-img rebase -u -f qcow2 -F qcow2 -b "
          "'json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"base\"}}' top");
    uint32_t length;
    uint64_t format = image_extension("top", 0xe2792aca, &length);
    image_poke("top", format - 8, 4, 0x12345678);
    top_must_refuse(&new, "no format");
}

TEST(raw_images_have_no_header)
{
    struct err err;
    shell("truncate -s 1M raw");
    struct node *node = chain_must_open("raw", "raw", true);
    assert_int_equal(node_can_set_backing(node, "base", "raw", &err), -1);
    assert_int_equal(err.code, ErrInvalidValue);
    node_unref(node);
}

/* ---- beside changes ---- */

static atomic_bool is_done;

static void *writer_run(void *arg)
{
    struct random random = random_seeded(7);
    unsigned char bytes[3000];
    for (unsigned i = 0; !atomic_load(&is_done); i++) {
        uint64_t offset = random_below(&random, DISK_BYTES - sizeof(bytes));
        random_fill(&random, bytes, sizeof(bytes));
        if (node_write(arg, bytes, offset, sizeof(bytes)) != 0 ||
            (i % 16 == 0 && node_flush(arg) != 0))
            abort();
    }
    return NULL;
}

TEST(changes_go_on)
{
    struct name name = name_of(60, "qcow2");
    struct err err;
    pthread_t writer;
    base_create();
    overlay_create(4096, &name); /* its refcount table moves: the header changes otherwise too */
    struct node *node = chain_must_open("top", "qcow2", false);
    assert_int_equal(pthread_create(&writer, NULL, writer_run, node), 0);
    for (unsigned i = 0; i < 200; i++) {
        name = name_of(50 + i * 3, i % 3 ? "raw" : "qcow2");
        assert_int_equal(node_set_backing(node, name.text, name.format, &err), 0);
    }
    atomic_store(&is_done, true);
    pthread_join(writer, NULL);
    node_must_close(&node);
    image_must_be_clean("top");
    assert_true(image_says("top", &name));
}
