/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line. See options.h.
 */
#include "service/options.h"

#include "block/block.h"
#include "service/utf8.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Usage: snapgroupd [OPTION]...\n"
    "Owns virtual disks, serves them over NBD and takes atomic group snapshots over REST.\n"
    "\n"
    "  --state-dir DIR    where the database is kept        [/var/lib/snapgroupd/state]\n"
    "  --image-dir DIR    where all images lie              [/var/lib/snapgroupd/images]\n"
    "  --runtime-dir DIR  where the default sockets appear  [/run/snapgroupd]\n"
    "  --listen ADDRESS   serve REST there                  [unix:RUNTIME-DIR/api.sock]\n"
    "  --nbd ADDRESS      serve NBD there                   [unix:RUNTIME-DIR/nbd.sock]\n"
    "  --index-memory SIZE  for what tells where each part of a disk lies; enough is 1/8192\n"
    "                     of the bytes in use (K, M, G may follow)  [256M]\n"
    "  --nbd-tls MODE     TLS for NBD: off, optional, required      [off]\n"
    "  --nbd-tls-cert-dir DIR    where server-cert.pem and server-key.pem are, and for\n"
    "                            --nbd-tls-verify-peer ca-cert.pem and, if any, ca-crl.pem\n"
    "  --nbd-tls-verify-peer     every client needs a certificate by that CA, or a key\n"
    "  --nbd-tls-psk FILE        pre-shared keys: a line NAME:HEXKEY for each client (psktool)\n"
    "  --help             print this and exit\n"
    "  --version          print the version and exit\n"
    "\n"
    "ADDRESS is unix:PATH, or ADDR:PORT on the loopback interface: 127.0.0.1:7420, [::1]:0\n"
    "(port 0 picks a free one). --listen and --nbd may be given more than once.\n"
    "--nbd takes other addresses too, such as 0.0.0.0:10809, if TLS makes every client prove\n"
    "who it is: by --nbd-tls-verify-peer, or with --nbd-tls-psk and no certificates. TLS is\n"
    "required there even if it is optional elsewhere.\n"
    "\n"
    "When all addresses are served, each is written to standard output on a line of its own\n"
    "(\"api ADDRESS\", \"nbd ADDRESS\"), then \"ready\". SIGTERM or SIGINT ends the daemon: it\n"
    "finishes what runs, flushes, and exits with 0, or with 1 if a flush failed.\n"
    "Exit status 2: the command line is wrong.\n";

static int options_wrong(void)
{
    fprintf(stderr, "Try 'snapgroupd --help'.\n");
    return 2;
}

static int options_add(const char **list, size_t *count, const char *address)
{
    if (*count == OPTIONS_ADDRESSES_MAX) {
        fprintf(stderr, "snapgroupd: at most %d addresses of a kind\n", OPTIONS_ADDRESSES_MAX);
        return options_wrong();
    }
    list[(*count)++] = address;
    return OPTIONS_RUN;
}

/* A number of bytes; K, M, G, T may follow. */
static int options_take_bytes(uint64_t *bytes, const char *text)
{
    static const char suffixes[] = "KMGT";
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    const char *suffix = *end ? strchr(suffixes, *end) : NULL;
    unsigned shift = suffix ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
    if (errno || *text < '0' || *text > '9' || (*end && (!suffix || end[1])) ||
        value > UINT64_MAX >> 8 >> shift) {
        fprintf(stderr, "snapgroupd: '%s' is no size: a number, and K, M, G or T\n", text);
        return options_wrong();
    }
    *bytes = (uint64_t)value << shift;
    return OPTIONS_RUN;
}

static int options_take_tls_mode(struct nbd_tls_spec *tls, const char *mode)
{
    static const char *const modes[] = {
        [NBD_TLS_OFF] = "off", [NBD_TLS_OPTIONAL] = "optional", [NBD_TLS_REQUIRED] = "required"};
    for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++)
        if (strcmp(mode, modes[i]) == 0) {
            tls->mode = (enum nbd_tls_mode)i;
            return OPTIONS_RUN;
        }
    fprintf(stderr, "snapgroupd: --nbd-tls is off, optional or required, not '%s'\n", mode);
    return options_wrong();
}

/* Options that have no effect would leave an operator in the belief that they have. */
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

static int options_take(struct options *options, int letter)
{
    if (letter != '?' && optarg && (!*optarg || !utf8_is_valid(optarg))) {
        fprintf(stderr, "snapgroupd: an option's value is empty or not UTF-8\n");
        return options_wrong();
    }
    switch (letter) {
    case 's':
        options->state_dir = optarg;
        return OPTIONS_RUN;
    case 'i':
        options->image_dir = optarg;
        options->image_dir_given = true;
        return OPTIONS_RUN;
    case 'r':
        options->runtime_dir = optarg;
        return OPTIONS_RUN;
    case 'l':
        return options_add(options->listen, &options->listen_count, optarg);
    case 'n':
        return options_add(options->nbd, &options->nbd_count, optarg);
    case 'm':
        return options_take_bytes(&options->index_memory_bytes, optarg);
    case 't':
        return options_take_tls_mode(&options->nbd_tls, optarg);
    case 'c':
        options->nbd_tls.cert_dir = optarg;
        return OPTIONS_RUN;
    case 'p':
        options->nbd_tls.psk_file = optarg;
        return OPTIONS_RUN;
    case 'y':
        options->nbd_tls.verify_peer = true;
        return OPTIONS_RUN;
    case 'h':
        fputs(help, stdout);
        return 0;
    case 'v':
        puts("snapgroupd " SNAPGROUPD_VERSION);
        return 0;
    default:
        return options_wrong();
    }
}

int options_parse(int argc, char **argv, struct options *options)
{
    static const struct option table[] = {
        {"state-dir", required_argument, NULL, 's'},
        {"image-dir", required_argument, NULL, 'i'},
        {"runtime-dir", required_argument, NULL, 'r'},
        {"listen", required_argument, NULL, 'l'},
        {"nbd", required_argument, NULL, 'n'},
        {"index-memory", required_argument, NULL, 'm'},
        {"nbd-tls", required_argument, NULL, 't'},
        {"nbd-tls-cert-dir", required_argument, NULL, 'c'},
        {"nbd-tls-psk", required_argument, NULL, 'p'},
        {"nbd-tls-verify-peer", no_argument, NULL, 'y'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){
        .state_dir = "/var/lib/snapgroupd/state",
        .image_dir = "/var/lib/snapgroupd/images",
        .runtime_dir = "/run/snapgroupd",
        .index_memory_bytes = INDEX_MEMORY_DEFAULT_BYTES,
    };
    int letter;
    while ((letter = getopt_long(argc, argv, "", table, NULL)) != -1) {
        int status = options_take(options, letter);
        if (status != OPTIONS_RUN)
            return status;
    }
    if (optind < argc) {
        fprintf(stderr, "snapgroupd: '%s' is no option\n", argv[optind]);
        return options_wrong();
    }
    return options_check_tls(&options->nbd_tls);
}
