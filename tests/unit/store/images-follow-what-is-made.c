/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `images` follows devices and groups: each chain, overlay and top has its row from the
 * transaction that makes it until the one that undoes it, with a role that no later use of the file
 * makes less than it is.
 */
#include "tests/lib/store-fixture.h"

#include "store/images.h"

static const struct fixture fixture = STORE_FIXTURE;

/* A chain from top to base: one letter each, /i/LETTER, whose identity is the letter too. */
static struct image_row *chain_example(const char *letters, struct device_row *row)
{
    static struct image_row chain[8];
    static char paths[8][8], identities[8][2];
    row->chain_count = strlen(letters);
    row->chain = chain;
    for (size_t i = 0; i < row->chain_count; i++) {
        snprintf(paths[i], sizeof(paths[i]), "/i/%c", letters[i]);
        snprintf(identities[i], sizeof(identities[i]), "%c", letters[i]);
        chain[i] =
            (struct image_row){.path = paths[i], .identity = identities[i], .format = "qcow2"};
    }
    row->top = row->image = paths[0];
    return chain;
}

static struct device_row attach(const char *name, unsigned id, const char *letters, bool read_only)
{
    struct device_row row = device_example(name, id);
    chain_example(letters, &row);
    row.read_only = read_only;
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
    return row;
}

/* All rows, as "path<backing role" with "+" if the image is kept and "?" if it is not complete. */
static void images_must_be(const char *wanted)
{
    store_sql("PRAGMA wal_checkpoint");
    CLEANUP_FREE char *got = shell_output(
        "sqlite3 -readonly " STORE_PATH " \"SELECT coalesce(group_concat(line, ' '), '') FROM "
        "(SELECT substr(path, 4) || '<' || coalesce(substr(backing, 4), '') || ' ' || role || "
        "iif(is_kept, '+', '') || iif(is_complete, '', '?') AS line FROM images ORDER BY path)\"");
    got[strcspn(got, "\n")] = '\0';
    assert_string_equal(got, wanted);
    assert_int_equal(store_number("SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

TEST(the_chain_comes_with_the_device_and_its_top_is_kept)
{
    struct device_row row = attach("vda", 1, "tb", false);
    images_must_be("b< given t<b attached");
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    images_must_be("b< given t<b attached+");
    attach("vda", 2, "tb", false);
    images_must_be("b< given t<b attached");
}

/* What the operator only lets the daemon read is not kept for him, and never written. */
TEST(a_top_that_is_read_only_is_given)
{
    struct device_row row = attach("vda", 1, "tb", true);
    images_must_be("b< given t<b given");
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    images_must_be("b< given t<b given");
    row = attach("vda", 2, "tb", false);
    images_must_be("b< given t<b attached");
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    row = attach("vda", 3, "tb", true); /* looks at it only */
    images_must_be("b< given t<b attached+");
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    images_must_be("b< given t<b attached+");
}

TEST(an_image_that_is_created_has_a_row_once_it_is_attached)
{
    struct device_row row = device_example("vda", 1);
    row.state = DEVICE_ROW_CREATING;
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
    images_must_be("");
    struct device_row attached = row;
    chain_example("c", &attached);
    attached.state = DEVICE_ROW_ATTACHED;
    assert_int_equal(STORE_CHANGE(store_device_update_state, &attached), 0);
    images_must_be("c< attached");
    assert_int_equal(STORE_CHANGE(store_device_update_state, &row), 0); /* it is undone */
    images_must_be("");
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    images_must_be("");
}

/* A creation that finds another image in its place leaves that one's row alone. */
TEST(a_creation_that_fails_takes_no_row_along)
{
    attach("vda", 1, "t", false);
    struct device_row row = device_example("vdb", 2);
    row.state = DEVICE_ROW_CREATING;
    row.image = row.top = "/i/t";
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    images_must_be("t< attached");
}

/* The group with that id of the device's top, whose overlay is /i/OVERLAY, brought to `state`. */
static void group(unsigned id, const char *device, const char *top, const char *overlay,
                  enum group_state state)
{
    char backing[8], made[8];
    snprintf(backing, sizeof(backing), "/i/%s", top);
    snprintf(made, sizeof(made), "/i/%s", overlay);
    struct group_row row = group_example(id, device, backing, made);
    row.members[0].snapshot_identity = made + 3;
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    group_must_become(&row, state);
}

TEST(overlays_come_with_preparing_and_go_with_aborted)
{
    attach("vda", 1, "tb", false);
    group(11, "vda", "t", "u", GROUP_PREPARING);
    images_must_be("b< given t<b attached u<t made");
    assert_int_equal(store_number("SELECT identity IS NULL FROM images WHERE path = '/i/u'"), 1);
    group(12, "vda", "t", "v", GROUP_ABORTING);
    images_must_be("b< given t<b attached u<t made v<t made");
    group(13, "vda", "t", "w", GROUP_ABORTED);
    images_must_be("b< given t<b attached u<t made v<t made");
}

TEST(a_committed_overlay_is_the_top)
{
    struct device_row row = attach("vda", 1, "tb", false);
    group(11, "vda", "t", "u", GROUP_COMMITTED);
    images_must_be("b< given t<b attached u<t made");
    assert_int_equal(store_number("SELECT identity = 'u' FROM images WHERE path = '/i/u'"), 1);
    assert_int_equal(store_number("SELECT top_image = '/i/u' FROM devices"), 1);
    assert_int_equal(store_number("SELECT backing_image = '/i/t' FROM members"), 1);
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    images_must_be("b< given t<b attached u<t made+");
    attach("vda", 2, "utb", false); /* what was made stays so */
    images_must_be("b< given t<b attached u<t made");
}

/* An overlay may be put on another image than the one that is frozen. */
TEST(an_overlay_stands_on_its_base)
{
    attach("vda", 1, "t", false);
    group(11, "vda", "t", "u", GROUP_COMMITTED);
    struct group_row row = group_example(12, "vda", "/i/u", "/i/v"), got;
    row.kind = GROUP_KIND_ROLLBACK;
    char target[STORE_ID_CHARS + 1];
    snprintf(target, sizeof(target), "%s", id_text(13));
    row.rolled_back_to = target;
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), -1); /* that group is gone */
    assert_int_equal(err.code, ErrGroupNotFound);
    memcpy(target, id_text(11), sizeof(target));
    row.members[0].base_file = "/i/t";
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    group_must_become(&row, GROUP_COMMITTED);
    images_must_be("t< attached u<t made v<t made");
    assert_int_equal(store_group_get(store, id_text(12), &got, &err), 0);
    assert_int_equal(got.kind, GROUP_KIND_ROLLBACK);
    assert_string_equal(got.rolled_back_to, target);
    assert_string_equal(got.members[0].base_file, "/i/t");
    assert_string_equal(got.members[0].backing_image, "/i/u");
    group_row_clear(&got);
}

/* What is away, on storage that is not mounted, may come back: nothing else gets its row. */
TEST(an_overlay_replaces_no_image_that_is_needed)
{
    struct device_row row = attach("vda", 1, "ut", false);
    attach("vdb", 2, "b", false);
    group(11, "vda", "u", "v", GROUP_COMMITTED); /* v: a top; u: frozen; t: beneath it */
    for (const char *path = "tuv"; *path; path++) {
        char made[] = {'/', 'i', '/', *path, 0};
        struct group_row other = group_example(12, "vdb", "/i/b", made);
        assert_int_equal(STORE_CHANGE(store_group_insert, &other), -1);
        assert_int_equal(err.code, ErrImageInUse);
        assert_non_null(strstr(err.message, made));
        images_must_be("b< attached t< given u<t attached v<u made");
    }
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    group(12, "vdb", "b", "v", GROUP_COMMITTED); /* of a detached device: the file may go */
    images_must_be("b< attached t< given u<t attached v<b made");
}

static void attach_must_be_refused(const char *letters, bool read_only, const char *by)
{
    struct device_row row = device_example("vdz", 20);
    chain_example(letters, &row);
    row.read_only = read_only;
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), -1);
    assert_int_equal(err.code, ErrImageInUse);
    assert_non_null(strstr(err.message, by));
}

/* The block layer, which knows open images only, does not see a device that is away. */
TEST(devices_exclude_each_other_open_or_not)
{
    attach("vda", 1, "tb", false);
    attach("vdb", 2, "rb", true);
    attach_must_be_refused("b", false, "'vda'");  /* would write under both */
    attach_must_be_refused("ut", false, "'vda'"); /* would stand on what is written to */
    attach_must_be_refused("tb", true, "'vda'");
    attach_must_be_refused("rb", false, "'vdb'");
    attach("vdc", 3, "b", true);
    attach("vdd", 4, "sb", false);
    attach("vde", 5, "rb", true);
}

/* A name of a group that only cuts is nobody's. */
TEST(cuts_have_no_name)
{
    struct group_row row = group_example(11, "vda", "/i/t", "/i/u"), got;
    row.name = "same";
    row.kind = GROUP_KIND_CUT;
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    assert_int_equal(store_group_get(store, "same", &got, &err), -1);
    assert_int_equal(err.code, ErrGroupNotFound);
    row = group_example(12, "vda", "/i/t", "/i/v");
    row.name = "same";
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    assert_int_equal(store_group_get(store, "same", &got, &err), 0);
    assert_string_equal(got.id, id_text(12));
    group_row_clear(&got);
    row = group_example(13, "vda", "/i/t", "/i/w");
    row.name = "same";
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), -1);
    assert_int_equal(err.code, ErrGroupExists);
}

/* The file of a path may be another one by now, and then what was made is nobody's any more. */
TEST(another_file_of_the_path_inherits_nothing)
{
    struct device_row row = attach("vda", 1, "t", false);
    group(11, "vda", "t", "u", GROUP_COMMITTED);
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    row = device_example("vda", 2);
    chain_example("xut", &row)[1].identity = "other";
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
    images_must_be("t< attached u<t given x<u attached");
    assert_int_equal(store_number("SELECT made_by IS NULL FROM images WHERE path = '/i/u'"), 1);
}

/* A chain that was changed meanwhile, by whomever. */
TEST(a_chain_is_recorded_again)
{
    struct device_row row = attach("vda", 1, "tmb", false);
    images_must_be("b< given m<b given t<m attached");
    chain_example("tb", &row);
    row.top_image = "/i/t";
    assert_int_equal(STORE_CHANGE(store_device_update_chain, &row), 0);
    images_must_be("b< given m<b given t<b attached");
}

/* In rows from before, the last image of a chain may be a link to it. */
TEST(links_are_replaced_by_what_they_lead_to)
{
    struct device_row row = device_example("vda", 1);
    row.top = "/i/link";
    row.top_format = "qcow2";
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
    images_must_be("link< attached?");
    group(11, "vda", "link", "u", GROUP_COMMITTED);
    images_must_be("link< attached? u<link made");
    chain_example("utb", &row);
    row.top_image = "/i/u";
    assert_int_equal(STORE_CHANGE(store_device_update_chain, &row), 0);
    images_must_be("b< given t<b attached u<t made");
    assert_int_equal(store_number("SELECT backing_image = '/i/t' FROM members"), 1);

    struct device_row other = device_example("vdb", 2);
    other.top = "/i/l";
    other.top_format = "qcow2";
    assert_int_equal(STORE_CHANGE(store_device_insert, &other), 0);
    struct image_row *chain = chain_example("tb", &row);
    struct store_transaction *transaction = store_begin(store, &err);
    assert_int_equal(store_image_record_chain(transaction, "/i/l", chain, 2, &err), 0);
    assert_int_equal(store_commit(transaction, &err), 0);
    images_must_be("b< given t<b attached u<t made");
    assert_int_equal(store_number("SELECT count(*) FROM devices WHERE top_image = '/i/t'"), 1);
}

/* The tree of each of its images, as "path(group)(device)". */
static void tree_must_be(const char *path, const char *wanted)
{
    struct image_row *rows;
    size_t count;
    char got[256] = "";
    assert_int_equal(store_image_tree(store, path, &rows, &count, &err), 0);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(got);
        snprintf(got + length, sizeof(got) - length, "%s%s(%s)(%s)", i ? " " : "", rows[i].path + 3,
                 rows[i].group_name ? rows[i].group_name : "",
                 rows[i].device ? rows[i].device : "");
    }
    image_rows_free(rows, count);
    assert_string_equal(got, wanted);
}

TEST(trees_tell_who_needs_an_image)
{
    attach("vda", 1, "tb", false);
    attach("vdb", 2, "xy", false);
    group(11, "vda", "t", "u", GROUP_COMMITTED);
    group(12, "vda", "u", "v", GROUP_COMMITTED);
    attach("vdc", 3, "wutb", false);
    for (const char *path = "btuvw"; *path; path++) {
        char full[] = {'/', 'i', '/', *path, '\0'};
        tree_must_be(full, "b()() t(g11)() u(g12)() v()(vda) w()(vdc)");
    }
    tree_must_be("/i/x", "y()() x()(vdb)");
    tree_must_be("/i/unheard-of", "");
    store_sql("UPDATE groups SET kind = 'cut' WHERE name = 'g11'");
    store_sql("UPDATE groups SET state = 'deleting' WHERE name = 'g12'");
    tree_must_be("/i/t", "b()() t()() u()() v()(vda) w()(vdc)");
}

TEST(what_is_gone_is_no_child)
{
    attach("vda", 1, "tb", false);
    group(11, "vda", "t", "u", GROUP_COMMITTED);
    group(12, "vda", "u", "v", GROUP_COMMITTED);
    store_sql("INSERT INTO images VALUES ('/i/x', NULL, 'qcow2', '/i/b', 'attached', NULL, 0, 1)");
    for (const char *path = "xutv"; *path; path++) {
        char full[] = {'/', 'i', '/', *path, '\0'};
        assert_int_equal(STORE_CHANGE(store_image_forget, full), 0);
    }
    images_must_be("b< given t< attached? u< made? v<u made"); /* v is open for vda */
}

TEST(rows_are_found_by_path)
{
    struct image_row row, *rows;
    size_t count;
    attach("vda", 1, "tb", false);
    device_must_insert("vdb", 2);
    assert_int_equal(store_image_get(store, "/i/none", &row, &err), 0);
    assert_int_equal(store_image_get(store, "/i/t", &row, &err), 1);
    assert_string_equal(row.backing, "/i/b");
    assert_string_equal(row.identity, "t");
    assert_int_equal(row.role, IMAGE_ATTACHED);
    assert_true(row.is_complete);
    image_row_clear(&row);
    assert_int_equal(store_image_chain(store, "/i/t", &rows, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_string_equal(rows[1].path, "/i/b");
    image_rows_free(rows, count);
    assert_int_equal(store_image_list_incomplete(store, NULL, 10, &rows, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].path, "/i/vdb");
    image_rows_free(rows, count);
    assert_int_equal(store_image_list_incomplete(store, "/i/vdb", 10, &rows, &count, &err), 0);
    assert_int_equal(count, 0);
}
