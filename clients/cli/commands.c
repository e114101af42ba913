/* SPDX-License-Identifier: Apache-2.0
 *
 * See commands.h.
 */
#include "clients/cli/commands.h"

#include "clients/cli/completion.h"
#include "clients/cli/device.h"
#include "clients/cli/raw.h"
#include "clients/cli/status.h"

#define BIT(name) OPTION_BIT(OPTION_##name)

/* clang-format off */
/* Arguments: anything, or of a source. */
#define IS(text)       {.name = text}
#define OF(text, from) {.name = text, .source = from}

/* Options of all calls that make something, of all lists, and of images. */
#define POSTS  BIT(IDEMPOTENCY_KEY)
#define LISTS  BIT(LIMIT)
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
