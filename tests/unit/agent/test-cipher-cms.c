/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sealing and opening CMS, over doubles of identity and contacts. */

#include <openssl/cms.h>
#include <openssl/rsa.h>

#include "agent/cipher-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "tests/unit/agent/cipher-scene.h"

static const SealOptions as_cms = {.cms = true};
static const SealOptions as_pem = {.cms = true, .pem = true};
static const SealOptions anonymous_cms = {.cms = true, .anonymous = true};

/* Somebody else, with a key in software. */
typedef struct Other {
    EVP_PKEY *private;
    RsaKey *key;
    char kid[HASH_TEXT_SIZE];
} Other;

static SealKey other_open(Other *o)
{
    SealKey key = {.kid = o->kid};

    o->private = EVP_RSA_gen(2048);
    g_assert_nonnull(o->private);
    g_assert_cmpint(rsa_key_from_evp(o->private, &o->key), ==, 0);
    base64url_encode(rsa_key_thumbprint(o->key), KID_SIZE, o->kid);
    key.spki = rsa_key_spki(o->key, &key.spki_size);
    return key;
}

static void other_close(Other *o)
{
    rsa_key_free(o->key);
    EVP_PKEY_free(o->private);
}

static RsaKey *own_key(const Scene *s)
{
    return identity_public(s->m->identity)->decrypt;
}

static GByteArray *bytes_of(const Buf *b)
{
    return g_byte_array_append(g_byte_array_new(), b->data, (guint)b->size);
}

static GByteArray *sealed_to(Scene *s, const SealKey *keys, size_t n, const SealOptions *o)
{
    GByteArray *bytes;
    Result x = {0};

    g_assert_cmpint(cipher_seal(s->m->cipher, keys, n, TEXT, strlen(TEXT), o, on_sealed, &x, &x.job), ==, 0);
    double_run(s->d, &x.done);
    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpuint(x.n, ==, 1); /* one for all */
    bytes = g_byte_array_ref(x.bytes);
    result_clear(&x);
    return bytes;
}

/* It opens, for who allows unknown senders. */
static void opens(Scene *s, const GByteArray *p, const char *sender, bool verified)
{
    Result x;

    open_it(s, p, &unknown, &x);
    expect_text(&x);
    g_assert_cmpstr(x.info.format, ==, "cms");
    g_assert_cmpstr(x.sender, ==, sender);
    g_assert_cmpint(x.info.verified, ==, verified);
    g_assert_true(x.info.authenticated && !x.info.cached && !x.info.replayed && !x.info.expired);
    g_assert_cmpint(x.info.timestamp > 0, ==, *sender != 0);
    result_clear(&x);
}

static void test_anonymous(void)
{
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &anonymous_cms);
    g_assert_cmpuint(double_count_sign(s.d), ==, 0);
    expect_error(&s, p, &strict, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 0); /* not even asked */
    opens(&s, p, "", false);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 1);
    double_lock(s.d);
    expect_error(&s, p, &unknown, HMSG_ERROR_LOCKED);
    scene_close(&s);
}

static void test_signed(void)
{
    const SealOptions *const forms[] = {&as_cms, &as_pem};
    Scene s;

    scene_open(&s);
    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        g_autoptr(GByteArray) p = sealed(&s, forms[i]);

        g_assert_cmpint(p->data[0], ==, i == 0 ? 0x30 : '-');
        g_assert_cmpuint(double_count_sign(s.d), ==, i + 1);
        double_know(s.d, CONTACT_PINNED, CONTACT_NONE, "alice@relay");
        expect_error(&s, p, &strict, HMSG_ERROR_UNTRUSTED);
        opens(&s, p, "alice@relay", true);
        double_know(s.d, CONTACT_NONE, CONTACT_NONE, "");
        opens(&s, p, identity_public(s.m->identity)->skid, false);
        double_know(s.d, CONTACT_BLOCKED, CONTACT_NONE, "m@relay");
        expect_error(&s, p, &unknown, HMSG_ERROR_UNTRUSTED);
        double_know(s.d, CONTACT_CHANGED, CONTACT_NONE, "m@relay");
        expect_error(&s, p, &unknown, HMSG_ERROR_UNTRUSTED);
    }
    double_fail(s.d, HMSG_ERROR_TPM_UNAVAILABLE);
    Result x;
    seal(&s, &as_cms, &x);
    g_assert_cmpint(x.r, ==, HMSG_ERROR_TPM_UNAVAILABLE);
    result_clear(&x);
    scene_close(&s);
}

/* What the other gets out: SignedData when it is signed. */
static void open_other(const Other *o, const GByteArray *p, Buf *ret)
{
    _cleanup_(cms_freep) Cms *c = NULL;
    _cleanup_(secret_freep) Secret *key = NULL;
    const char *why = NULL;

    g_assert_cmpint(cms_parse(p->data, p->len, &c, &why), ==, 0);
    g_assert_cmpint(cms_choose(c, o->key, true), ==, 0);
    g_assert_cmpint(rsa_private_oaep_decrypt(o->private, c->encrypted_key.data, c->encrypted_key.size, &key),
                    ==, 0);
    g_assert_cmpint(cms_open(c, key, ret), ==, 0);
}

static GByteArray *encrypt_to_us(const Scene *s, const void *content, size_t n)
{
    const CmsRecipient us = {.key = own_key(s)};
    _cleanup_(buf_done) Buf b = BUF_MAX(CMS_SIZE_MAX);

    g_assert_cmpint(cms_build(&us, 1, content, n, false, &b), ==, 0);
    return bytes_of(&b);
}

/* One for several; and what was signed for others proves nothing to us, who are not among them. */
static void test_handed_on(void)
{
    _cleanup_(buf_done) Buf inner = BUF_MAX(CMS_SIZE_MAX), others = BUF_MAX(CMS_SIZE_MAX);
    Other other;
    Scene s;

    scene_open(&s);
    SealKey keys[] = {other_open(&other), s.us};
    g_autoptr(GByteArray) both = sealed_to(&s, keys, 2, &as_cms);
    g_autoptr(GByteArray) theirs = sealed_to(&s, keys, 1, &as_cms);
    opens(&s, both, "alice@relay", true);
    open_other(&other, both, &inner);
    open_other(&other, theirs, &others);
    g_autoptr(GByteArray) again = encrypt_to_us(&s, inner.data, inner.size); /* it was for us */
    opens(&s, again, "alice@relay", true);
    g_autoptr(GByteArray) handed_on = encrypt_to_us(&s, others.data, others.size);
    expect_error(&s, handed_on, &unknown, HMSG_ERROR_AUTHENTICATION_FAILED);
    others.data[others.size - 1] ^= 1;
    inner.data[inner.size - 1] ^= 1;
    g_autoptr(GByteArray) forged = encrypt_to_us(&s, inner.data, inner.size);
    expect_error(&s, forged, &unknown, HMSG_ERROR_AUTHENTICATION_FAILED);
    other_close(&other);
    scene_close(&s);
}

static void test_failures(void)
{
    Other other, third;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &anonymous_cms);
    g_autoptr(GByteArray) changed = g_byte_array_append(g_byte_array_new(), p->data, p->len);
    changed->data[changed->len - 1] ^= 1;
    expect_error(&s, changed, &unknown, HMSG_ERROR_AUTHENTICATION_FAILED);
    opens(&s, p, "", false); /* the key was right, so it is not remembered */

    /* whose key it is cannot be told: it is tried once, and not again */
    SealKey keys[] = {other_open(&other), other_open(&third)};
    g_autoptr(GByteArray) theirs = sealed_to(&s, keys, 1, &anonymous_cms);
    unsigned before = double_count_decrypt(s.d);
    for (int i = 0; i < 3; i++)
        expect_error(&s, theirs, &unknown, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, before + 1);
    g_autoptr(GByteArray) of_both = sealed_to(&s, keys, 2, &anonymous_cms);
    expect_error(&s, of_both, &unknown, HMSG_ERROR_NOT_FOR_US);
    double_fail(s.d, HMSG_ERROR_TPM_UNAVAILABLE);
    expect_error(&s, p, &unknown, HMSG_ERROR_TPM_UNAVAILABLE);
    other_close(&other);
    other_close(&third);
    scene_close(&s);
}

static void test_limits(void)
{
    g_autofree char *large = g_malloc0(PLAINTEXT_SIZE_MAX + 1);
    Result x = {0};
    Scene s;

    scene_open(&s);
    g_assert_cmpint(
        cipher_seal(s.m->cipher, &s.us, 1, large, PLAINTEXT_SIZE_MAX + 1, &as_cms, on_sealed, &x, &x.job), ==,
        HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(
        cipher_seal(s.m->cipher, &s.us, 1, large, PLAINTEXT_SIZE_MAX, &as_pem, on_sealed, &x, &x.job), ==, 0);
    double_run(s.d, &x.done);
    g_assert_cmpint(x.r, ==, 0);
    g_autoptr(GByteArray) p = g_byte_array_ref(x.bytes);
    result_clear(&x);
    open_it(&s, p, &unknown, &x);
    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpuint(x.bytes->len, ==, PLAINTEXT_SIZE_MAX);
    result_clear(&x);
    g_assert_cmpint(cipher_seal(s.m->cipher, &s.us, 0, "", 0, &as_cms, on_sealed, &x, &x.job), ==, 0);
    double_run(s.d, &x.done);
    g_assert_cmpint(x.r, ==, HMSG_ERROR_INVALID_ARGS);
    result_clear(&x);
    scene_close(&s);
}

static X509 *certificate_of(const RsaKey *key, EVP_PKEY *issuer)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(key, &n);
    EVP_PKEY *public = d2i_PUBKEY(NULL, &spki, (long)n);
    X509 *x = X509_new();

    g_assert_true(X509_set_pubkey(x, public) == 1 && X509_gmtime_adj(X509_getm_notBefore(x), 0) &&
                  X509_gmtime_adj(X509_getm_notAfter(x), 3600));
    ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
    X509_NAME_add_entry_by_txt(X509_get_issuer_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)"Issuer",
                               -1, -1, 0);
    g_assert_cmpint(X509_sign(x, issuer, EVP_sha256()), >, 0);
    EVP_PKEY_free(public);
    return x;
}

/* EnvelopedData as OpenSSL writes it; in DER. */
static void build_cbc(const Scene *s, EVP_PKEY *issuer, Buf *ret)
{
    X509 *x = certificate_of(own_key(s), issuer);
    BIO *in = BIO_new_mem_buf(TEXT, -1);
    CMS_ContentInfo *c = CMS_encrypt(NULL, NULL, EVP_aes_256_cbc(), CMS_BINARY | CMS_PARTIAL);
    CMS_RecipientInfo *info = CMS_add1_recipient_cert(c, x, CMS_KEY_PARAM);
    EVP_PKEY_CTX *ctx = CMS_RecipientInfo_get0_pkey_ctx(info);
    uint8_t *der = NULL;

    g_assert_true(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
                  EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) == 1);
    g_assert_cmpint(CMS_final(c, in, NULL, CMS_BINARY), ==, 1);
    int n = i2d_CMS_ContentInfo(c, &der);
    g_assert_cmpint(n, >, 0);
    g_assert_cmpint(buf_append(ret, der, (size_t)n), ==, 0);
    OPENSSL_free(der);
    CMS_ContentInfo_free(c);
    BIO_free(in);
    X509_free(x);
}

static GByteArray *sign_around(const Scene *s, const Other *by, const Buf *content)
{
    const CmsRecipient us = {.key = own_key(s)};
    _cleanup_(cms_draft_freep) CmsDraft *d = NULL;
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX), b = BUF_MAX(CMS_SIZE_MAX);

    g_assert_cmpint(cms_draft_new(by->key, &us, 1, clock_realtime(), content->data, content->size, &d), ==,
                    0);
    g_assert_cmpint(rsa_private_sign_ps256(by->private, cms_draft_digest(d), &signature), ==, 0);
    g_assert_cmpint(cms_draft_finish(d, content->data, content->size, signature.data, signature.size, &b), ==,
                    0);
    return bytes_of(&b);
}

static void expect_detail(Scene *s, const GByteArray *p, int r, const char *detail)
{
    Result x;

    open_it(s, p, &unknown, &x);
    g_assert_cmpint(x.r, ==, r);
    g_assert_cmpstr(x.detail, ==, detail);
    result_clear(&x);
}

/* A signature around it: the signer is known before the TPM is asked. */
static void test_outer(void)
{
    _cleanup_(buf_done) Buf cbc = BUF_MAX(CMS_SIZE_MAX);
    Other other;
    Scene s;
    Result x;

    scene_open(&s);
    (void)other_open(&other);
    build_cbc(&s, other.private, &cbc);
    g_autoptr(GByteArray) p = sign_around(&s, &other, &cbc);
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    g_assert_cmpstr(x.sender, ==, "alice@relay");
    g_assert_true(x.info.verified);
    result_clear(&x);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 1);

    double_know(s.d, CONTACT_NONE, CONTACT_PINNED, "late@relay"); /* only the directory knows */
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    g_assert_cmpstr(x.sender, ==, "late@relay");
    result_clear(&x);
    unsigned before = double_count_decrypt(s.d);
    double_know(s.d, CONTACT_NONE, CONTACT_NONE, "");
    expect_detail(&s, p, HMSG_ERROR_UNTRUSTED,
                  "Without a signer who is known anybody could have changed it: it is AES-256-CBC");
    g_autoptr(GByteArray) bare = bytes_of(&cbc);
    expect_detail(&s, bare, HMSG_ERROR_BAD_PACKAGE,
                  "It is EnvelopedData without a signature around it, which anybody can change: "
                  "AuthEnvelopedData is read");
    p->data[p->len - 1] ^= 1;
    expect_error(&s, p, &unknown, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, before);

    /* around AuthEnvelopedData; then who is not known may be allowed */
    double_know(s.d, CONTACT_PINNED, CONTACT_NONE, "alice@relay");
    g_autoptr(GByteArray) gcm = sealed(&s, &anonymous_cms);
    _cleanup_(buf_done) Buf inner = BUF_MAX(CMS_SIZE_MAX);
    g_assert_cmpint(buf_append(&inner, gcm->data, gcm->len), ==, 0);
    g_autoptr(GByteArray) q = sign_around(&s, &other, &inner);
    open_it(&s, q, &strict, &x);
    expect_text(&x);
    result_clear(&x);
    double_know(s.d, CONTACT_NONE, CONTACT_NONE, "");
    expect_error(&s, q, &strict, HMSG_ERROR_UNTRUSTED);
    opens(&s, q, other.kid, false);
    other_close(&other);
    scene_close(&s);
}

/* What others have signed inside is content: nothing says that it was meant for us. */
static void test_foreign_inside(void)
{
    Other other;
    Scene s;
    Result x;

    scene_open(&s);
    (void)other_open(&other);
    X509 *cert = certificate_of(other.key, other.private);
    BIO *in = BIO_new_mem_buf(TEXT, -1);
    CMS_ContentInfo *c = CMS_sign(NULL, NULL, NULL, NULL, CMS_BINARY | CMS_PARTIAL);
    CMS_SignerInfo *signer = CMS_add1_signer(c, cert, other.private, EVP_sha256(), CMS_KEY_PARAM);
    uint8_t *der = NULL;
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(CMS_SignerInfo_get0_pkey_ctx(signer), RSA_PKCS1_PSS_PADDING),
                    ==, 1);
    g_assert_cmpint(CMS_final(c, in, NULL, CMS_BINARY), ==, 1);
    int n = i2d_CMS_ContentInfo(c, &der);
    g_assert_cmpint(n, >, 0);
    g_autoptr(GByteArray) p = encrypt_to_us(&s, der, (size_t)n);
    open_it(&s, p, &unknown, &x);
    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpmem(x.bytes->data, x.bytes->len, der, (size_t)n);
    g_assert_cmpstr(x.sender, ==, "");
    g_assert_false(x.info.verified);
    result_clear(&x);
    OPENSSL_free(der);
    CMS_ContentInfo_free(c);
    BIO_free(in);
    X509_free(cert);
    other_close(&other);
    scene_close(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cipher-cms/anonymous", test_anonymous);
    g_test_add_func("/cipher-cms/signed", test_signed);
    g_test_add_func("/cipher-cms/handed-on", test_handed_on);
    g_test_add_func("/cipher-cms/failures", test_failures);
    g_test_add_func("/cipher-cms/limits", test_limits);
    g_test_add_func("/cipher-cms/outer", test_outer);
    g_test_add_func("/cipher-cms/foreign-inside", test_foreign_inside);
    return g_test_run();
}
