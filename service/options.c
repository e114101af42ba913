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
#include "service/utf8.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum option_kind {
    OPTION_TEXT,    /* const char * */
    OPTION_ADDRESS, /* struct option_addresses; may be repeated */
    OPTION_BYTES,   /* uint64_t; K, M, G, T may follow */
    OPTION_CHOICE,  /* an enum: the position among the words of `argument` */
    OPTION_FLAG,    /* bool; 1 or 0 in environment and file */
    OPTION_CONFIG,  /* const char *; not in the file */
    OPTION_COMMAND, /* bool; from here on: command line only */
    OPTION_HELP,
    OPTION_VERSION,
};

struct option_row {
    const char *name;
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

/* option_take() stores enums as unsigned. */
static_assert(sizeof(enum nbd_tls_mode) == sizeof(unsigned));
static_assert(sizeof(enum log_form) == sizeof(unsigned));
static_assert(sizeof(enum log_level) == sizeof(unsigned));

#define VALUE(member) offsetof(struct options, member)

static const struct option_row rows[] = {
    {"config", OPTION_CONFIG, "FILE", "[" OPTIONS_FILE_DEFAULT ", if there]", VALUE(config),
     "read options from there"},
    {"check-config", OPTION_COMMAND, NULL, NULL, VALUE(check_config),
     "check all options and the files that they name, and exit"},
    {"state-dir", OPTION_TEXT, "DIR", "/var/lib/snapgroupd/state", VALUE(state_dir),
     "directory of the database"},
    {"image-dir", OPTION_TEXT, "DIR", "/var/lib/snapgroupd/images", VALUE(image_dir),
     "directory of all images"},
    {"runtime-dir", OPTION_TEXT, "DIR", "/run/snapgroupd", VALUE(runtime_dir),
     "directory of the journals and the default sockets"},
    {"listen", OPTION_ADDRESS, "ADDRESS", "[unix:RUNTIME-DIR/api.sock]", VALUE(listen),
     "serve REST there"},
    {"nbd", OPTION_ADDRESS, "ADDRESS", "[unix:RUNTIME-DIR/nbd.sock]", VALUE(nbd),
     "serve NBD there"},
    {"index-memory", OPTION_BYTES, "SIZE", "256M", VALUE(index_memory_bytes),
     "memory for the block maps of all devices (K, M, G, T may\n"
     "follow); 1/8192 of the bytes in use is enough"},
    {"nbd-tls", OPTION_CHOICE, "off|optional|required", "off", VALUE(nbd_tls.mode), "TLS for NBD"},
    {"nbd-tls-cert-dir", OPTION_TEXT, "DIR", NULL, VALUE(nbd_tls.cert_dir),
     "directory of server-cert.pem and server-key.pem, and for\n"
     "--nbd-tls-verify-peer of ca-cert.pem and, if any, ca-crl.pem"},
    {"nbd-tls-verify-peer", OPTION_FLAG, NULL, NULL, VALUE(nbd_tls.verify_peer),
     "every client needs a certificate of that CA, or a key"},
    {"nbd-tls-psk", OPTION_TEXT, "FILE", NULL, VALUE(nbd_tls.psk_file),
     "pre-shared keys: a line NAME:HEXKEY per client (psktool)"},
    {"log-format", OPTION_CHOICE, "auto|text|json|journal", "auto", VALUE(log_form),
     "the log: lines or JSON objects on standard error, or\n"
     "journald; auto is journal if standard error leads there"},
    {"log-level", OPTION_CHOICE, "error|warning|info|debug", "info", VALUE(log_level),
     "the least that is logged; info includes every change over\n"
     "REST, debug every call"},
    {"help", OPTION_HELP, NULL, NULL, 0, "print this and exit"},
    {"version", OPTION_VERSION, NULL, NULL, 0, "print the version and exit"},
};
enum { ROWS = sizeof(rows) / sizeof(*rows), HELP_COLUMN = 26, FIRST_VALUE = 256 };

static const char help_head[] =
    "Usage: snapgroupd [OPTION]...\n"
    "Owns virtual disks, serves them over NBD and takes atomic group snapshots over REST.\n\n";

static const char help_tail[] =
    "\n"
    "ADDRESS is unix:PATH, or ADDR:PORT on the loopback interface: 127.0.0.1:7420, [::1]:0\n"
    "(port 0 picks a free one). --listen and --nbd may be given more than once. --nbd takes\n"
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
    "Exit status 2: an option is wrong.\n";

static void help_print(void)
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
        if (row->fallback)
            printf(*row->fallback == '[' ? "  %s" : "  [%s]", row->fallback);
        putchar('\n');
    }
    fputs(help_tail, stdout);
}

/* ---- values ---- */

static int options_wrong(void)
{
    fprintf(stderr, "Try 'snapgroupd --help'.\n");
    return 2;
}

/* `source` is the option or variable, for messages. */
static int value_wrong(const char *source, const char *text, const char *why)
{
    fprintf(stderr, "snapgroupd: %s: '%s' is %s\n", source, text, why);
    return options_wrong();
}

static int value_unprintable(const char *source)
{
    fprintf(stderr, "snapgroupd: %s: the value is empty or not UTF-8\n", source);
    return options_wrong();
}

static int take_address(struct option_addresses *addresses, const char *source, const char *text)
{
    if (addresses->count == OPTIONS_ADDRESSES_MAX) {
        fprintf(stderr, "snapgroupd: %s: at most %d addresses\n", source, OPTIONS_ADDRESSES_MAX);
        return options_wrong();
    }
    addresses->list[addresses->count++] = text;
    return OPTIONS_RUN;
}

static int take_bytes(uint64_t *bytes, const char *source, const char *text)
{
    static const char suffixes[] = "KMGT";
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    const char *suffix = *end ? strchr(suffixes, *end) : NULL;
    unsigned shift = suffix ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
    if (errno || *text < '0' || *text > '9' || (*end && (!suffix || end[1])) ||
        value > UINT64_MAX >> 8 >> shift)
        return value_wrong(source, text, "no size: a number, and K, M, G or T");
    *bytes = (uint64_t)value << shift;
    return OPTIONS_RUN;
}

/* `words`: separated by '|', in the order of the enum. */
static int take_choice(const char *words, unsigned *value, const char *source, const char *text)
{
    const char *word = words;
    for (unsigned i = 0; *word; i++) {
        size_t length = strcspn(word, "|");
        if (strlen(text) == length && strncmp(text, word, length) == 0) {
            *value = i;
            return OPTIONS_RUN;
        }
        word += length + (word[length] == '|');
    }
    fprintf(stderr, "snapgroupd: %s: '%s' is not one of %s\n", source, text, words);
    return options_wrong();
}

static int take_flag(bool *flag, const char *source, const char *text)
{
    if (strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
        return value_wrong(source, text, "neither 1 nor 0");
    *flag = *text == '1';
    return OPTIONS_RUN;
}

static int option_take(const struct option_row *row, const char *source, const char *text,
                       struct options *options)
{
    void *value = (char *)options + row->offset;
    if (!*text || !utf8_is_valid(text))
        return value_unprintable(source);
    switch (row->kind) {
    case OPTION_TEXT:
    case OPTION_CONFIG:
        *(const char **)value = text;
        return OPTIONS_RUN;
    case OPTION_ADDRESS:
        return take_address(value, source, text);
    case OPTION_BYTES:
        return take_bytes(value, source, text);
    case OPTION_CHOICE:
        return take_choice(row->argument, value, source, text);
    case OPTION_FLAG:
    case OPTION_COMMAND:
        return take_flag(value, source, text);
    case OPTION_HELP:
        help_print();
        return 0;
    case OPTION_VERSION:
        puts("snapgroupd " SNAPGROUPD_VERSION);
        return 0;
    }
    assert(false);
    return 2;
}

/* ---- sources ---- */

/* Marks what it finds in `given`. */
static int command_line_read(int argc, char **argv, bool given[ROWS], struct options *options)
{
    struct option table[ROWS + 1] = {0};
    for (int i = 0; i < ROWS; i++)
        table[i] = (struct option){rows[i].name, rows[i].argument ? required_argument : no_argument,
                                   NULL, FIRST_VALUE + i};
    int found;
    while ((found = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (found < FIRST_VALUE)
            return options_wrong();
        const struct option_row *row = &rows[found - FIRST_VALUE];
        char source[64];
        snprintf(source, sizeof(source), "--%s", row->name);
        given[found - FIRST_VALUE] = true;
        int status = option_take(row, source, optarg ? optarg : "1", options);
        if (status != OPTIONS_RUN)
            return status;
    }
    if (optind == argc)
        return OPTIONS_RUN;
    fprintf(stderr, "snapgroupd: '%s' is no option\n", argv[optind]);
    return options_wrong();
}

/* A copy of `text` that lives as long as the options; NULL, after a message. */
static char *text_keep(struct options *options, const char *text)
{
    struct option_text *copy = malloc(sizeof(*copy) + strlen(text) + 1);
    if (!copy) {
        fprintf(stderr, "snapgroupd: out of memory\n");
        return NULL;
    }
    copy->next = options->texts;
    options->texts = copy;
    return strcpy(copy->text, text);
}

/* Takes a value of the environment or of the file: of an address, a list. */
static int value_read(const struct option_row *row, const char *source, const char *text,
                      struct options *options)
{
    char *rest = text_keep(options, text);
    if (!rest)
        return 1;
    if (row->kind != OPTION_ADDRESS)
        return option_take(row, source, rest, options);
    int status = OPTIONS_RUN;
    for (char *one; status == OPTIONS_RUN && (one = strsep(&rest, ","));)
        status = option_take(row, source, one, options);
    return status;
}

static int variable_read(const struct option_row *row, bool *given, struct options *options)
{
    char name[64];
    snprintf(name, sizeof(name), "SNAPGROUPD_%s", row->name);
    for (char *c = name; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    const char *text = getenv(name);
    if (*given || row->kind >= OPTION_COMMAND || !text || !*text)
        return OPTIONS_RUN;
    *given = true;
    return value_read(row, name, text, options);
}

struct file_reading {
    struct options *options;
    const bool *given; /* by command line or environment: not taken */
    bool found[ROWS];
};

static bool setting_wrong(const char *source, const char *name, const char *why)
{
    fprintf(stderr, "snapgroupd: %s: '%s' %s\n", source, name, why);
    options_wrong();
    return false;
}

/* Checks the value also if it is not taken. */
static bool setting_read(void *context, const char *source, const char *name, const char *value)
{
    struct file_reading *reading = context;
    int i = 0;
    while (i < ROWS && (rows[i].kind >= OPTION_CONFIG || strcmp(rows[i].name, name) != 0))
        i++;
    if (i == ROWS)
        return setting_wrong(source, name, "is no option of the file");
    if (reading->found[i] && rows[i].kind != OPTION_ADDRESS)
        return setting_wrong(source, name, "was given before");
    reading->found[i] = true;
    CLEANUP_BY(options_clear) struct options unused = {0};
    struct options *options = reading->given[i] ? &unused : reading->options;
    return value_read(&rows[i], source, value, options) == OPTIONS_RUN;
}

/* Marks what it finds in `given`. */
static int file_read(bool given[ROWS], struct options *options)
{
    struct file_reading reading = {.options = options, .given = given};
    bool is_right = options_file_read(options->config, setting_read, &reading);
    for (int i = 0; i < ROWS; i++)
        given[i] |= reading.found[i];
    return is_right ? OPTIONS_RUN : 2;
}

/* An option that has no effect would leave an operator in the belief that it has. */
static int options_check_tls(const struct nbd_tls_spec *tls)
{
    const char *wrong = NULL;
    if (tls->mode == NBD_TLS_OFF && (tls->cert_dir || tls->psk_file || tls->verify_peer))
        wrong = "--nbd-tls-* options need --nbd-tls optional or required";
    else if (tls->mode != NBD_TLS_OFF && !tls->cert_dir && !tls->psk_file)
        wrong = "--nbd-tls needs --nbd-tls-cert-dir, --nbd-tls-psk, or both";
    else if (tls->verify_peer && !tls->cert_dir)
        wrong = "--nbd-tls-verify-peer needs --nbd-tls-cert-dir";
    if (!wrong)
        return OPTIONS_RUN;
    fprintf(stderr, "snapgroupd: %s\n", wrong);
    return options_wrong();
}

int options_parse(int argc, char **argv, struct options *options)
{
    bool given[ROWS] = {0};
    *options = (struct options){0};
    int status = command_line_read(argc, argv, given, options);
    for (int i = 0; i < ROWS && status == OPTIONS_RUN; i++)
        status = variable_read(&rows[i], &given[i], options);
    if (status == OPTIONS_RUN)
        status = file_read(given, options);
    options->image_dir_given = options->image_dir != NULL;
    for (int i = 0; i < ROWS && status == OPTIONS_RUN; i++)
        if (!given[i] && rows[i].fallback && *rows[i].fallback != '[')
            status = option_take(&rows[i], rows[i].name, rows[i].fallback, options);
    return status == OPTIONS_RUN ? options_check_tls(&options->nbd_tls) : status;
}

void options_clear(struct options *options)
{
    for (struct option_text *next, *text = options->texts; text; text = next) {
        next = text->next;
        free(text);
    }
    *options = (struct options){0};
}
