/* SPDX-License-Identifier: Apache-2.0
 *
 * The changes of the table `images` that come with those of a device's or a group's row. Called by
 * devices.c and groups.c alone, within their transaction. Private to store/.
 */
#ifndef STORE_IMAGE_CHANGES_H
#define STORE_IMAGE_CHANGES_H

#include "store/table.h"

#include "store/row.h"

#define IMAGE_COLUMNS(FIRST, X)                                                                    \
    FIRST(path, TEXT)                                                                              \
    X(identity, TEXT_OR_NULL)                                                                      \
    X(format, TEXT)                                                                                \
    X(backing, TEXT_OR_NULL)                                                                       \
    X(role, CHOICE)                                                                                \
    X(made_by, TEXT_OR_NULL)                                                                       \
    X(is_kept, INTEGER)                                                                            \
    X(is_complete, INTEGER)

extern const char *const image_role_names[IMAGE_MADE + 1];

/* The table of a recursive query: the image at `place`, `depth` 0, and those under it. Ends also
 * where rows lead back to themselves. */
#define CHAIN_FROM(place)                                                                          \
    "chain (place, depth) AS (SELECT " place ", 0 UNION ALL SELECT backing, depth + 1 FROM chain " \
    "CROSS JOIN images ON path = place WHERE backing IS NOT NULL AND depth < 10000)"

/* The table of a recursive query: the images of which it is not known on what they stand, and those
 * on them; and whether one of them is the top of a device, so that any image may be under it. */
#define DOUBT                                                                                      \
    "doubt (doubtful) AS (SELECT path FROM images WHERE is_complete = 0 UNION "                    \
    "SELECT path FROM doubt CROSS JOIN images ON backing = doubtful)"
#define IS_DOUBTFUL "EXISTS (SELECT 1 FROM doubt CROSS JOIN devices ON top_image = doubtful)"

/* The groups that have an image of `images` as a frozen member. One that only cuts has none. */
#define IMAGE_GROUPS                                                                               \
    "SELECT groups.name FROM members JOIN groups ON groups.id = members.group_id "                 \
    "WHERE members.backing_image = images.path AND groups.kind <> 'cut' AND "                      \
    "groups.state NOT IN ('aborting', 'aborted', 'deleting', 'deleted')"

/* A condition of a row of `images`: another file may take its place. */
#define IMAGE_IS_UNNEEDED                                                                          \
    "NOT EXISTS (SELECT 1 FROM images AS child WHERE child.backing = images.path) AND "            \
    "NOT EXISTS (SELECT 1 FROM devices WHERE top_image = images.path) AND "                        \
    "NOT " IMAGE_IS_HALF_MERGED " AND "                                                            \
    "NOT EXISTS (SELECT 1 FROM members JOIN groups ON groups.id = group_id "                       \
    "WHERE backing_image = images.path AND state NOT IN ('aborted', 'deleted'))"

/* The device of which an image of `images` becomes the top when the group that makes it has ended.
 */
#define IMAGE_TO_BE_TOP                                                                            \
    "SELECT members.device FROM groups JOIN members ON members.group_id = groups.id "              \
    "WHERE groups.id = images.made_by AND members.snapshot_file = images.path AND "                \
    "members.is_settled = 0 AND groups.state IN ('preparing', 'committing', 'cut', 'aborting')"

/* A condition of a row of `merges`: nothing is put on the image at `place` now, because it is
 * written to by that merge, or goes by it after all that is on it was found. */
#define IS_MERGED(place)                                                                           \
    "((base = " place " AND stage <> 'done') OR "                                                  \
    "(upper = " place " AND stage IN ('copied', 'redirected')))"

/* A condition of a row of `images`: without it a merge that has begun could not go on. */
#define IMAGE_IS_HALF_MERGED                                                                       \
    "EXISTS (SELECT 1 FROM merges WHERE stage IN ('copying', 'copied') AND "                       \
    "images.path IN (base, upper))"

/* A condition of rows of `merges` and `jobs`: the job has ended without that merge, since the
 * device was detached, but the top is attached again. Its group is deleted: nobody else repeats it.
 */
#define MERGE_IS_LEFT                                                                              \
    "stage = 'copying' AND finished_at_us IS NOT NULL AND "                                        \
    "EXISTS (SELECT 1 FROM groups WHERE groups.id = jobs.group_id AND state = 'deleted') AND "     \
    "EXISTS (SELECT 1 FROM images WHERE path = upper AND NOT is_kept)"

/* The table of a recursive query: all images of merges that are not done, from upper to base. */
#define BUSY                                                                                       \
    "busy (merge, busy_place) AS (SELECT id, upper FROM merges WHERE stage <> 'done' UNION "       \
    "SELECT id, base FROM merges WHERE stage <> 'done' AND base IS NOT NULL UNION "                \
    "SELECT merge, backing FROM busy CROSS JOIN images ON path = busy_place "                      \
    "CROSS JOIN merges ON merges.id = merge WHERE busy_place <> base AND backing IS NOT NULL)"

/* Refuses to put something on an image that a merge has, or had: DeviceInUse while a job goes on
 * with it, or if it is over; GroupDeleting if its job ended early. Returns -1. */
int images_report_merge(struct connection *writer, const char *path, struct err *err);

/* Whether the chain of a device that is attached leaves all merges as they were planned: nothing
 * stands on, or has as top, an image that one of them writes to or removes, but what did before,
 * the top of a device that was detached among it.
 * Codes: as of images_report_merge(). */
int images_check_attach(struct connection *writer, const struct image_row *chain, size_t count,
                        struct err *err);

/* Whether all devices could be open at once with that chain as well, the way they would be refused
 * each other's images: one that is written to is in no other chain. So a device whose storage is
 * away finds its images as it left them. ImageInUse; DeviceInUse: by one that is being detached. */
int images_check_users(struct connection *writer, const struct device_row *row, struct err *err);

/* Of a chain that was read before some merge ended: whether none that has ended, or is about to,
 * had an image of it. Codes: as of images_report_merge(). */
int images_check_unmerged(struct connection *writer, const struct image_row *chain, size_t count,
                          struct err *err);

/* Records a chain, top to base: path, identity and format of each. The role of a top that is new is
 * `role`; if that is `attached`, it is kept no longer. */
int images_insert_chain(struct connection *writer, const struct image_row *chain, size_t count,
                        enum image_role role, struct err *err);

/* The row of an image whose chain is not known: the top of a device. A row that is there stays. */
int images_insert_unknown(struct connection *writer, const struct image_row *image,
                          struct err *err);

/* Of a chain that was recorded from `path` on before it was known to its end: a link that was taken
 * for the last image gets the path to which it leads, in all rows. */
int images_resolve(struct connection *writer, const char *path, const struct image_row *chain,
                   size_t count, struct err *err);

/* An image that is about to be made. A row that is there, of a file that is not, is replaced,
 * unless it is needed still: DeviceInUse. */
int images_insert_made(struct connection *writer, const struct image_row *image, struct err *err);

/* The image of a clone whose device goes while it is being created goes too. */
int images_delete_unmade(struct connection *writer, const char *device_id, struct err *err);

/* A group's overlays, `count` of them: recorded, on what each of them is put, with `preparing`
 * (DeviceInUse: as images_insert_made()); identified with `committing`; gone with `aborted`. */
int images_insert_overlays(struct connection *writer, const char *group_id, size_t count,
                           struct err *err);
int images_identify_overlays(struct connection *writer, const char *group_id, struct err *err);
int images_delete_overlays(struct connection *writer, const char *group_id, struct err *err);

/* The top of a device whose row goes is kept, unless it was read only. */
int images_keep_top(struct connection *writer, const char *device_id, struct err *err);

/* The top of a device goes, if nothing else needs it. */
int images_delete_top(struct connection *writer, const char *device_id, struct err *err);

/* A device has come: a plan is due if a merge of its top was left. It is about to go, with its top
 * or without: a plan is due if the image beneath, or a top that it only read, may be merged or
 * removed then. */
int images_plan_for_new(struct connection *writer, const char *device_id, struct err *err);
int images_plan_without(struct connection *writer, const char *device_id, bool top_goes,
                        struct err *err);

/* The image of a device whose creation is undone goes. */
int images_delete_created(struct connection *writer, const char *device_id, struct err *err);

#endif
