/* SPDX-License-Identifier: Apache-2.0
 *
 * See image-looks.h. A call may outlive its maker: it has copies of the rows.
 */
#include "service/image-looks.h"

#include "block/overlay.h"
#include "service/context.h"
#include "service/merges.h"
#include "service/storage-calls.h"
#include "store/images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- where they are ---- */

static size_t directory_bytes(const char *path)
{
    return (size_t)(strrchr(path, '/') - path); /* paths of rows are absolute */
}

static bool directory_is_new(const struct image_row *rows, size_t i)
{
    size_t bytes = directory_bytes(rows[i].path);
    for (size_t j = 0; j < i; j++)
        if (directory_bytes(rows[j].path) == bytes &&
            memcmp(rows[j].path, rows[i].path, bytes) == 0)
            return false;
    return true;
}

char *images_storage(const struct image_row *rows, size_t count, struct err *err)
{
    CLEANUP_FREE char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    for (size_t i = 0; file && i < count; i++)
        if (directory_is_new(rows, i))
            fprintf(file, "%.*s:", (int)directory_bytes(rows[i].path), rows[i].path);
    if (file && fclose(file) == 0)
        return steal(text);
    err_set(err, ErrOutOfResources, 0, "there is no memory to look at images");
    return NULL;
}

char *chain_storage(struct service *service, const char *path, struct err *err)
{
    struct image_row *rows;
    size_t count;
    if (store_image_chain(service->store, path, &rows, &count, err) != 0)
        return NULL;
    char *storage = images_storage(rows, count, err);
    image_rows_free(rows, count);
    return storage;
}

int plan_call(struct service *service, struct storage_call *call, struct err *err)
{
    call->wait_ms = PLAN_WAIT_MAX_MS;
    call->is_long = true;
    call->calls_max = SERVICE_CALLS_MAX;
    return storage_call(service->storage_calls, call, err);
}

/* ---- copies of rows ---- */

struct image_copy {
    char *path, *format, *identity; /* heap; identity may be NULL */
    bool is_changing;
    struct image_look look;
};

struct looking {
    char *storage;
    size_t count;
    struct merge_size size;
    struct image_copy images[]; /* of a push: base, upper, and those that stand on upper */
};

static void looking_free(void *context)
{
    struct looking *looking = context;
    if (!looking)
        return;
    for (size_t i = 0; i < looking->count; i++) {
        free(looking->images[i].path);
        free(looking->images[i].format);
        free(looking->images[i].identity);
    }
    free(looking->storage);
    free(looking);
}
CLEANUP_DEFINE(looking, struct looking *, looking_free)

/* At images of that tree. */
static struct looking *looking_new(const struct image_row *rows, size_t count, struct err *err)
{
    const size_t room = count + 2;
    CLEANUP(looking)
    struct looking *looking = calloc(1, sizeof(*looking) + room * sizeof(looking->images[0]));
    if (!looking) {
        err_set(err, ErrOutOfResources, 0, "there is no memory to look at images");
        return NULL;
    }
    looking->storage = images_storage(rows, count, err);
    return looking->storage ? steal(looking) : NULL;
}

static int looking_add(struct looking *looking, const struct image_row *row, struct err *err)
{
    struct image_copy *copy = &looking->images[looking->count++];
    copy->path = strdup(row->path);
    copy->format = strdup(row->format);
    copy->identity = row->identity ? strdup(row->identity) : NULL;
    copy->is_changing = row_is_changing(row);
    if (copy->path && copy->format && (copy->identity || !row->identity))
        return 0;
    return err_set(err, ErrOutOfResources, 0, "there is no memory to look at images");
}

/* Has the work done. *looking is NULL then if it may still go on. */
static int looking_call(struct service *service, struct looking **looking,
                        int work(void *, struct block *, struct err *), struct err *err)
{
    const char *path = (*looking)->images[0].path;
    CLEANUP_FREE char *what = NULL;
    if (asprintf(&what, "image '%s'", path) < 0)
        return err_set(err, ErrOutOfResources, 0, "there is no memory to look at images");
    struct storage_call call = {.what = what,
                                .storage = (*looking)->storage,
                                .work = work,
                                .free = looking_free,
                                .context = *looking};
    int ret = plan_call(service, &call, err);
    *looking = call.context;
    return ret;
}

/* ---- each file ---- */

static int files_look(void *context, struct block *block, struct err *err)
{
    (void)err;
    struct looking *looking = context;
    for (struct image_copy *image = looking->images; image < looking->images + looking->count;
         image++) {
        struct stat st;
        if (stat(image->path, &st) == 0)
            image->look.file_bytes = (uint64_t)st.st_blocks * 512;
        else if (image->identity)
            image->look.is_gone = block_image_is_gone(block, image->path, image->identity);
    }
    return 0;
}

static int files_ask_use(void *context, struct block *block, struct err *err)
{
    (void)err;
    struct looking *looking = context;
    for (struct image_copy *image = looking->images; image < looking->images + looking->count;
         image++)
        image->look.is_used = image->look.asks_use && block_overlay_is_used(block, image->path);
    return 0;
}

static int images_work(struct service *service, const struct image_row *rows, size_t count,
                       struct image_look *looks, int work(void *, struct block *, struct err *),
                       struct err *err)
{
    CLEANUP(looking) struct looking *looking = looking_new(rows, count, err);
    for (size_t i = 0; looking && i < count; i++) {
        if (looking_add(looking, &rows[i], err) != 0)
            return -1;
        looking->images[i].look = looks[i];
    }
    if (!looking || looking_call(service, &looking, work, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        looks[i] = looking->images[i].look;
    return 0;
}

int images_look(struct service *service, const struct image_row *rows, size_t count,
                struct image_look *looks, struct err *err)
{
    return count == 0 ? 0 : images_work(service, rows, count, looks, files_look, err);
}

int images_look_used(struct service *service, const struct image_row *rows, size_t count,
                     struct image_look *looks, struct err *err)
{
    for (size_t i = 0; i < count; i++)
        if (looks[i].asks_use)
            return images_work(service, rows, count, looks, files_ask_use, err);
    return 0;
}

/* ---- a push ---- */

static struct merge_image image_of(const struct image_copy *copy)
{
    return (struct merge_image){copy->path, copy->format, copy->identity};
}

static int push_measure(void *context, struct block *block, struct err *err)
{
    struct looking *looking = context;
    const struct merge_image base = image_of(&looking->images[0]);
    const struct merge_image upper = image_of(&looking->images[1]);
    struct merge *merge = merge_open(block, &base, &upper, err);
    if (!merge)
        return -1;
    int ret = 0;
    for (size_t i = 2; i < looking->count && ret == 0; i++) {
        const struct merge_image child = image_of(&looking->images[i]);
        if (merge_can_rename(merge, &child, err) != 0)
            ret = merge_child_explain(child.path, looking->images[i].is_changing, err);
    }
    if (ret == 0)
        ret = merge_measure(merge, &looking->size, err);
    merge_close(merge);
    return ret;
}

int push_look(struct service *service, const struct image_row *rows, size_t count,
              const struct image_row *base, const struct image_row *upper, struct merge_size *size,
              struct err *err)
{
    CLEANUP(looking) struct looking *looking = looking_new(rows, count, err);
    if (!looking || looking_add(looking, base, err) != 0 || looking_add(looking, upper, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (rows[i].backing && strcmp(rows[i].backing, upper->path) == 0 &&
            looking_add(looking, &rows[i], err) != 0)
            return -1;
    if (looking_call(service, &looking, push_measure, err) != 0)
        return -1;
    *size = looking->size;
    return 0;
}
