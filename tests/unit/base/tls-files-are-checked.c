/* SPDX-License-Identifier: Apache-2.0
 *
 * Credentials that are missing, no good, or open to everybody stop the start, with a message that
 * names the file.
 * GET /limits: tls_file_bytes, tls_key_bytes.
 */
#include "tests/lib/testlib.h"

#include "base/tls/credentials.h"

#include <string.h>

static void must_refuse(struct tls_spec spec, enum err_code code, const char *const *words)
{
    struct err err;
    assert_null(tls_credentials_new(&spec, &err));
    for (; *words; words++)
        if (err.code != code || !strstr(err.message, *words))
            fail_msg("no '%s': %s: %s", *words, err_code_name(err.code), err.message);
}

static void must_accept(struct tls_spec spec, bool authenticates)
{
    struct err err;
    struct tls_credentials *tls = tls_credentials_new(&spec, &err);
    if (!tls)
        fail_msg("%s", err.message);
    assert_int_equal(tls_credentials_authenticate(tls), authenticates);
    tls_credentials_unref(tls);
}

static int begin(void **state)
{
    int ret = scratch_begin(state);
    pki_create();
    return ret;
}

static const struct fixture fixture = {.begin_all = begin, .end_all = scratch_end};

TEST(certificates_are_looked_at)
{
    struct tls_spec spec = {.cert_dir = "x", .clients = TLS_CLIENTS_PROVE};
    shell("cp -r pki/server-crl x");
    must_accept(spec, true);
    must_accept((struct tls_spec){.cert_dir = "x"}, false);

    shell("chmod o+r x/server-key.pem");
    must_refuse(spec, ErrOpenFileFailed, WORDS("x/server-key.pem", "0604", "chmod o-rwx"));
    shell("chmod 640 x/server-key.pem"); /* a group may be let in */
    must_accept(spec, true);
    shell("cp pki/client/client-key.pem x/server-key.pem");
    must_refuse(spec, ErrInvalidValue, WORDS("x/server-cert.pem", "x/server-key.pem"));
    shell("echo nonsense >x/server-key.pem");
    must_refuse(spec, ErrInvalidValue, WORDS("x/server-key.pem"));
    shell("rm x/server-key.pem");
    must_refuse(spec, ErrOpenFileFailed, WORDS("x/server-key.pem", "No such file"));
    shell("mkfifo -m 600 x/server-key.pem"); /* nobody will ever write: no reason to hang */
    must_refuse(spec, ErrInvalidValue, WORDS("x/server-key.pem"));
    shell("rm x/server-key.pem && cp -p pki/server/server-key.pem x/");

    shell(": >x/ca-crl.pem");
    must_refuse(spec, ErrInvalidValue, WORDS("x/ca-crl.pem"));
    shell("cp pki/server-crl/ca-crl.pem x/ && cp pki/other-cert.pem x/ca-cert.pem");
    must_refuse(spec, ErrInvalidValue, WORDS("x/ca-crl.pem", "has not signed it"));
    shell("cat pki/ca-cert.pem >>x/ca-cert.pem"); /* two issuers: either will do */
    must_accept(spec, true);
    shell("rm x/ca-crl.pem");
    must_accept(spec, true);
    shell("echo nonsense >x/ca-cert.pem");
    must_refuse(spec, ErrInvalidValue, WORDS("x/ca-cert.pem"));
    shell("rm x/ca-cert.pem");
    must_refuse(spec, ErrOpenFileFailed, WORDS("x/ca-cert.pem", "No such file"));
    must_accept((struct tls_spec){.cert_dir = "x"}, false);
    shell("truncate -s 5M x/server-cert.pem");
    must_refuse(spec, ErrInvalidValue, WORDS("x/server-cert.pem", "bytes"));
    must_refuse((struct tls_spec){.cert_dir = "nowhere"}, ErrOpenFileFailed,
                WORDS("nowhere/server-cert.pem"));
    must_accept((struct tls_spec){.cert_dir = "pki/server-expired"}, false); /* a warning */
    must_refuse((struct tls_spec){.cert_dir = "pki/server-expired", .must_be_valid = true},
                ErrInvalidValue, WORDS("pki/server-expired/server-cert.pem", "has expired"));
    must_accept((struct tls_spec){.cert_dir = "pki/server", .must_be_valid = true}, false);
    must_accept((struct tls_spec){.cert_dir = "pki/server", .clients = TLS_CLIENTS_MAY}, false);
    shell("rm -r x");
}

#define KEY_16 "00112233445566778899aabbccddeeff"
#define KEY_64 KEY_16 KEY_16 KEY_16 KEY_16

TEST(keys_are_looked_at)
{
    static const struct {
        const char *line, *word;
    } bad[] = {
        {"alice", "line 3 is not NAME:KEY"},
        {":00112233445566778899aabbccddeeff", "line 3 is not NAME:KEY"},
        {"alice:", "line 3"},
        {"alice:001122334455667788990011223344", "16 to 64 bytes"},
        {"alice:" KEY_64 "00", "16 to 64 bytes"},
        {"alice:00112233445566778899aabbccddeefg", "hexadecimal"},
        {"bob:00112233445566778899aabbccddeeff", "earlier line"},
        {"#626f62:00112233445566778899aabbccddeeff", "earlier line"}, /* bob, in hexadecimal */
        {"#zz:00112233445566778899aabbccddeeff", "name that is not hexadecimal"},
    };
    struct tls_spec spec = {.psk_file = "keys"};
    must_accept((struct tls_spec){.psk_file = "pki/psk"}, true);
    must_accept((struct tls_spec){.psk_file = "pki/psk", .cert_dir = "pki/server"}, false);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        shell("umask 077; (echo bob:00112233445566778899aabbccddeeff; echo; echo '%s') >keys",
              bad[i].line);
        must_refuse(spec, ErrInvalidValue, WORDS("'keys'", bad[i].word));
    }
    shell("printf 'bob:00112233445566778899aabbccddeeff\\r\\n#61:"
          "00112233445566778899AABBCCDDEEFF' >keys");
    must_accept(spec, true);
    shell("echo alice:" KEY_64 " >keys");
    must_accept(spec, true);
    shell(": >keys");
    must_refuse(spec, ErrInvalidValue, WORDS("'keys'", "nothing in it"));
    shell("chmod 644 keys");
    must_refuse(spec, ErrOpenFileFailed, WORDS("'keys'", "0644"));
    shell("rm keys");
    must_refuse(spec, ErrOpenFileFailed, WORDS("'keys'", "No such file"));
    must_refuse((struct tls_spec){.psk_file = NULL}, ErrInvalidValue, WORDS("certificate"));
}
