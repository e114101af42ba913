/* SPDX-License-Identifier: Apache-2.0
 *
 * See commands.h.
 */
#include "clients/cli/commands.h"

#include "clients/cli/attach.h"
#include "clients/cli/completion.h"
#include "clients/cli/device.h"
#include "clients/cli/event.h"
#include "clients/cli/group-take.h"
#include "clients/cli/group.h"
#include "clients/cli/job.h"
#include "clients/cli/raw.h"
#include "clients/cli/status.h"
#include "clients/cli/token.h"

#define BIT(name) OPTION_BIT(OPTION_##name)

/* clang-format off */
/* Arguments: anything, or of a source. */
#define IS(text)       {.name = text}
#define OF(text, from) {.name = text, .source = from}

/* Options of all calls that make something, of lists, work that is awaited, groups and images. */
#define POSTS  BIT(IDEMPOTENCY_KEY)
#define LISTS  BIT(LIMIT)
#define WAITS  (BIT(WAIT) | BIT(NO_WAIT))
#define MAKES  (POSTS | WAITS | BIT(DRY_RUN) | BIT(LABEL) | BIT(DEADLINE) | BIT(SETTLE))
#define IMAGES (POSTS | BIT(LABEL) | BIT(ALLOW_CLIENT) | BIT(CLUSTER_SIZE) | BIT(EXTENDED_L2))

const struct command command_rows[] = {
    {.words = "status", .run = run_status,
     .summary = "Shows the daemon, what has failed and what is going on"},

    {.words = "device list", .run = run_device_list, .options = LISTS | BIT(STATE) | BIT(NAME) | BIT(LABEL),
     .summary = "Lists devices by name"},
    {.words = "device show", .run = run_device_show, .arguments = {OF("DEVICE", FROM_DEVICES)},
     .summary = "Shows all about a device"},
    {.words = "device create", .run = run_device_create, .arguments = {IS("DEVICE")},
     .options = IMAGES | BIT(SIZE) | BIT(IMAGE) | BIT(FORMAT), .needed = BIT(SIZE),
     .summary = "Creates a disk, and its image"},
    {.words = "device attach", .run = run_device_attach, .arguments = {IS("DEVICE"), IS("IMAGE")},
     .options = IMAGES | BIT(FORMAT) | BIT(READ_ONLY) | BIT(DISCARD_UNFLUSHED), .needed = BIT(FORMAT),
     .summary = "Attaches an image that exists",
     .details = "IMAGE is the path of a file beneath the daemon's image directory. Its format is never\n"
                "guessed: a guest could write what makes a raw disk look like another one."},
    {.words = "device clone", .run = run_device_clone, .arguments = {OF("DEVICE@GROUP", FROM_MEMBERS), IS("NEW")},
     .options = IMAGES | BIT(IMAGE),
     .summary = "Makes a disk with the content of a frozen one",
     .details = "This takes milliseconds, whatever the size. The group stays as it is."},
    {.words = "device resize", .run = run_device_resize, .arguments = {OF("DEVICE", FROM_DEVICES), IS("SIZE")},
     .options = BIT(MATCH),
     .summary = "Makes a disk larger",
     .details = "Clients that are connected keep the size that they know."},
    {.words = "device update", .run = run_device_update, .arguments = {OF("DEVICE", FROM_DEVICES)},
     .options = BIT(LABEL) | BIT(UNLABEL) | BIT(ALLOW_CLIENT) | BIT(ALLOW_EVERYBODY) | BIT(MATCH),
     .summary = "Changes labels, and who may connect",
     .details = "--allow-client, once or more, replaces the whole list."},
    {.words = "device detach", .run = run_device_detach, .arguments = {OF("DEVICE", FROM_DEVICES)},
     .options = BIT(DELETE_FILE) | BIT(DISCARD_UNFLUSHED) | BIT(MATCH),
     .summary = "Detaches a device; its files stay"},

    {.words = "group take", .run = run_group_take,
     .arguments = {IS("GROUP"), {.name = "DEVICE[=FILE]", .source = FROM_DEVICES, .is_optional = true, .is_repeated = true}},
     .options = MAKES | BIT(SELECTOR),
     .summary = "Freezes devices at one instant, all or none",
     .details = "FILE is the overlay to create, beneath the image directory [DEVICE+GROUP.qcow2 there]. The\n"
                "frozen disks are read over NBD as DEVICE@GROUP."},
    {.words = "group list", .run = run_group_list,
     .options = LISTS | BIT(STATE) | BIT(KIND) | BIT(NAME) | BIT(DEVICE) | BIT(LABEL) | BIT(CREATED_AFTER) | BIT(CREATED_BEFORE),
     .summary = "Lists groups, newest first, failed attempts too"},
    {.words = "group show", .run = run_group_show, .arguments = {OF("GROUP", FROM_GROUPS)},
     .summary = "Shows all about a group"},
    {.words = "group update", .run = run_group_update, .arguments = {OF("GROUP", FROM_GROUPS)},
     .options = BIT(LABEL) | BIT(UNLABEL) | BIT(MATCH),
     .summary = "Changes labels"},
    {.words = "group rollback", .run = run_group_rollback, .arguments = {OF("GROUP", FROM_GROUPS)},
     .options = MAKES | BIT(NAME) | BIT(DISCONNECT),
     .summary = "Gives all devices of a group the content that it froze",
     .details = "Stop the guest first: it would write what it has in memory over the older content. Nothing\n"
                "is destroyed: what the devices have now is kept as a group (--name), and a rollback to that\n"
                "one undoes this one."},
    {.words = "group delete", .run = run_group_delete, .arguments = {OF("GROUP", FROM_GROUPS)},
     .options = WAITS | BIT(DRY_RUN) | BIT(MATCH),
     .summary = "Deletes a group: its images are merged",
     .details = "A job does it in the background, and this command waits for its end. Devices, clones and\n"
                "other groups keep what they have."},
    {.words = "group hold", .run = run_group_hold, .arguments = {OF("GROUP", FROM_GROUPS), OF("HOLD", FROM_HOLDS)},
     .options = BIT(RELEASE),
     .summary = "Keeps a group from being deleted",
     .details = "HOLD is a name of your own, so that others can hold the group too."},
    {.words = "group extents", .run = run_group_extents,
     .arguments = {OF("GROUP", FROM_GROUPS), OF("DEVICE", FROM_DEVICES)}, .options = LISTS | BIT(SINCE),
     .summary = "Lists what has changed in a frozen disk",
     .details = "Without --since: all that is allocated. What no extent covers has not changed."},
    {.words = "group copy", .run = run_group_copy,
     .arguments = {OF("GROUP", FROM_GROUPS), OF("DEVICE", FROM_DEVICES), IS("IMAGE")},
     .options = POSTS | WAITS | BIT(FORMAT) | BIT(DRY_RUN), .needed = BIT(FORMAT),
     .summary = "Copies a frozen disk to an image of its own",
     .details = "IMAGE is a new file beneath the image directory. A job does it, and this command waits for\n"
                "its end."},

    {.words = "job list", .run = run_job_list, .options = LISTS | BIT(STATE),
     .summary = "Lists jobs, newest first"},
    {.words = "job show", .run = run_job_show, .arguments = {OF("JOB", FROM_JOBS)},
     .summary = "Shows all about a job"},
    {.words = "job watch", .run = run_job_watch, .arguments = {OF("JOB", FROM_JOBS)},
     .summary = "Waits for the end of a job",
     .details = "The exit status is 0 if the job was done, and 1 if it failed or was cancelled."},
    {.words = "job cancel", .run = run_job_cancel, .arguments = {OF("JOB", FROM_JOBS)},
     .summary = "Ends a job before it is done"},
    {.words = "job pause", .run = run_job_pause, .arguments = {OF("JOB", FROM_JOBS)},
     .summary = "Lets a job rest"},
    {.words = "job resume", .run = run_job_resume, .arguments = {OF("JOB", FROM_JOBS)},
     .summary = "Lets a job go on"},
    {.words = "job limit", .run = run_job_limit, .arguments = {OF("JOB", FROM_JOBS), IS("RATE")},
     .summary = "Limits how many bytes a job copies a second",
     .details = "RATE is a size, such as 50M; 0: no limit."},

    {.words = "events", .run = run_events,
     .options = LISTS | BIT(FOLLOW) | BIT(AFTER) | BIT(KIND) | BIT(DEVICE) | BIT(GROUP),
     .summary = "Lists what has happened, oldest first",
     .details = "With --follow those to come, or all after --after, as they come; as JSON each on a line. A\n"
                "connection that is lost is made again, and nothing is left out."},

    {.words = "attach", .run = run_attach, .arguments = {OF("DEVICE[@GROUP]", FROM_EXPORTS)},
     .options = BIT(AS) | BIT(NBD) | BIT(CERT_DIR), .needed = BIT(AS),
     .summary = "Prints what to paste so that a program uses a disk",
     .details = "Nothing is changed, here or in the daemon. The address is the one that the daemon names for\n"
                "its own machine; elsewhere say --nbd."},

    {.words = "token create", .run = run_token_create, .arguments = {IS("TOKEN")},
     .options = POSTS | BIT(SCOPE) | BIT(EXPIRES_AT), .needed = BIT(SCOPE),
     .summary = "Makes a bearer token",
     .details = "Its secret is shown this once; -o name prints nothing else."},
    {.words = "token list", .run = run_token_list, .options = LISTS, .summary = "Lists tokens by name"},
    {.words = "token show", .run = run_token_show, .arguments = {OF("TOKEN", FROM_TOKENS)},
     .summary = "Shows all about a token, but not its secret"},
    {.words = "token revoke", .run = run_token_revoke, .arguments = {OF("TOKEN", FROM_TOKENS)},
     .summary = "Revokes a token, at once"},

    {.words = "api", .run = run_api, .arguments = {IS("METHOD"), IS("PATH")},
     .options = POSTS | BIT(DATA) | BIT(MATCH),
     .summary = "Makes any call of the REST interface",
     .details = "PATH may have a query. The reply's body is written as it came. See snapgroupd-api(7)."},
    {.words = "completion", .run = run_completion, .arguments = {OF("bash|zsh", FROM_WORDS)},
     .summary = "Prints what makes a shell complete commands and names"},
    {.words = "__complete", .run = run_complete, .arguments = {{.name = "WORD", .is_optional = true, .is_repeated = true}},
     .is_hidden = true,
     .summary = "Prints what may come in place of the last WORD"},
};
/* clang-format on */
const size_t command_row_count = sizeof(command_rows) / sizeof(*command_rows);
