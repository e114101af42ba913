/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tables of options.c and commands.c are made of, and a command line that was read by
 * them.
 *
 * These two tables are the only place that knows which commands and options there are: parse.c,
 * settings.c, help.c and completion.c read them, and tests compare the manual page with them. A
 * command's function gets the tables by its `struct call`, so that it needs no file above it.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "clients/cli/failure.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order of options.c. */
enum option {
    OPTION_SOCKET,
    OPTION_URL,
    OPTION_TOKEN,
    OPTION_TOKEN_FILE,
    OPTION_CA_FILE,
    OPTION_CERT_FILE,
    OPTION_KEY_FILE,
    OPTION_OUTPUT,
    OPTION_TIMEOUT,
    OPTION_CONFIG,
    OPTION_HELP,
    OPTION_VERSION, /* the last one that every command takes */
    OPTION_AFTER,
    OPTION_ALLOW_CLIENT,
    OPTION_ALLOW_EVERYBODY,
    OPTION_AS,
    OPTION_CERT_DIR,
    OPTION_CLUSTER_SIZE,
    OPTION_CREATED_AFTER,
    OPTION_CREATED_BEFORE,
    OPTION_DATA,
    OPTION_DEADLINE,
    OPTION_DELETE_FILE,
    OPTION_DEVICE,
    OPTION_DISCARD_UNFLUSHED,
    OPTION_DISCONNECT,
    OPTION_DRY_RUN,
    OPTION_EXPIRES_AT,
    OPTION_EXTENDED_L2,
    OPTION_FOLLOW,
    OPTION_FORMAT,
    OPTION_GROUP,
    OPTION_IDEMPOTENCY_KEY,
    OPTION_IMAGE,
    OPTION_KIND,
    OPTION_LABEL,
    OPTION_LIMIT,
    OPTION_MATCH,
    OPTION_NAME,
    OPTION_NBD,
    OPTION_NO_WAIT,
    OPTION_READ_ONLY,
    OPTION_RELEASE,
    OPTION_SCOPE,
    OPTION_SELECTOR,
    OPTION_SETTLE,
    OPTION_SINCE,
    OPTION_SIZE,
    OPTION_STATE,
    OPTION_UNLABEL,
    OPTION_WAIT,
    OPTION_COUNT,
};
#define OPTION_BIT(option) (UINT64_C(1) << (option))
static_assert(OPTION_COUNT <= 64, "a command's options are the bits of a word");

/* What completes a value: words, names that the daemon has, or files. */
enum source {
    FROM_NOTHING,
    FROM_WORDS, /* those of `value`, which are separated by '|' */
    FROM_FILES,
    FROM_DEVICES,
    FROM_GROUPS,
    FROM_MEMBERS, /* DEVICE@GROUP */
    FROM_EXPORTS, /* devices and members */
    FROM_JOBS,
    FROM_TOKENS,
    FROM_HOLDS, /* of the group that is the first argument */
};

struct option_row {
    const char *name;
    char letter;       /* 0: none */
    bool is_setting;   /* also of the environment and of the file */
    bool is_repeated;  /* else: at most once on a command line */
    const char *value; /* its name in --help; NULL: it takes none */
    enum source source;
    const char *help;
};

#define ARGUMENTS_MAX 3

struct argument_row {
    const char *name; /* NULL: there is none */
    enum source source;
    bool is_optional;
    bool is_repeated; /* the last one: any number */
};

struct call;

struct command {
    const char *words; /* "device list" */
    struct argument_row arguments[ARGUMENTS_MAX];
    uint64_t options; /* besides those that every command takes */
    uint64_t needed;  /* of these */
    const char *summary;
    const char *details; /* paragraphs, or NULL */
    bool is_hidden;
    int (*run)(struct call *call);
};

struct option_use {
    enum option option;
    const char *value; /* "" if the option takes none */
};

/* A command line. The texts are those of argv, or of the settings. */
struct call {
    const struct option_row *option_rows; /* OPTION_COUNT */
    const struct command *commands;
    size_t command_count;
    const struct command *command;
    struct option_use *uses;
    size_t use_count;
    char **arguments; /* in argument_list */
    size_t argument_count;
    char **argument_list;
    char **texts; /* values of the settings' file */
    size_t text_count;
    struct client *client; /* NULL until client_open() */
    struct failure failure;
};

/* The value of an option, or NULL: it was not given. */
const char *call_option(const struct call *call, enum option option);
bool call_has(const struct call *call, enum option option);

/* The next value of an option that may be repeated; `*at` begins as 0. NULL: no more. */
const char *call_next(const struct call *call, enum option option, size_t *at);

/* The argument at `i`, or NULL. */
const char *call_argument(const struct call *call, size_t i);

#endif
