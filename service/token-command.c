/* SPDX-License-Identifier: Apache-2.0
 *
 * See token-command.h. A daemon that runs is called over its Unix socket. If none runs, the store
 * is opened: its lock keeps a daemon that runs without such a socket from being disturbed. Opened
 * by root, it is opened as the owner of the state directory, so that the daemon of another user
 * finds no file that it may not use.
 */
#include "service/token-command.h"

#include "base/cleanup.h"
#include "service/clock.h"
#include "service/context.h"
#include "service/events.h"
#include "service/local-call.h"
#include "service/names.h"
#include "service/options.h"
#include "service/tokens.h"
#include "store/tokens.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LIST_ROWS 1000 /* a page of REST has as many at most; TOKENS_MAX is no more */

static const char help[] =
    "Usage: snapgroupd token create --name NAME --scope read|snapshot|admin [--expires-at TIME]\n"
    "       snapgroupd token list\n"
    "       snapgroupd token delete --name NAME|ID\n"
    "Makes, lists and revokes bearer tokens, which callers over TCP need. `create` writes the\n"
    "secret to standard output, once; TIME is such as 2027-01-31T12:00:00Z.\n"
    "\n"
    "A daemon that runs is asked over its Unix socket; else the database is changed. Options of\n"
    "the daemon (--state-dir, --runtime-dir, --listen, --config) say where both are.\n";

CLEANUP_DEFINE(json, struct cJSON *, cJSON_Delete)

struct token_command {
    const char *verb, *name, *scope, *expires_at;
    struct options options;
    char socket_path[PATH_MAX]; /* "": no Unix socket is configured */
    struct service service;     /* if no daemon runs */
};

/* ---- the command line ---- */

bool token_command_is_meant(int argc, char **argv)
{
    return argc > 1 && strcmp(argv[1], "token") == 0;
}

/* The place of the value of --name and so on; NULL: the option is none of the command's own. */
static const char **value_of(struct token_command *command, const char *option, size_t chars)
{
    const struct {
        const char *name;
        const char **value;
    } own[] = {{"--name", &command->name},
               {"--scope", &command->scope},
               {"--expires-at", &command->expires_at}};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (strlen(own[i].name) == chars && strncmp(own[i].name, option, chars) == 0)
            return own[i].value;
    return NULL;
}

/* Takes the command's own options; the others become the arguments of a daemon. */
static int arguments_split(struct token_command *command, int argc, char **argv, char **rest,
                           struct err *err)
{
    int count = 0;
    rest[count++] = argv[0];
    for (int i = 3; i < argc; i++) {
        size_t chars = strcspn(argv[i], "=");
        const char **value = value_of(command, argv[i], chars);
        if (!value)
            rest[count++] = argv[i];
        else if (argv[i][chars] == '=')
            *value = argv[i] + chars + 1;
        else if (i + 1 < argc)
            *value = argv[++i];
        else
            return err_set(err, ErrInvalidParameter, 0, "'%s' lacks its value", argv[i]);
    }
    rest[count] = NULL;
    return count;
}

static int command_check(const struct token_command *command, struct err *err)
{
    bool is_create = strcmp(command->verb, "create") == 0;
    bool is_delete = strcmp(command->verb, "delete") == 0;
    if (!is_create && !is_delete && strcmp(command->verb, "list") != 0)
        return err_set(err, ErrInvalidParameter, 0, "'%s' is none of create, list and delete",
                       command->verb);
    if ((is_create || is_delete) != (command->name != NULL))
        return err_set(err, ErrInvalidParameter, 0, "--name goes with create and delete");
    if (is_create != (command->scope != NULL) || (command->expires_at && !is_create))
        return err_set(err, ErrInvalidParameter, 0, "--scope and --expires-at go with create");
    return 0;
}

/* The first Unix socket on which a daemon with these options serves REST. */
static void socket_find(struct token_command *command)
{
    const struct options *options = &command->options;
    if (options->listen.count == 0)
        snprintf(command->socket_path, PATH_MAX, "%s/api.sock", options->runtime_dir);
    for (size_t i = 0; i < options->listen.count && !*command->socket_path; i++)
        if (strncmp(options->listen.list[i], "unix:", 5) == 0)
            snprintf(command->socket_path, PATH_MAX, "%s", options->listen.list[i] + 5);
}

static int command_read(struct token_command *command, int argc, char **argv, struct err *err)
{
    command->verb = argc > 2 ? argv[2] : "";
    CLEANUP_FREE char **rest = calloc((size_t)argc + 1, sizeof(*rest));
    int count = rest ? arguments_split(command, argc, argv, rest, err)
                     : err_set(err, ErrOutOfResources, 0, "there is no memory for the options");
    if (count < 0 || command_check(command, err) != 0 ||
        options_parse(count, rest, &command->options, err) != 0)
        return -1;
    socket_find(command);
    return 0;
}

/* ---- output ---- */

static void token_print(const char *name, const char *scope, const char *expires_at, const char *id)
{
    printf("%-24s %-8s %-27s %s\n", name, scope, expires_at ? expires_at : "never", id);
}

static const char *text_of(const struct cJSON *json, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(json, name));
}

/* ---- with a daemon: as local_call() ---- */

static int online_create(const struct token_command *command, struct err *err)
{
    CLEANUP(json) struct cJSON *wanted = cJSON_CreateObject(), *made = NULL;
    cJSON_AddStringToObject(wanted, "name", command->name);
    cJSON_AddStringToObject(wanted, "scope", command->scope);
    if (command->expires_at)
        cJSON_AddStringToObject(wanted, "expires_at", command->expires_at);
    CLEANUP_FREE char *body = cJSON_PrintUnformatted(wanted);
    if (!body)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for a request");
    int ret = local_call(command->socket_path, "POST", "/tokens", body, &made, err);
    if (ret > 0 && text_of(made, "secret"))
        puts(text_of(made, "secret"));
    return ret;
}

static int online_list(const struct token_command *command, struct err *err)
{
    char path[128] = "/tokens?limit=1000";
    for (const char *next = ""; next;) {
        CLEANUP(json) struct cJSON *page = NULL;
        const struct cJSON *token;
        int ret = local_call(command->socket_path, "GET", path, NULL, &page, err);
        if (ret <= 0)
            return ret;
        cJSON_ArrayForEach(token, cJSON_GetObjectItem(page, "items"))
            token_print(text_of(token, "name"), text_of(token, "scope"),
                        text_of(token, "expires_at"), text_of(token, "id"));
        next = text_of(page, "next");
        if (next)
            snprintf(path, sizeof(path), "/tokens?limit=1000&cursor=%s", next);
    }
    return 1;
}

static int online_delete(const struct token_command *command, struct err *err)
{
    char path[128];
    CLEANUP(json) struct cJSON *none = NULL;
    if (!name_is_valid(command->name, TOKEN_NAME_MAX))
        return err_set(err, ErrTokenNotFound, 0, "there is no token '%s'", command->name);
    snprintf(path, sizeof(path), "/tokens/%s", command->name);
    return local_call(command->socket_path, "DELETE", path, NULL, &none, err);
}

/* ---- without one ---- */

static int offline_create(struct token_command *command, const struct origin *origin,
                          struct err *err)
{
    const char *field;
    struct token_request wanted;
    char secret[TOKEN_SECRET_CHARS + 1];
    CLEANUP_BY(token_row_clear) struct token_row row = {0};
    if (token_request_read(&wanted, command->name, command->scope, command->expires_at, &field,
                           err) != 0 ||
        tokens_create(&command->service, origin, &wanted, &row, secret, err) != 0)
        return -1;
    puts(secret);
    explicit_bzero(secret, sizeof(secret));
    return 0;
}

static int offline_list(struct token_command *command, struct err *err)
{
    bool more;
    size_t count;
    struct token_row *rows;
    char expiry[CLOCK_TEXT_BYTES];
    static_assert(TOKENS_MAX <= LIST_ROWS, "one page has all tokens");
    if (tokens_list(&command->service, NULL, LIST_ROWS, &rows, &count, &more, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        clock_format(rows[i].expires_at_us, expiry);
        token_print(rows[i].name, scope_name(rows[i].scope), rows[i].has_expiry ? expiry : NULL,
                    rows[i].id);
    }
    token_rows_free(rows, count);
    return 0;
}

static int offline_act(struct token_command *command, const struct origin *origin, struct err *err)
{
    command->service.tokens = tokens_new(&command->service, err);
    if (!command->service.tokens)
        return -1;
    int result = *command->verb == 'c' ? offline_create(command, origin, err)
                 : *command->verb == 'l'
                     ? offline_list(command, err)
                     : tokens_delete(&command->service, origin, command->name, NULL, err);
    tokens_free(command->service.tokens);
    return result;
}

/* Becomes the owner of the state directory, for the rest of the process. */
static int owner_become(const char *state_dir, struct err *err)
{
    struct stat st;
    if (stat(state_dir, &st) != 0)
        return err_set(err, ErrOpenFileFailed, errno,
                       "no daemon runs, and state directory '%s' cannot be examined", state_dir);
    if (geteuid() != 0 || st.st_uid == 0)
        return 0;
    if (setgroups(0, NULL) == 0 && setresgid(st.st_gid, st.st_gid, st.st_gid) == 0 &&
        setresuid(st.st_uid, st.st_uid, st.st_uid) == 0)
        return 0;
    return err_set(err, ErrOpenFileFailed, errno, "root cannot become the owner of '%s'",
                   state_dir);
}

static int command_run_offline(struct token_command *command, struct err *err)
{
    CLEANUP_FREE char *database = NULL;
    struct origin origin = {0};
    snprintf(origin.actor, sizeof(origin.actor), "uid %d", (int)geteuid());
    pthread_mutex_init(&command->service.settle_lock, NULL);
    if (owner_become(command->options.state_dir, err) != 0)
        return -1;
    if (asprintf(&database, "%s/snapgroupd.db", command->options.state_dir) < 0) {
        database = NULL;
        return err_set(err, ErrOutOfResources, 0, "there is no memory for a path");
    }
    command->service.store = store_open(database, err);
    if (!command->service.store)
        return -1;
    int result = offline_act(command, &origin, err);
    store_close(command->service.store);
    return result;
}

/* ---- the command ---- */

static int command_run(struct token_command *command, struct err *err)
{
    int ret = 0;
    if (*command->socket_path)
        ret = *command->verb == 'c'   ? online_create(command, err)
              : *command->verb == 'l' ? online_list(command, err)
                                      : online_delete(command, err);
    if (ret < 0 || (ret == 0 && command_run_offline(command, err) != 0))
        return -1;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return err_set(err, ErrOpenFileFailed, errno, "standard output cannot be written%s",
                   *command->verb == 'c' ? "; delete the token and make it again" : "");
}

static void command_clear(struct token_command *command)
{
    options_clear(&command->options);
}

int token_command_run(int argc, char **argv)
{
    struct err err;
    CLEANUP_BY(command_clear) struct token_command command = {0};
    if (argc > 2 && strcmp(argv[2], "--help") == 0) {
        fputs(help, stdout);
        return 0;
    }
    if (command_read(&command, argc, argv, &err) != 0) {
        fprintf(stderr, "snapgroupd: %s\n%s", err.message, help);
        return 2;
    }
    if (command.options.wants_help)
        fputs(help, stdout);
    else if (command_run(&command, &err) != 0)
        return fprintf(stderr, "snapgroupd: %s\n", err.message), 1;
    return 0;
}
