/* SPDX-License-Identifier: Apache-2.0
 *
 * The TLS credentials of the NBD server, read once, when it starts. See nbd/tls.h.
 *
 *   DIR/server-cert.pem   the server's certificate, then its issuers up to the root, if any
 *   DIR/server-key.pem    its private key
 *   DIR/ca-cert.pem       who may have issued a client's certificate   } with verify_peer only
 *   DIR/ca-crl.pem        which ones are revoked; may be missing       }
 *   PSK file              a line "NAME:KEY" for each client, KEY in hexadecimal (psktool)
 *
 * The names are those that QEMU and nbdkit use. Files with secrets must not be open to everybody. A
 * client's certificate must be valid now, not revoked, issued by the CA, and not for other purposes
 * than a TLS client's; it need not name anybody in particular. A client whose key has an unknown
 * name fails as one with a wrong key does, so that names cannot be tried out.
 */
#include "block/nbd/tls.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
    FILE_BYTES_MAX = 4 << 20,
    KEY_BYTES_MIN = 16,
    KEY_BYTES_MAX = 64, /* what psktool makes at most */
};

/* AEAD ciphers and forward secrecy only; then the ways in that there are credentials for, since
 * under TLS 1.2 the library would choose others, too. Keys come first: who offers one means it. */
#define RULES             "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-MAC-ALL:+AEAD:%SERVER_PRECEDENCE:-KX-ALL"
#define RULES_PSK         ":+ECDHE-PSK:+DHE-PSK"
#define RULES_CERTIFICATE ":+ECDHE-ECDSA:+ECDHE-RSA:+DHE-RSA"

struct psk_user {
    gnutls_datum_t name, key;
};

struct nbd_tls {
    gnutls_priority_t priority;
    gnutls_certificate_credentials_t certificate; /* or NULL */
    gnutls_psk_server_credentials_t psk;          /* or NULL */
    bool verify_peer;
    struct psk_user *users;
    size_t user_count;
};

/* ---- files ---- */

static void datum_clear(gnutls_datum_t *datum)
{
    if (datum->data)
        explicit_bzero(datum->data, datum->size);
    gnutls_free(datum->data);
    *datum = (gnutls_datum_t){.data = NULL};
}
#define CLEANUP_DATUM __attribute__((cleanup(datum_clear)))

static int file_check_mode(int fd, const char *path, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "TLS file '%s' cannot be looked at", path);
    if (st.st_mode & S_IRWXO)
        return err_set(err, ErrOpenFileFailed, 0,
                       "TLS file '%s' holds a secret and its mode %04o lets everybody at it; take "
                       "that away with chmod o-rwx",
                       path, (unsigned)st.st_mode & 07777);
    return 0;
}

/* Reads the whole file, and a NUL behind it that is not counted. */
static int file_read_all(const char *path, bool secret, gnutls_datum_t *content, struct err *err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return err_set(err, ErrOpenFileFailed, errno, "TLS file '%s' cannot be opened", path);
    if (secret && file_check_mode(fd, path, err) != 0)
        return -1;
    CLEANUP_DATUM gnutls_datum_t all = {.data = gnutls_malloc(FILE_BYTES_MAX + 1)};
    if (!all.data)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for TLS file '%s'", path);
    ssize_t got = 1;
    while (got > 0 && all.size < FILE_BYTES_MAX) {
        got = read(fd, all.data + all.size, FILE_BYTES_MAX - all.size);
        if (got < 0)
            return err_set(err, ErrOpenFileFailed, errno, "TLS file '%s' cannot be read", path);
        all.size += (unsigned)got;
    }
    if (got > 0)
        return err_set(err, ErrInvalidValue, 0, "TLS file '%s' has more than %d bytes", path,
                       FILE_BYTES_MAX);
    all.data[all.size] = '\0';
    *content = all;
    all.data = NULL;
    return 0;
}

/* ---- certificates ---- */

static int certificate_error(int error, const char *path, struct err *err)
{
    return err_set(err, ErrInvalidValue, 0, "TLS file '%s' is of no use: %s", path,
                   error < 0 ? gnutls_strerror(error) : "there is nothing in it");
}

/* An operator should hear of this before a client does; it is no reason to serve nobody. */
static void certificate_warn(gnutls_certificate_credentials_t certificate, const char *path)
{
    gnutls_x509_crt_t *chain = NULL;
    unsigned count = 0;
    if (gnutls_certificate_get_x509_crt(certificate, 0, &chain, &count) != 0)
        return;
    if (count > 0 && gnutls_x509_crt_get_expiration_time(chain[0]) < time(NULL))
        log_warning("TLS certificate '%s' has expired: NBD clients will not accept it", path);
    if (count > 0 && gnutls_x509_crt_get_activation_time(chain[0]) > time(NULL))
        log_warning("TLS certificate '%s' is not valid yet: NBD clients will not accept it", path);
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(chain[i]);
    gnutls_free(chain);
}

static int certificate_load_own(gnutls_certificate_credentials_t certificate, const char *cert_path,
                                const char *key_path, struct err *err)
{
    CLEANUP_DATUM gnutls_datum_t cert = {.data = NULL};
    CLEANUP_DATUM gnutls_datum_t key = {.data = NULL};
    if (file_read_all(cert_path, false, &cert, err) != 0 ||
        file_read_all(key_path, true, &key, err) != 0)
        return -1;
    int ret = gnutls_certificate_set_x509_key_mem2(certificate, &cert, &key, GNUTLS_X509_FMT_PEM,
                                                   NULL, 0);
    if (ret < 0)
        return err_set(err, ErrInvalidValue, 0, "TLS files '%s' and '%s' are of no use: %s",
                       cert_path, key_path, gnutls_strerror(ret));
    certificate_warn(certificate, cert_path);
    return 0;
}

/* A list by another issuer would never be asked, and nobody would notice. */
static int revocations_check_one(gnutls_x509_crl_t crl, const gnutls_x509_crt_t *cas,
                                 unsigned ca_count, const char *path, struct err *err)
{
    const unsigned dates =
        GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED | GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE;
    unsigned reasons = 0;
    if (gnutls_x509_crl_verify(crl, cas, ca_count, 0, &reasons) != 0 ||
        (reasons & ~(dates | GNUTLS_CERT_INVALID)))
        return err_set(err, ErrInvalidValue, 0,
                       "TLS file '%s' is of no use: ca-cert.pem beside it has not signed it", path);
    if (reasons & dates)
        log_warning("TLS file '%s' is out of date: later revocations are unknown", path);
    return 0;
}

static int revocations_check(const gnutls_datum_t *ca, const gnutls_datum_t *crl, const char *path,
                             struct err *err)
{
    gnutls_x509_crt_t *cas = NULL;
    gnutls_x509_crl_t *crls = NULL;
    unsigned ca_count = 0, count = 0;
    int ret = gnutls_x509_crl_list_import2(&crls, &count, crl, GNUTLS_X509_FMT_PEM, 0);
    if (ret < 0)
        return certificate_error(ret, path, err);
    ret = gnutls_x509_crt_list_import2(&cas, &ca_count, ca, GNUTLS_X509_FMT_PEM, 0);
    int result = ret < 0 ? certificate_error(ret, path, err) : 0;
    for (unsigned i = 0; i < count; i++) {
        if (result == 0)
            result = revocations_check_one(crls[i], cas, ca_count, path, err);
        gnutls_x509_crl_deinit(crls[i]);
    }
    for (unsigned i = 0; i < ca_count; i++)
        gnutls_x509_crt_deinit(cas[i]);
    gnutls_free(crls);
    gnutls_free(cas);
    return result;
}

static int certificate_load_trust(gnutls_certificate_credentials_t certificate, const char *ca_path,
                                  const char *crl_path, struct err *err)
{
    CLEANUP_DATUM gnutls_datum_t ca = {.data = NULL};
    CLEANUP_DATUM gnutls_datum_t crl = {.data = NULL};
    if (file_read_all(ca_path, false, &ca, err) != 0)
        return -1;
    int ret = gnutls_certificate_set_x509_trust_mem(certificate, &ca, GNUTLS_X509_FMT_PEM);
    if (ret <= 0)
        return certificate_error(ret, ca_path, err);
    if (access(crl_path, F_OK) != 0 && errno == ENOENT)
        return 0;
    if (file_read_all(crl_path, false, &crl, err) != 0 ||
        revocations_check(&ca, &crl, crl_path, err) != 0)
        return -1;
    ret = gnutls_certificate_set_x509_crl_mem(certificate, &crl, GNUTLS_X509_FMT_PEM);
    return ret <= 0 ? certificate_error(ret, crl_path, err) : 0;
}

static int certificate_load(struct nbd_tls *tls, const char *dir, struct err *err)
{
    static const char *const names[] = {"server-cert.pem", "server-key.pem", "ca-cert.pem",
                                        "ca-crl.pem"};
    char paths[4][PATH_MAX];
    for (size_t i = 0; i < 4; i++)
        if (snprintf(paths[i], PATH_MAX, "%s/%s", dir, names[i]) >= PATH_MAX)
            return err_set(err, ErrOpenFileFailed, ENAMETOOLONG,
                           "TLS directory '%.200s' cannot be opened", dir);
    if (gnutls_certificate_allocate_credentials(&tls->certificate) != 0)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for TLS certificates");
    if (certificate_load_own(tls->certificate, paths[0], paths[1], err) != 0)
        return -1;
    return tls->verify_peer ? certificate_load_trust(tls->certificate, paths[2], paths[3], err) : 0;
}

/* ---- pre-shared keys ---- */

static struct psk_user *psk_find(const struct nbd_tls *tls, const gnutls_datum_t *name)
{
    for (size_t i = 0; i < tls->user_count; i++)
        if (tls->users[i].name.size == name->size &&
            memcmp(tls->users[i].name.data, name->data, name->size) == 0)
            return &tls->users[i];
    return NULL;
}

/* Called by the library while it shakes hands: the key of that name. It frees the key. */
static int psk_answer(gnutls_session_t gnutls, const gnutls_datum_t *name, gnutls_datum_t *key)
{
    const struct nbd_tls *tls = gnutls_session_get_ptr(gnutls);
    const struct psk_user *user = psk_find(tls, name);
    key->size = user ? user->key.size : KEY_BYTES_MIN;
    key->data = gnutls_malloc(key->size);
    if (!key->data)
        return -1;
    if (user)
        memcpy(key->data, user->key.data, key->size);
    return user ? 0 : gnutls_rnd(GNUTLS_RND_KEY, key->data, key->size);
}

/* Takes "NAME:KEY" apart; a name that begins with '#' is in hexadecimal. What is wrong with it, or
 * NULL. */
static const char *psk_parse(char *line, struct psk_user *user)
{
    char *colon = strrchr(line, ':');
    if (!colon || colon == line)
        return "is not NAME:KEY";
    gnutls_datum_t key = {.data = (unsigned char *)colon + 1, .size = (unsigned)strlen(colon + 1)};
    gnutls_datum_t name = {.data = (unsigned char *)line, .size = (unsigned)(colon - line)};
    if (gnutls_hex_decode2(&key, &user->key) != 0)
        return "has a key that is not hexadecimal";
    if (user->key.size < KEY_BYTES_MIN || user->key.size > KEY_BYTES_MAX)
        return "has a key that is not 16 to 64 bytes long";
    if (*line == '#') {
        name.data++;
        name.size--;
        return gnutls_hex_decode2(&name, &user->name) != 0 ? "has a name that is not hexadecimal"
                                                           : NULL;
    }
    user->name.data = gnutls_malloc(name.size);
    if (!user->name.data)
        return "needs memory that there is not";
    user->name.size = name.size;
    memcpy(user->name.data, name.data, name.size);
    return NULL;
}

static int psk_add(struct nbd_tls *tls, char *line, const char **wrong)
{
    struct psk_user *users = reallocarray(tls->users, tls->user_count + 1, sizeof(*users));
    *wrong = "needs memory that there is not";
    if (!users)
        return -1;
    tls->users = users;
    users[tls->user_count] = (struct psk_user){.name.data = NULL};
    *wrong = psk_parse(line, &users[tls->user_count]);
    if (!*wrong && psk_find(tls, &users[tls->user_count].name))
        *wrong = "has a name that an earlier line has, too";
    tls->user_count++; /* nbd_tls_free() clears it, good or bad */
    return *wrong ? -1 : 0;
}

static int psk_load(struct nbd_tls *tls, const char *path, struct err *err)
{
    CLEANUP_DATUM gnutls_datum_t content = {.data = NULL};
    if (file_read_all(path, true, &content, err) != 0)
        return -1;
    char *rest = (char *)content.data, *line;
    const char *wrong;
    for (unsigned number = 1; (line = strsep(&rest, "\n")); number++) {
        line[strcspn(line, "\r")] = '\0';
        if (*line && psk_add(tls, line, &wrong) != 0)
            return err_set(err, ErrInvalidValue, 0, "TLS file '%s': line %u %s", path, number,
                           wrong);
    }
    if (tls->user_count == 0)
        return certificate_error(0, path, err);
    if (gnutls_psk_allocate_server_credentials(&tls->psk) != 0)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for TLS keys");
    gnutls_psk_set_server_credentials_function2(tls->psk, psk_answer);
    return 0;
}

/* ---- both ---- */

CLEANUP_DEFINE(nbd_tls, struct nbd_tls *, nbd_tls_free)

struct nbd_tls *nbd_tls_new(const struct nbd_tls_spec *spec, struct err *err)
{
    CLEANUP(nbd_tls) struct nbd_tls *tls = calloc(1, sizeof(*tls));
    const char *rules = !spec->psk_file   ? RULES RULES_CERTIFICATE
                        : !spec->cert_dir ? RULES RULES_PSK
                                          : RULES RULES_PSK RULES_CERTIFICATE;
    if (!tls || gnutls_priority_init(&tls->priority, rules, NULL) != 0) {
        err_set(err, ErrOutOfResources, 0, "TLS cannot be set up");
        return NULL;
    }
    tls->verify_peer = spec->verify_peer;
    if (!spec->cert_dir && !spec->psk_file) {
        err_set(err, ErrInvalidValue, 0, "TLS needs a certificate or pre-shared keys");
        return NULL;
    }
    if ((spec->cert_dir && certificate_load(tls, spec->cert_dir, err) != 0) ||
        (spec->psk_file && psk_load(tls, spec->psk_file, err) != 0))
        return NULL;
    return steal(tls);
}

void nbd_tls_free(struct nbd_tls *tls)
{
    for (size_t i = 0; i < tls->user_count; i++) {
        datum_clear(&tls->users[i].name);
        datum_clear(&tls->users[i].key);
    }
    free(tls->users);
    if (tls->psk)
        gnutls_psk_free_server_credentials(tls->psk);
    if (tls->certificate)
        gnutls_certificate_free_credentials(tls->certificate);
    if (tls->priority)
        gnutls_priority_deinit(tls->priority);
    free(tls);
}

bool nbd_tls_authenticates(const struct nbd_tls *tls)
{
    return !tls->certificate || tls->verify_peer;
}

bool nbd_tls_is_proven(const struct nbd_tls *tls, gnutls_session_t gnutls)
{
    unsigned count = 0;
    if (gnutls_auth_get_type(gnutls) == GNUTLS_CRD_PSK)
        return tls->psk;
    if (!tls->certificate || gnutls_auth_get_type(gnutls) != GNUTLS_CRD_CERTIFICATE)
        return false;
    return !tls->verify_peer || (gnutls_certificate_get_peers(gnutls, &count) && count > 0 &&
                                 gnutls_session_get_verify_cert_status(gnutls) == 0);
}

int nbd_tls_equip(const struct nbd_tls *tls, gnutls_session_t gnutls)
{
    static gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                            .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
    gnutls_session_set_ptr(gnutls, (void *)tls);
    int ret = gnutls_priority_set(gnutls, tls->priority);
    if (!ret && tls->certificate)
        ret = gnutls_credentials_set(gnutls, GNUTLS_CRD_CERTIFICATE, tls->certificate);
    if (!ret && tls->psk)
        ret = gnutls_credentials_set(gnutls, GNUTLS_CRD_PSK, tls->psk);
    gnutls_certificate_server_set_request(gnutls, tls->verify_peer ? GNUTLS_CERT_REQUIRE
                                                                   : GNUTLS_CERT_IGNORE);
    if (tls->verify_peer)
        gnutls_session_set_verify_cert2(gnutls, &purpose, 1, 0);
    return ret;
}
