/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* CMS against the openssl program: what one writes the other reads, and what hmsg refuses it refuses by name.
 * Keys of 2048, 3072 and 4096 bits. */

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/cms.h"
#include "tests/unit/wire/openssl-util.h"

#define TEXT "Dear Bob, here are the plans."

typedef struct Fixture {
    Workshop w;
    Cert *cert;
} Fixture;

/* A script that knows how to encrypt as we do. */
static void run(const Fixture *f, const char *script)
{
    static const char prelude[] =
        "oaep='-keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 -keyopt rsa_mgf1_md:sha256'\n"
        "pss='-keyopt rsa_padding_mode:pss -md sha256'\n"
        "encrypt() { openssl cms -encrypt -binary -in plain -outform DER \"$@\"; }\n"
        "sign() { openssl cms -sign -binary -nodetach -outform DER -signer cert.pem -inkey key.pem \"$@\"; "
        "}\n";

    run_script(&f->w, prelude, script);
}

static void fixture_set_up(Fixture *f, gconstpointer bits)
{
    g_autofree char *cert = NULL;
    size_t n = 0;

    workshop_open(&f->w, GPOINTER_TO_UINT(bits));
    save(&f->w, "plain", TEXT, strlen(TEXT));
    run(f, "openssl req -x509 -new -key key.pem -subj /O=Somebody/CN=Bob -days 2 -out cert.pem");
    cert = load(&f->w, "cert.pem", &n);
    g_assert_cmpint(cert_read(cert, n, &f->cert), ==, 0);
}

static void fixture_tear_down(Fixture *f, gconstpointer bits)
{
    (void)bits;
    cert_free(f->cert);
    workshop_close(&f->w);
}

static CmsRecipient by_key(const Fixture *f)
{
    return (CmsRecipient){.key = f->w.key};
}

static CmsRecipient by_certificate(const Fixture *f)
{
    return (CmsRecipient){.key = f->cert->key,
                          .issuer_serial = f->cert->issuer_serial.data,
                          .issuer_serial_size = f->cert->issuer_serial.size};
}

static void expect_plain(const Fixture *f)
{
    size_t n = 0;
    g_autofree char *out = load(&f->w, "out", &n);

    g_assert_cmpmem(out, n, TEXT, strlen(TEXT));
}

static void test_openssl_reads(Fixture *f, gconstpointer bits)
{
    const CmsRecipient to[] = {by_key(f), by_certificate(f)};

    (void)bits;
    for (size_t i = 0; i < G_N_ELEMENTS(to); i++) {
        _cleanup_(buf_done) Buf der = BUF_MAX(CMS_SIZE_MAX), pem = BUF_MAX(CMS_TEXT_SIZE_MAX);

        g_assert_cmpint(cms_build(&to[i], 1, TEXT, strlen(TEXT), false, &der), ==, 0);
        g_assert_cmpint(cms_build(&to[i], 1, TEXT, strlen(TEXT), true, &pem), ==, 0);
        save(&f->w, "m.der", der.data, der.size);
        save(&f->w, "m.pem", pem.data, pem.size);
        run(f, "openssl cms -decrypt -inform DER -in m.der -inkey key.pem -out out");
        expect_plain(f);
        run(f, "openssl cms -decrypt -inform PEM -in m.pem -inkey key.pem -recip cert.pem -out out");
        expect_plain(f);
    }
}

static void test_openssl_verifies(Fixture *f, gconstpointer bits)
{
    const CmsRecipient to = by_key(f);
    _cleanup_(cms_draft_freep) CmsDraft *d = NULL;
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX), inner = BUF_MAX(CMS_SIZE_MAX),
                            b = BUF_MAX(CMS_TEXT_SIZE_MAX);

    (void)bits;
    g_assert_cmpint(cms_draft_new(f->w.key, &to, 1, clock_realtime(), TEXT, strlen(TEXT), &d), ==, 0);
    g_assert_cmpint(rsa_private_sign_ps256(f->w.private_key, cms_draft_digest(d), &signature), ==, 0);
    g_assert_cmpint(cms_draft_finish(d, TEXT, strlen(TEXT), signature.data, signature.size, &inner), ==, 0);
    g_assert_cmpint(cms_build(&to, 1, inner.data, inner.size, true, &b), ==, 0);
    save(&f->w, "m.pem", b.data, b.size);
    run(f, "openssl cms -decrypt -inform PEM -in m.pem -inkey key.pem -out signed\n"
           "openssl cms -verify -binary -inform DER -in signed -certfile cert.pem -noverify -out out");
    expect_plain(f);
}

static int parse(const Fixture *f, Cms **ret, const char **ret_why)
{
    size_t n = 0;
    g_autofree char *m = load(&f->w, "m", &n);

    *ret_why = NULL;
    return cms_parse(m, n, ret, ret_why);
}

static void expect_opens(const Fixture *f)
{
    _cleanup_(cms_freep) Cms *c = NULL;
    _cleanup_(secret_freep) Secret *key = NULL;
    _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    const char *why = NULL;
    int r = parse(f, &c, &why);

    if (r != 0)
        g_error("%s", why ? why : error_message(r));
    if (c->outer) {
        g_assert_cmpint(cms_signed_verify(c->outer), ==, 0);
        g_assert_true(rsa_key_equal(c->outer->key, f->w.key) && !c->outer->has_recipients);
        g_assert_cmpint(c->outer->time, >, 0);
    }
    g_assert_cmpint(cms_choose(c, f->w.key, true), ==, 0);
    g_assert_cmpint(
        rsa_private_oaep_decrypt(f->w.private_key, c->encrypted_key.data, c->encrypted_key.size, &key), ==,
        0);
    g_assert_cmpint(cms_open(c, key, &out), ==, 0);
    g_assert_cmpstr(buf_text(&out), ==, TEXT);
    /* OAEP failed */
    buf_clear(&out);
    g_assert_cmpint(cms_open(c, NULL, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(out.size, ==, 0);
}

static void test_openssl_writes(Fixture *f, gconstpointer bits)
{
    static const char *const scripts[] = {
        "encrypt -aes-256-gcm -recip cert.pem $oaep -out m",
        "encrypt -aes-256-gcm -recip cert.pem -keyid $oaep -out m",
        "encrypt -aes-256-gcm -recip cert.pem -keyid $oaep -outform PEM -out m",
        "encrypt -aes-256-cbc -recip cert.pem $oaep | sign $pss -out m",
        "encrypt -aes-256-cbc -recip cert.pem $oaep | sign $pss -keyid -keyopt rsa_pss_saltlen:digest -out m",
        "encrypt -aes-256-gcm -recip cert.pem $oaep | sign $pss -nosmimecap -out m",
    };

    /* of the larger keys each third: what differs is only sizes */
    for (size_t i = 0; i < G_N_ELEMENTS(scripts); i += GPOINTER_TO_UINT(bits) == 2048 ? 1 : 3) {
        run(f, scripts[i]);
        expect_opens(f);
    }
}

/* Each of them opens with openssl and key.pem, if anything does. */
static void test_refused(Fixture *f, gconstpointer bits)
{
    static const struct {
        const char *script;
        const char *why; /* it begins so */
    } cases[] = {
        {"encrypt -aes-256-gcm -recip cert.pem -out m", "Its key is encrypted with PKCS#1 v1.5"},
        {"encrypt -aes-256-gcm -recip cert.pem -keyopt rsa_padding_mode:oaep -out m",
         "It uses RSA-OAEP with another hash"},
        {"encrypt -aes-256-gcm -recip cert.pem -keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 "
         "-keyopt rsa_mgf1_md:sha1 -out m",
         "It uses RSA-OAEP with another hash"},
        {"encrypt -aes-256-gcm -recip cert.pem -keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha512 -out "
         "m",
         "It uses RSA-OAEP with another hash"},
        {"encrypt -aes-256-gcm -recip cert.pem $oaep -keyopt rsa_oaep_label:6869 -out m",
         "It uses RSA-OAEP with a label"},
        {"encrypt -aes-128-gcm -recip cert.pem $oaep -out m", "It is encrypted with AES-128"},
        {"encrypt -aes-192-gcm -recip cert.pem $oaep -out m", "It is encrypted with AES-192"},
        {"encrypt -aes-256-cbc -recip cert.pem $oaep -out m",
         "It is EnvelopedData without a signature around it"},
        {"encrypt -aes-128-cbc -recip cert.pem $oaep | sign $pss -out m", "It is encrypted with AES-128"},
        {"encrypt -des3 -recip cert.pem $oaep | sign $pss -out m", "It is encrypted with Triple DES"},
        {"encrypt -aes-256-ofb -recip cert.pem $oaep | sign $pss -out m",
         "It is encrypted with a cipher that does not belong here"},
        {"encrypt -aes-256-cbc -recip cert.pem | sign $pss -out m", "Its key is encrypted with PKCS#1 v1.5"},
        {"encrypt -aes-256-cbc -pwri_password secret | sign $pss -out m", "A recipient has a password"},
        {"encrypt -aes-256-cbc -recip cert.pem $oaep -pwri_password secret | sign $pss -out m",
         "A recipient has a password"},
        {"encrypt -aes-256-gcm -secretkey 000102030405060708090a0b0c0d0e0f -secretkeyid 00 -out m",
         "A recipient has a shared key"},
        {"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ec.key -subj /CN=E "
         "-out ec.pem; encrypt -aes-256-gcm -recip ec.pem -out m",
         "A recipient's key is agreed upon"},
        {"encrypt -aes-256-gcm -recip cert.pem $oaep -stream -out m", "It is in BER"},
        {"sign $pss -in plain -out m", "It is signed, but not encrypted"},
        {"encrypt -aes-256-cbc -recip cert.pem $oaep | sign -md sha256 -out m",
         "It is signed with another algorithm"},
        {"encrypt -aes-256-cbc -recip cert.pem $oaep | sign -keyopt rsa_padding_mode:pss -md sha512 -out m",
         "It is signed with another hash"},
        {"encrypt -aes-256-cbc -recip cert.pem $oaep | sign $pss -keyopt rsa_mgf1_md:sha1 -out m",
         "It uses RSASSA-PSS with another hash"},
        {"encrypt -aes-256-cbc -recip cert.pem $oaep | sign $pss -noattr -out m",
         "Its signature has no signed attributes"},
        {"encrypt -aes-256-cbc -recip cert.pem $oaep | sign $pss -nocerts -out m",
         "It does not hold the signer's key"},
        {"encrypt -aes-256-cbc -recip cert.pem $oaep -out e; openssl cms -sign -binary -in e -outform DER "
         "-signer cert.pem -inkey key.pem $pss -out m",
         "It is a signature alone"},
        {"openssl req -x509 -new -key key.pem -subj /CN=Other -out other.pem; encrypt -aes-256-cbc -recip "
         "cert.pem $oaep | sign $pss -signer other.pem -inkey key.pem $pss -out m",
         "It has several signers"},
    };

    (void)bits;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        _cleanup_(cms_freep) Cms *c = NULL;
        const char *why = NULL;

        run(f, cases[i].script);
        if (parse(f, &c, &why) != HMSG_ERROR_BAD_PACKAGE)
            g_error("%s: is not refused", cases[i].script);
        if (!why || !g_str_has_prefix(why, cases[i].why))
            g_error("%s: %s", cases[i].script, why ? why : "no reason");
    }
}

/* Outer signatures: every bit of what is signed counts. */
static void test_outer_changed(Fixture *f, gconstpointer bits)
{
    size_t n = 0;

    (void)bits;
    run(f, "encrypt -aes-256-cbc -recip cert.pem $oaep | sign $pss -out m");
    g_autofree char *m = load(&f->w, "m", &n);
    _cleanup_(cms_freep) Cms *whole = NULL;
    const char *why = NULL;
    g_assert_cmpint(cms_parse(m, n, &whole, &why), ==, 0);
    size_t start = (size_t)(whole->outer->content.data - whole->der.data);
    for (size_t i = start; i < start + whole->outer->content.size; i++) {
        _cleanup_(cms_freep) Cms *c = NULL;

        m[i] ^= 1;
        int r = cms_parse(m, n, &c, &why);
        if (r == 0)
            g_assert_cmpint(cms_signed_verify(c->outer), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
        else
            g_assert_true(r == HMSG_ERROR_BAD_PACKAGE || r == HMSG_ERROR_TOO_LARGE);
        m[i] ^= 1;
    }
}

int main(int argc, char **argv)
{
    static const unsigned sizes[] = {2048, 3072, 4096};

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *reads = g_strdup_printf("/cms/openssl-reads/%u", sizes[i]),
                        *verifies = g_strdup_printf("/cms/openssl-verifies/%u", sizes[i]),
                        *writes = g_strdup_printf("/cms/openssl-writes/%u", sizes[i]);

        g_test_add(reads, Fixture, GUINT_TO_POINTER(sizes[i]), fixture_set_up, test_openssl_reads,
                   fixture_tear_down);
        g_test_add(verifies, Fixture, GUINT_TO_POINTER(sizes[i]), fixture_set_up, test_openssl_verifies,
                   fixture_tear_down);
        g_test_add(writes, Fixture, GUINT_TO_POINTER(sizes[i]), fixture_set_up, test_openssl_writes,
                   fixture_tear_down);
    }
    g_test_add("/cms/refused", Fixture, GUINT_TO_POINTER(2048), fixture_set_up, test_refused,
               fixture_tear_down);
    g_test_add("/cms/outer-changed", Fixture, GUINT_TO_POINTER(2048), fixture_set_up, test_outer_changed,
               fixture_tear_down);
    return g_test_run();
}
