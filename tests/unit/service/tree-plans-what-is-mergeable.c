/* SPDX-License-Identifier: Apache-2.0
 * label: one-thread
 *
 * Every tree of up to six images, with every choice of roles and of those that are needed: the plan
 * is carried out on a model, in which an image is the set of blocks that it says something about.
 * Afterwards the view of every image that is needed is what it was, only made images have gone,
 * none that was given has changed, and nothing is left to merge or to remove. So for random larger
 * trees, with files that are gone and trees that are not complete. The cost is linear.
 */
#include "tests/lib/testlib.h"

#include "service/tree.h"

#include <string.h>
#include <time.h>

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

enum { IMAGES_MAX = 24, BLOCKS_MAX = IMAGES_MAX + 1, NOTHING = 0 };

/* What a disk has: one block that only image i writes, for each i, and a last one that all do. */
struct model {
    size_t count;
    struct tree_image images[IMAGES_MAX];
    unsigned char data[IMAGES_MAX][BLOCKS_MAX]; /* the position of who wrote it, + 1 */
    bool has_gone[IMAGES_MAX];                  /* removed by the plan */
    size_t moved_to[IMAGES_MAX];                /* where who needed the image finds its view now */
};

static void model_fill(struct model *model)
{
    for (size_t i = 0; i < model->count; i++) {
        memset(model->data[i], NOTHING, sizeof(model->data[i]));
        model->data[i][i] = model->data[i][model->count] = (unsigned char)(i + 1);
        model->has_gone[i] = false;
        model->moved_to[i] = i;
    }
}

static unsigned char view_block(const struct model *model, size_t image, size_t block)
{
    for (; image != TREE_NONE; image = model->images[image].backing) {
        assert_false(model->has_gone[image]);
        if (model->data[image][block] != NOTHING)
            return model->data[image][block];
    }
    return NOTHING;
}

static void view_get(const struct model *model, size_t image, unsigned char view[BLOCKS_MAX])
{
    for (size_t block = 0; block <= model->count; block++)
        view[block] = view_block(model, image, block);
}

/* What is in use, so that what it reads must never change, also during a push. What stands on a
 * file that is gone cannot be read. */
static bool is_watched(const struct tree_image *before, size_t i)
{
    for (size_t under = i; under != TREE_NONE; under = before[under].backing)
        if (before[under].is_gone)
            return false;
    return tree_is_needed(&before[i]) || before[i].is_used;
}

static void views_must_be(const struct model *model, const struct tree_image *before,
                          unsigned char views[IMAGES_MAX][BLOCKS_MAX])
{
    unsigned char now[BLOCKS_MAX];
    for (size_t i = 0; i < model->count; i++)
        if (is_watched(before, i)) {
            view_get(model, model->moved_to[i], now);
            if (memcmp(now, views[i], model->count + 1) != 0)
                fail_msg("the view of image %zu has changed", i);
        }
}

/* Pushes the run on `base`, one block at a time, then names it where its upper end was named. */
static void model_push(struct model *model, size_t base, const struct tree_image *before,
                       unsigned char views[IMAGES_MAX][BLOCKS_MAX])
{
    const size_t upper = model->images[base].partner;
    for (size_t block = 0; block <= model->count; block++) {
        bool is_masked = false;
        for (size_t i = upper; i != base; i = model->images[i].backing)
            is_masked |= model->data[i][block] != NOTHING;
        if (is_masked)
            model->data[base][block] = view_block(model, upper, block);
        views_must_be(model, before, views);
    }
    for (size_t i = 0; i < model->count; i++)
        if (!model->has_gone[i] && model->images[i].backing == upper)
            model->images[i].backing = base;
    for (size_t i = 0; i < model->count; i++)
        if (model->moved_to[i] == upper)
            model->moved_to[i] = base;
    model->images[base].is_member |= model->images[upper].is_member;
    for (size_t i = upper, next; i != base; i = next) {
        assert_int_equal(model->images[i].fate, TREE_PUSHED);
        assert_int_equal(model->images[i].partner, base);
        next = model->images[i].backing;
        model->has_gone[i] = true;
    }
    views_must_be(model, before, views);
}

static void model_carry_out(struct model *model, const struct tree_image *before,
                            unsigned char views[IMAGES_MAX][BLOCKS_MAX])
{
    for (size_t i = model->count; i-- > 0;)
        if (model->images[i].fate == TREE_GOES) {
            assert_false(tree_is_needed(&before[i]));
            model->has_gone[i] = true;
        }
    views_must_be(model, before, views);
    for (size_t i = 0; i < model->count; i++)
        if (model->images[i].fate == TREE_BASE)
            model_push(model, i, before, views);
}

/* What is left, without gaps. */
static size_t model_rest(const struct model *model, struct tree_image rest[IMAGES_MAX])
{
    size_t positions[IMAGES_MAX], count = 0;
    for (size_t i = 0; i < model->count; i++) {
        if (model->has_gone[i])
            continue;
        positions[i] = count;
        rest[count] = model->images[i];
        if (rest[count].backing != TREE_NONE) {
            assert_false(model->has_gone[rest[count].backing] && !rest[count].is_gone);
            rest[count].backing =
                model->has_gone[rest[count].backing] ? TREE_NONE : positions[rest[count].backing];
        }
        count++;
    }
    return count;
}

/* Found out without the code under test. */
static void nothing_must_be_left(const struct tree_image *rest, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t children = 0, child = 0, root = i;
        while (rest[root].backing != TREE_NONE)
            root = rest[root].backing;
        for (size_t j = 0; j < count; j++)
            if (rest[j].backing == i && !rest[j].is_gone) {
                children++;
                child = j;
            }
        bool is_needed = rest[i].is_member || rest[i].is_top || rest[i].is_kept || rest[i].is_used;
        if (is_needed || !rest[root].is_complete)
            continue;
        assert_false(children == 0 && rest[i].role == IMAGE_MADE);
        assert_false(children == 1 && rest[i].role != IMAGE_GIVEN && !rest[i].is_gone &&
                     rest[child].role == IMAGE_MADE && !rest[child].is_top &&
                     !rest[child].is_kept && !rest[child].is_used);
    }
}

static void fates_must_be_allowed(const struct model *model, const struct tree_image *before)
{
    for (size_t i = 0; i < model->count; i++) {
        bool is_written = model->images[i].fate == TREE_BASE;
        assert_true(!model->has_gone[i] || before[i].role == IMAGE_MADE);
        assert_false(is_written && (before[i].role == IMAGE_GIVEN || tree_is_needed(&before[i])));
        assert_true(model->has_gone[i] || is_written || model->images[i].reason < TREE_REASONS);
    }
}

static void plan_once(struct model *model)
{
    struct tree_image before[IMAGES_MAX], rest[IMAGES_MAX];
    unsigned char views[IMAGES_MAX][BLOCKS_MAX];
    memcpy(before, model->images, sizeof(before));
    model_fill(model);
    for (size_t i = 0; i < model->count; i++)
        view_get(model, i, views[i]);
    tree_plan(model->images, model->count);
    model_carry_out(model, before, views);
    fates_must_be_allowed(model, before);
    size_t count = model_rest(model, rest);
    nothing_must_be_left(rest, count);
    tree_plan(rest, count); /* T3 */
    for (size_t i = 0; i < count; i++)
        assert_int_equal(rest[i].fate, TREE_STAYS);
}

/* ---- every tree ---- */

/* How an image is needed. */
enum need { FREE, MEMBER, TOP, KEPT, READ, NEEDS };

static struct tree_image image_make(size_t backing, enum image_role role, enum need need)
{
    return (struct tree_image){.backing = backing,
                               .role = role,
                               .is_member = need == MEMBER,
                               .is_top = need == TOP || need == READ,
                               .is_read = need == READ,
                               .is_kept = need == KEPT,
                               .is_complete = true};
}

/* Adds the image of that position in every way, then the others. An image may be needed in one of
 * `needs` ways. */
static void images_choose(struct model *model, size_t position, enum need needs)
{
    if (position == model->count) {
        struct model copy = *model;
        plan_once(&copy);
        return;
    }
    for (size_t backing = 0; backing < (position ? position : 1); backing++)
        for (enum image_role role = IMAGE_GIVEN; role <= IMAGE_MADE; role++)
            for (enum need need = FREE; need < needs; need++) {
                model->images[position] = image_make(position ? backing : TREE_NONE, role, need);
                images_choose(model, position + 1, needs);
            }
}

TEST(every_tree_of_up_to_four_images)
{
    struct model model = {0};
    for (model.count = 1; model.count <= 4; model.count++)
        images_choose(&model, 0, NEEDS);
}

/* With the two ways that differ for a run: frozen, and not. */
TEST(every_tree_of_five_images)
{
    struct model model = {.count = 5};
    images_choose(&model, 0, TEST_SANITIZED ? MEMBER + 1 : TOP + 1);
}

/* Of six images only those above the first vary in all roles. */
TEST(every_tree_of_six_images)
{
    struct model model = {.count = 6};
    if (TEST_SANITIZED)
        return;
    for (enum image_role role = IMAGE_GIVEN; role <= IMAGE_MADE; role++) {
        model.images[0] = image_make(TREE_NONE, role, FREE);
        images_choose(&model, 1, MEMBER + 1);
    }
}

/* ---- larger ones ---- */

TEST(random_trees_with_what_is_gone_or_used_and_not_known)
{
    struct random random = random_seeded(1);
    for (unsigned round = 0; round < 20000; round++) {
        struct model model = {.count = 1 + random_below(&random, IMAGES_MAX)};
        for (size_t i = 0; i < model.count; i++) {
            bool is_root = i == 0 || random_below(&random, 8) == 0;
            size_t backing = random_below(&random, 2) ? i - 1 : random_below(&random, i ? i : 1);
            enum need need =
                random_chance(&random, 50) ? FREE : (enum need)random_below(&random, NEEDS);
            struct tree_image *image = &model.images[i];
            *image = image_make(is_root ? TREE_NONE : backing,
                                (enum image_role)random_below(&random, IMAGE_MADE + 1), need);
            image->is_complete = !is_root || random_below(&random, 4) != 0;
            image->is_gone = random_below(&random, 10) == 0;
            image->is_used = !image->is_gone && random_below(&random, 10) == 0;
        }
        plan_once(&model);
    }
}

static double seconds_of_cpu(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Anything worse than linear would take hours. */
TEST(a_million_images_are_planned_at_once)
{
    const size_t count = 1000000;
    struct tree_image *images = calloc(count, sizeof(*images));
    double begun = seconds_of_cpu();
    for (unsigned shape = 0; shape < 3; shape++) {
        for (size_t i = 0; i < count; i++) {
            size_t backing = shape == 0 ? i - 1 : shape == 1 ? 0 : (i - 1) / 2;
            images[i] = image_make(i ? backing : TREE_NONE, IMAGE_MADE, FREE);
        }
        images[count - 1].is_top = true;
        tree_plan(images, count);
    }
    assert_true(seconds_of_cpu() - begun < 60);
    free(images);
}

/* ---- rows ---- */

static struct image_row row_make(const char *path, const char *backing, enum image_role role)
{
    return (struct image_row){.path = (char *)(uintptr_t)path,
                              .backing = (char *)(uintptr_t)backing,
                              .role = role,
                              .is_complete = true};
}

static void reason_must_be(const struct tree_image *images, const struct image_row *rows,
                           size_t position, const char *wanted)
{
    char text[TREE_REASON_BYTES];
    tree_explain(images, rows, position, text);
    assert_string_equal(text, wanted);
}

TEST(rows_make_a_tree_and_say_why_an_image_stays)
{
    struct err err;
    struct image_row rows[] = {
        row_make("/i/a", NULL, IMAGE_GIVEN),      row_make("/i/c", "/i/a", IMAGE_ATTACHED),
        row_make("/i/b", "/i/c", IMAGE_MADE),     row_make("/i/d", "/i/b", IMAGE_MADE),
        row_make("/i/e", "/i/b", IMAGE_ATTACHED),
    };
    rows[1].group_name = "g1";
    rows[3].device = "vda";
    rows[4].is_kept = true;
    struct tree_image *images = tree_from_rows(rows, 5, &err);
    assert_non_null(images);
    tree_plan(images, 5);
    reason_must_be(images, rows, 0,
                   "it was given with a device, and is neither written nor removed");
    reason_must_be(images, rows, 1, "snapshot group 'g1' has it");
    reason_must_be(images, rows, 2, "several images, one of them '/i/e', stand on it");
    reason_must_be(images, rows, 3, "device 'vda' uses it");
    reason_must_be(images, rows, 4, "a device that was detached had it");
    rows[1].group_name = NULL;
    free(images);
    images = tree_from_rows(rows, 5, &err);
    tree_plan(images, 5);
    assert_int_equal(images[1].fate, TREE_BASE);
    assert_int_equal(images[1].partner, 2);
    assert_int_equal(images[2].fate, TREE_PUSHED);
    free(images);

    rows[4].path = "/i/%s%s%s";
    rows[3] = row_make("/i/d", "/i/unheard-of", IMAGE_MADE);
    assert_null(tree_from_rows(rows, 5, &err));
    assert_int_equal(err.code, ErrStoreFailed);
}
