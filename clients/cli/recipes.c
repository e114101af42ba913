/* SPDX-License-Identifier: Apache-2.0
 *
 * See recipes.h. A guest must not see an error while the daemon is restarted, so where a program
 * can wait for a server and send again what it has not answered, that is set for a day.
 *
 * Names and paths are quoted for the language of each text: shell, JSON in a shell, XML.
 */
#include "clients/cli/recipes.h"

#include "base/cleanup.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define RECONNECT_S 86400
#define OPEN_S      60 /* how long a start waits for the server */

static const char cert_dir_default[] = "/etc/pki/qemu";

/* ---- quoting ---- */

static void shell_put(const char *text)
{
    if (*text && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                              "-._/:@=+,%") == strlen(text)) {
        fputs(text, stdout);
        return;
    }
    putchar('\'');
    for (const char *c = text; *c; c++)
        if (*c == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*c);
    putchar('\'');
}

static void xml_put(const char *text)
{
    for (const char *c = text; *c; c++) {
        const char *entity = *c == '&'    ? "&amp;"
                             : *c == '<'  ? "&lt;"
                             : *c == '>'  ? "&gt;"
                             : *c == '"'  ? "&quot;"
                             : *c == '\'' ? "&apos;"
                                          : NULL;
        if (entity)
            fputs(entity, stdout);
        else
            putchar(*c);
    }
}

/* A name that QEMU and kernels take as an identifier: letters, digits, '-', '.' and '_'. */
static void identifier_put(const char *name, char text[32])
{
    size_t i = 0;
    for (; name[i] && i < 31; i++)
        text[i] = (char)(isalnum((unsigned char)name[i]) || name[i] == '-' ? name[i] : '_');
    text[i] = '\0';
    if (!isalpha((unsigned char)text[0]))
        text[0] = 'd';
}

/* ---- QEMU ---- */

/* The node, as QMP's blockdev-add takes it; the caller deletes it. */
static cJSON *qemu_node(const struct export *export, const char *id)
{
    cJSON *node = cJSON_CreateObject(), *server = cJSON_CreateObject();
    char port[8];
    snprintf(port, sizeof(port), "%d", export->port);
    cJSON_AddStringToObject(node, "driver", "nbd");
    cJSON_AddStringToObject(node, "node-name", id);
    cJSON_AddStringToObject(server, "type", export->socket ? "unix" : "inet");
    if (export->socket) {
        cJSON_AddStringToObject(server, "path", export->socket);
    } else {
        cJSON_AddStringToObject(server, "host", export->host);
        cJSON_AddStringToObject(server, "port", port);
    }
    cJSON_AddItemToObject(node, "server", server);
    cJSON_AddStringToObject(node, "export", export->name);
    if (export->has_tls)
        cJSON_AddStringToObject(node, "tls-creds", "snapgroupd-tls");
    cJSON_AddBoolToObject(node, "read-only", export->is_read_only);
    if (!export->is_read_only)
        cJSON_AddStringToObject(node, "discard", "unmap");
    cJSON_AddNumberToObject(node, "reconnect-delay", RECONNECT_S);
    cJSON_AddNumberToObject(node, "open-timeout", OPEN_S);
    return node;
}

static int qemu_print(const struct export *export, struct failure *failure)
{
    char id[32];
    identifier_put(export->name, id);
    cJSON *node = qemu_node(export, id);
    CLEANUP_FREE char *text = cJSON_PrintUnformatted(node);
    cJSON_Delete(node);
    if (!text)
        return fail_memory(failure);
    printf(
        "# Options of qemu-system-*. While the daemon is away requests wait, for a day at most,\n"
        "# and are sent again; a QEMU that starts waits for it for %d s.\n",
        OPEN_S);
    if (export->has_tls) {
        fputs("-object tls-creds-x509,id=snapgroupd-tls,endpoint=client,dir=", stdout);
        shell_put(export->cert_dir ? export->cert_dir : cert_dir_default);
        puts(" \\");
    }
    fputs("-blockdev ", stdout);
    shell_put(text);
    printf(" \\\n-device virtio-blk-pci,drive=%s,serial=%.20s\n", id, id);
    return 0;
}

/* ---- libvirt ---- */

static void libvirt_host_put(const struct export *export)
{
    if (export->socket) {
        fputs("    <host transport='unix' socket='", stdout);
        xml_put(export->socket);
        puts("'/>");
    } else {
        fputs("    <host name='", stdout);
        xml_put(export->host);
        printf("' port='%d'/>\n", export->port);
    }
}

static int libvirt_print(const struct export *export, struct failure *failure)
{
    (void)failure;
    bool is_disk_name = strlen(export->name) == 3 && strncmp(export->name, "vd", 2) == 0 &&
                        islower((unsigned char)export->name[2]);
    char serial[32];
    identifier_put(export->name, serial);
    puts("<!-- For virsh attach-device, or <devices> of a domain. With <reconnect> requests wait "
         "while\n"
         "     the daemon is away, and are sent again. libvirt 9.0, as in Debian 12, refuses it: "
         "there\n"
         "     only <qemu:commandline> can, with what `attach as qemu` prints. -->");
    printf("<disk type='network' device='disk'>\n"
           "  <driver name='qemu' type='raw'%s/>\n"
           "  <source protocol='nbd' name='",
           export->is_read_only ? "" : " discard='unmap'");
    xml_put(export->name);
    printf("'%s>\n", export->has_tls ? " tls='yes'" : "");
    libvirt_host_put(export);
    printf("    <!-- <reconnect delay='%d'/> -->\n"
           "  </source>\n  <target dev='%s' bus='virtio'/>\n",
           RECONNECT_S, is_disk_name ? export->name : "vda");
    if (export->is_read_only)
        puts("  <readonly/>");
    printf("  <serial>%.20s</serial>\n</disk>\n", serial);
    return 0;
}

/* ---- others ---- */

/* Options of nbd-client. */
static int tls_options_print(const struct export *export, struct failure *failure)
{
    static const char *const files[][2] = {{"-cacertfile", "ca-cert.pem"},
                                           {"-certfile", "client-cert.pem"},
                                           {"-keyfile", "client-key.pem"}};
    const char *dir = export->cert_dir ? export->cert_dir : cert_dir_default;
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        CLEANUP_FREE char *path = NULL;
        if (asprintf(&path, "%s/%s", dir, files[i][1]) < 0)
            return fail_memory(failure);
        printf(" %s ", files[i][0]);
        shell_put(path);
    }
    if (!export->socket)
        fputs(" -enable-tls -tlshostname ", stdout), shell_put(export->host);
    return 0;
}

static int nbd_client_print(const struct export *export, struct failure *failure)
{
    puts("# A disk of this machine, /dev/nbd0; -persist connects again when the daemon has been "
         "away.");
    fputs("modprobe nbd && nbd-client ", stdout);
    if (export->socket)
        fputs("-unix ", stdout);
    shell_put(export->socket ? export->socket : export->host);
    if (!export->socket)
        printf(" %d", export->port);
    fputs(" /dev/nbd0 -name ", stdout);
    shell_put(export->name);
    printf(" -block-size 512 -persist%s", export->is_read_only ? " -readonly" : "");
    if (export->has_tls && tls_options_print(export, failure) != 0)
        return -1;
    putchar('\n');
    return 0;
}

/* libnbd takes no files that a URI names, unless its program allows that. */
static void libnbd_print(const struct export *export, const char *comment)
{
    if (export->has_tls)
        printf("%s ca-cert.pem, client-cert.pem and client-key.pem are taken from\n"
               "%s ~/.config/pki/libnbd, of root from /etc/pki/libnbd.\n",
               comment, comment);
}

static int nbdfuse_print(const struct export *export, struct failure *failure)
{
    CLEANUP_FREE char *uri = export_uri(export);
    char id[32];
    identifier_put(export->name, id);
    if (!uri)
        return fail_memory(failure);
    printf("# A file, %s/disk, as long as this runs; end it with: fusermount3 -u %s\n"
           "# nbdfuse does not connect again: mount anew after a restart of the daemon.\n",
           id, id);
    libnbd_print(export, "#");
    printf("mkdir -p %s && nbdfuse %s%s/disk ", id, export->is_read_only ? "--readonly " : "", id);
    shell_put(uri);
    putchar('\n');
    return 0;
}

static int fio_print(const struct export *export, struct failure *failure)
{
    CLEANUP_FREE char *uri = export_uri(export);
    char id[32];
    identifier_put(export->name, id);
    if (!uri)
        return fail_memory(failure);
    puts("; A job file: fio FILE. It only reads; rw=randwrite destroys what is on the disk. fio "
         "does\n"
         "; not connect again.");
    libnbd_print(export, ";");
    printf("[%s]\nioengine=nbd\nuri=%s\nrw=randread\nbs=4k\niodepth=32\nruntime=10\ntime_based\n",
           id, uri);
    return 0;
}

const struct recipe recipes[] = {
    {"qemu", qemu_print},       {"libvirt", libvirt_print}, {"nbd-client", nbd_client_print},
    {"nbdfuse", nbdfuse_print}, {"fio", fio_print},         {NULL, NULL},
};
