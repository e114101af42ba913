/* SPDX-License-Identifier: Apache-2.0
 *
 * One table of options, from which the command line, the environment and the configuration file are
 * read and --help is printed. An option --some-name is SNAPGROUPD_SOME_NAME in the environment and
 * some-name in the file. Precedence, option by option:
 *
 *   command line > environment > file > fallback of the table
 *
 * An empty variable counts as unset, and unknown variables are ignored: other programs share the
 * prefix. An unknown name in the file is an error: it is ours alone.
 */
#include "service/options.h"

#include "service/options-file.h"
#include "service/options-tls.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

enum option_effect {
    STARTS,  /* taken at the start */
    RELOADS, /* taken at the start and at each reload */
};

struct option_row {
    const char *name;
    enum option_effect effect;
    enum option_kind kind;
    const char *argument; /* its name in --help; NULL: none */
    const char *fallback; /* its value if it is not given; in brackets only shown */
    size_t offset;        /* of its value in struct options */
    const char *help;     /* lines */
};

/* A copy of a value. */
struct option_text {
    struct option_text *next;
    char text[];
};

/* option_value_take() stores enums as unsigned. */
static_assert(sizeof(enum nbd_tls_mode) == sizeof(unsigned), "stored as unsigned");
static_assert(sizeof(enum log_form) == sizeof(unsigned), "stored as unsigned");
static_assert(sizeof(enum log_level) == sizeof(unsigned), "stored as unsigned");

#define VALUE(member) offsetof(struct options, member)

static const struct option_row rows[] = {
    {"config", STARTS, OPTION_CONFIG, "FILE", "[" OPTIONS_FILE_DEFAULT ", if there]", VALUE(config),
     "read options from there"},
    {"check-config", STARTS, OPTION_COMMAND, NULL, NULL, VALUE(wants_check),
     "check all options and the files that they name, and exit"},
    {"state-dir", STARTS, OPTION_TEXT, "DIR", "/var/lib/snapgroupd/state", VALUE(state_dir),
     "directory of the database"},
    {"image-dir", STARTS, OPTION_TEXT, "DIR", "/var/lib/snapgroupd/images", VALUE(image_dir),
     "directory of all images"},
    {"runtime-dir", STARTS, OPTION_TEXT, "DIR", "/run/snapgroupd", VALUE(runtime_dir),
     "directory of the journals and the default sockets"},
    {"listen", STARTS, OPTION_ADDRESS, "ADDRESS", "[unix:RUNTIME-DIR/api.sock]", VALUE(listen),
     "serve REST there"},
    {"allow-group", RELOADS, OPTION_GROUP, "GROUP[=SCOPE]", NULL, VALUE(allow_groups),
     "members of this group may call over Unix sockets: read,\n"
     "snapshot, or admin (the default); may be repeated"},
    {"nbd", STARTS, OPTION_ADDRESS, "ADDRESS", "[unix:RUNTIME-DIR/nbd.sock]", VALUE(nbd),
     "serve NBD there"},
    {"index-memory", RELOADS, OPTION_BYTES, "SIZE", "256M", VALUE(index_memory_bytes),
     "memory for the block maps of all devices (K, M, G, T may\n"
     "follow); 1/8192 of the bytes in use is enough"},
    {"table-memory", RELOADS, OPTION_BYTES, "SIZE", "1G", VALUE(table_memory_bytes),
     "memory for the tables of all qcow2 images; with less, more\n"
     "of them are read again"},
    {"idempotency-retention", RELOADS, OPTION_SECONDS, "SECONDS", "86400",
     VALUE(idempotency_retention_s),
     "how long a request with an Idempotency-Key may be repeated\n"
     "for its first answer: 60 to 31536000"},
    {"tls-cert-dir", RELOADS, OPTION_TEXT, "DIR", NULL, VALUE(tls_cert_dir),
     "directory of server-cert.pem and server-key.pem for TLS;\n"
     "with ca-cert.pem (and, if any, ca-crl.pem) clients may show\n"
     "a certificate of that CA"},
    {"tls-client-scope", RELOADS, OPTION_ADDRESS, "NAME=SCOPE", NULL, VALUE(tls_client_scopes),
     "what a client whose certificate has that name may do over\n"
     "REST without a token: read, snapshot or admin"},
    {"nbd-tls", RELOADS, OPTION_CHOICE, "off|optional|required", "off", VALUE(nbd_tls.mode),
     "TLS for NBD"},
    {"nbd-tls-cert-dir", RELOADS, OPTION_TEXT, "DIR", NULL, VALUE(nbd_tls.cert_dir),
     "directory of server-cert.pem and server-key.pem, and for\n"
     "--nbd-tls-verify-peer of ca-cert.pem and, if any, ca-crl.pem"},
    {"nbd-tls-verify-peer", RELOADS, OPTION_FLAG, NULL, NULL, VALUE(nbd_tls.verify_peer),
     "every client needs a certificate of that CA, or a key"},
    {"nbd-tls-psk", RELOADS, OPTION_TEXT, "FILE", NULL, VALUE(nbd_tls.psk_file),
     "pre-shared keys: a line NAME:HEXKEY per client (psktool)"},
    {"log-format", RELOADS, OPTION_CHOICE, "auto|text|json|journal", "auto", VALUE(log_form),
     "the log: lines or JSON objects on standard error, or\n"
     "journald; auto is journal if standard error leads there"},
    {"log-level", RELOADS, OPTION_CHOICE, "error|warning|info|debug", "info", VALUE(log_level),
     "the least that is logged; info includes every change over\n"
     "REST, debug every call"},
    {"help", STARTS, OPTION_COMMAND, NULL, NULL, VALUE(wants_help), "print this and exit"},
    {"version", STARTS, OPTION_COMMAND, NULL, NULL, VALUE(wants_version),
     "print the version and exit"},
};
enum { ROWS = sizeof(rows) / sizeof(*rows), HELP_COLUMN = 26, FIRST_VALUE = 256 };

static const char help_head[] =
    "Usage: snapgroupd [OPTION]...\n"
    "Owns virtual disks, serves them over NBD and takes atomic group snapshots over REST.\n\n";

static const char help_tail[] =
    "\n"
    "ADDRESS is unix:PATH, or ADDR:PORT on the loopback interface: 127.0.0.1:7420, [::1]:0\n"
    "(port 0 picks a free one). --listen, --nbd and --tls-client-scope may be given more than\n"
    "once. --listen takes tls:ADDR:PORT too, for TLS, on any interface. --nbd takes\n"
    "other addresses too, such as 0.0.0.0:10809, if TLS authenticates every client: with\n"
    "--nbd-tls-verify-peer, or with --nbd-tls-psk and no certificates. TLS is required there\n"
    "even if it is optional elsewhere.\n"
    "\n"
    "In the environment, --some-name VALUE is SNAPGROUPD_SOME_NAME=VALUE (addresses separated\n"
    "by commas; 1 or 0 for an option without a value); in the file it is some-name = VALUE in\n"
    "section [snapgroupd]. The command line takes precedence over the environment, and that\n"
    "over the file.\n"
    "\n"
    "When all addresses are served, each is written to standard output on a line of its own\n"
    "(\"api ADDRESS\", \"nbd ADDRESS\"), then \"ready\". SIGTERM or SIGINT ends the daemon: it\n"
    "finishes running requests, flushes, and exits with 0, or with 1 if a flush failed.\n"
    "Exit status 2: an option is wrong.\n"
    "\n"
    "snapgroupd token --help: making tokens, which callers over TCP need.\n";

void options_print_help(void)
{
    fputs(help_head, stdout);
    for (const struct option_row *row = rows; row < rows + ROWS; row++) {
        int used = printf("  --%s%s%s", row->name, row->argument ? " " : "",
                          row->argument ? row->argument : "");
        if (used + 2 > HELP_COLUMN)
            used = printf("\n") - 1;
        for (const char *line = row->help; *line; used = 0) {
            size_t length = strcspn(line, "\n");
            printf("%*s%.*s", HELP_COLUMN - used, "", (int)length, line);
            line += length;
            if (*line && *line++ == '\n')
                putchar('\n');
        }
        if (row->effect == RELOADS)
            printf(" " OPTIONS_RELOADABLE);
        if (row->fallback)
            printf(*row->fallback == '[' ? "  %s" : "  [%s]", row->fallback);
        putchar('\n');
    }
    fputs(help_tail, stdout);
}

/* ---- sources ---- */

/* Whether the option may be given more than once. */
static bool row_is_list(const struct option_row *row)
{
    return row->kind == OPTION_ADDRESS || row->kind == OPTION_GROUP;
}

/* The value of the option `i`, from `source`. */
static int option_take(int i, const char *source, const char *text, struct options *options,
                       struct err *err)
{
    return option_value_take((char *)options + rows[i].offset, rows[i].kind, rows[i].argument,
                             source, text, err);
}

/* Marks what it finds in `given`. */
static int command_line_read(int argc, char **argv, bool given[ROWS], struct options *options,
                             struct err *err)
{
    struct option table[ROWS + 1] = {0};
    for (int i = 0; i < ROWS; i++)
        table[i] = (struct option){rows[i].name, rows[i].argument ? required_argument : no_argument,
                                   NULL, FIRST_VALUE + i};
    optind = 0; /* from the beginning, also at a reload */
    int found;
    while ((found = getopt_long(argc, argv, ":", table, NULL)) != -1) {
        if (found < FIRST_VALUE)
            return err_set(err, ErrInvalidParameter, 0, "'%s' %s", argv[optind - 1],
                           found == ':' ? "lacks its value" : "is no option or takes no value");
        char source[64];
        snprintf(source, sizeof(source), "--%s", rows[found - FIRST_VALUE].name);
        given[found - FIRST_VALUE] = true;
        if (option_take(found - FIRST_VALUE, source, optarg ? optarg : "1", options, err) != 0)
            return -1;
    }
    if (optind == argc)
        return 0;
    return err_set(err, ErrInvalidParameter, 0, "'%s' is no option", argv[optind]);
}

/* A copy of `text` that lives as long as the options; NULL without memory. */
static char *text_keep(struct options *options, const char *text)
{
    struct option_text *copy = malloc(sizeof(*copy) + strlen(text) + 1);
    if (!copy)
        return NULL;
    copy->next = options->texts;
    options->texts = copy;
    return strcpy(copy->text, text);
}

/* Takes a value of the environment or of the file: of an address or a group, a list. */
static int value_read(int i, const char *source, const char *text, struct options *options,
                      struct err *err)
{
    char *rest = text_keep(options, text);
    if (!rest)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for %s", source);
    if (!row_is_list(&rows[i]))
        return option_take(i, source, rest, options, err);
    for (char *one; (one = strsep(&rest, ","));)
        if (option_take(i, source, one, options, err) != 0)
            return -1;
    return 0;
}

static int variable_read(int i, bool *given, struct options *options, struct err *err)
{
    char name[64];
    snprintf(name, sizeof(name), "SNAPGROUPD_%s", rows[i].name);
    for (char *c = name; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    const char *text = getenv(name);
    if (*given || rows[i].kind == OPTION_COMMAND || !text || !*text)
        return 0;
    *given = true;
    return value_read(i, name, text, options, err);
}

struct file_reading {
    struct options *options;
    const bool *given; /* by command line or environment: not taken */
    bool found[ROWS];
};

/* Checks the value also if it is not taken. */
static int setting_read(void *context, const char *source, const char *name, const char *value,
                        struct err *err)
{
    struct file_reading *reading = context;
    int i = 0;
    while (i < ROWS && (rows[i].kind >= OPTION_CONFIG || strcmp(rows[i].name, name) != 0))
        i++;
    if (i == ROWS)
        return err_set(err, ErrInvalidParameter, 0, "%s: '%s' is no option of the file", source,
                       name);
    if (reading->found[i] && !row_is_list(&rows[i]))
        return err_set(err, ErrInvalidParameter, 0, "%s: '%s' was given before", source, name);
    reading->found[i] = true;
    CLEANUP_BY(options_clear) struct options unused = {0};
    return value_read(i, source, value, reading->given[i] ? &unused : reading->options, err);
}

/* Marks what it finds in `given`. */
static int file_read(bool given[ROWS], struct options *options, struct err *err)
{
    struct file_reading reading = {.options = options, .given = given};
    int result = options_file_read(options->config, setting_read, &reading, err);
    for (int i = 0; i < ROWS; i++)
        given[i] |= reading.found[i];
    return result;
}

/* Drops the address at which the passed socket listens already. */
static void addresses_drop(struct option_addresses *addresses, int passed)
{
    size_t left = 0;
    for (size_t i = 0; i < addresses->count; i++) {
        const char *text = addresses->list[i];
        if (strncmp(text, "unix:", 5) != 0 ||
            sd_is_socket_unix(passed, SOCK_STREAM, 1, text + 5, 0) <= 0)
            addresses->list[left++] = text;
    }
    addresses->count = left;
}

/* Adds a socket that the service manager passes, which is called "api", "api-tls" or "nbd". */
static int socket_take(const char *name, int fd, struct options *options, struct err *err)
{
    bool has_tls = strcmp(name, "api-tls") == 0;
    struct option_addresses *addresses = has_tls || strcmp(name, "api") == 0 ? &options->listen
                                         : strcmp(name, "nbd") == 0          ? &options->nbd
                                                                             : NULL;
    char text[32];
    snprintf(text, sizeof(text), "%sfd:%d", has_tls ? OPTIONS_TLS_PREFIX : "", fd);
    const char *kept = text_keep(options, text);
    if (!kept)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for a socket");
    if (!addresses)
        return err_set(err, ErrInvalidParameter, 0,
                       "a passed socket is called '%s'; FileDescriptorName= must be api, api-tls "
                       "or nbd",
                       name);
    addresses_drop(addresses, fd);
    return option_value_take(addresses, OPTION_ADDRESS, NULL, "LISTEN_FDS", kept, err);
}

static int sockets_read(struct options *options, struct err *err)
{
    char **names = NULL;
    int count = sd_listen_fds_with_names(0, &names), result = 0;
    for (int i = 0; i < count && result == 0; i++)
        result = socket_take(names[i], SD_LISTEN_FDS_START + i, options, err);
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return result;
}

int options_parse(int argc, char **argv, struct options *options, struct err *err)
{
    bool given[ROWS] = {0};
    *options = (struct options){.argc = argc, .argv = argv};
    if (command_line_read(argc, argv, given, options, err) != 0)
        return -1;
    if (options->wants_help || options->wants_version)
        return 0;
    for (int i = 0; i < ROWS; i++)
        if (variable_read(i, &given[i], options, err) != 0)
            return -1;
    if (file_read(given, options, err) != 0 || sockets_read(options, err) != 0)
        return -1;
    options->image_dir_given = options->image_dir != NULL;
    for (int i = 0; i < ROWS; i++)
        if (!given[i] && rows[i].fallback && *rows[i].fallback != '[' &&
            option_take(i, rows[i].name, rows[i].fallback, options, err) != 0)
            return -1;
    return options_settle_tls(&(struct tls_options){.listen = &options->listen,
                                                    .cert_dir = options->tls_cert_dir,
                                                    .client_scopes = &options->tls_client_scopes,
                                                    .nbd = &options->nbd_tls},
                              err);
}

void options_changes(const struct options *old, const struct options *new, bool reloadable,
                     char *names, size_t bytes)
{
    size_t used = 0;
    *names = '\0';
    for (int i = 0; i < ROWS; i++) {
        const void *was = (const char *)old + rows[i].offset;
        const void *is = (const char *)new + rows[i].offset;
        if ((rows[i].effect == RELOADS) == reloadable &&
            !option_value_equals(rows[i].kind, was, is) && used < bytes)
            used += (size_t)snprintf(names + used, bytes - used, "%s--%s", used ? ", " : "",
                                     rows[i].name);
    }
}

void options_clear(struct options *options)
{
    for (struct option_text *next, *text = options->texts; text; text = next) {
        next = text->next;
        free(text);
    }
    *options = (struct options){0};
}
