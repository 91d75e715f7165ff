/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/tpm/keyfile.h"

#include <errno.h>
#include <glib.h>
#include <openssl/asn1t.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/tpm/keyfile-internal.h"

#define PRIVATE_SIZE 222u

/* The format as its specification writes it, read by OpenSSL: a second opinion about ours. */
typedef struct TPMPOLICY {
    ASN1_INTEGER *code;
    ASN1_OCTET_STRING *policy;
} TPMPOLICY;

ASN1_SEQUENCE(TPMPOLICY) =
    {
        ASN1_EXP(TPMPOLICY, code, ASN1_INTEGER, 0),
        ASN1_EXP(TPMPOLICY, policy, ASN1_OCTET_STRING, 1),
} static_ASN1_SEQUENCE_END(TPMPOLICY)

        typedef struct TPMKEY {
    ASN1_OBJECT *type;
    ASN1_BOOLEAN empty_auth;
    struct stack_st_TPMPOLICY *policy;
    ASN1_INTEGER *parent;
    ASN1_OCTET_STRING *public, *private;
} TPMKEY;

ASN1_SEQUENCE(TPMKEY) =
    {
        ASN1_SIMPLE(TPMKEY, type, ASN1_OBJECT),
        ASN1_EXP_OPT(TPMKEY, empty_auth, ASN1_BOOLEAN, 0),
        ASN1_EXP_SEQUENCE_OF_OPT(TPMKEY, policy, TPMPOLICY, 1),
        ASN1_SIMPLE(TPMKEY, parent, ASN1_INTEGER),
        ASN1_SIMPLE(TPMKEY, public, ASN1_OCTET_STRING),
        ASN1_SIMPLE(TPMKEY, private, ASN1_OCTET_STRING),
} static_ASN1_SEQUENCE_END(TPMKEY)

        typedef struct Blobs {
    uint8_t public[sizeof(TPM2B_PUBLIC)];
    size_t public_size;
    uint8_t private[2 + PRIVATE_SIZE];
} Blobs;

static const TpmKeyPolicy *const POLICY =
    &(const TpmKeyPolicy){.index = 0x01812345, .generation = 0x0102030405060708};

static void make_blobs(TpmKeyUse use, bool guarded, const TpmKeyPolicy *policy, Blobs *b)
{
    TPM2B_PUBLIC public;
    tpm_template_key(use, guarded, &public);
    if (policy)
        g_assert_cmpint(tpm_template_bind(policy, &public), ==, 0);
    public.publicArea.unique.rsa.size = TPM_RSA_SIZE;
    memset(public.publicArea.unique.rsa.buffer, 0xa5, TPM_RSA_SIZE);
    b->public_size = 0;
    g_assert_cmpint(Tss2_MU_TPM2B_PUBLIC_Marshal(&public, b->public, sizeof(b->public), &b->public_size), ==,
                    0);
    memset(b->private, 0x5a, sizeof(b->private));
    b->private[0] = 0;
    b->private[1] = PRIVATE_SIZE;
}

static TpmKeyFile *make(TpmKeyUse use)
{
    Blobs b;
    TpmKeyFile *k = NULL;
    make_blobs(use, false, NULL, &b);
    g_assert_cmpint(
        tpm_keyfile_from_blobs(b.public, b.public_size, b.private, sizeof(b.private), false, NULL, &k), ==,
        0);
    return k;
}

static void assert_same(const TpmKeyFile *a, const TpmKeyFile *b)
{
    size_t n, m;
    const uint8_t *p = tpm_keyfile_public(a, &n), *q = tpm_keyfile_public(b, &m);
    g_assert_cmpmem(p, n, q, m);
    p = tpm_keyfile_private(a, &n);
    q = tpm_keyfile_private(b, &m);
    g_assert_cmpmem(p, n, q, m);
    p = tpm_keyfile_spki(a, &n);
    q = tpm_keyfile_spki(b, &m);
    g_assert_cmpmem(p, n, q, m);
    g_assert_cmpmem(tpm_keyfile_name(a), TPM_NAME_SIZE, tpm_keyfile_name(b), TPM_NAME_SIZE);
    g_assert_cmpint(tpm_keyfile_use(a), ==, tpm_keyfile_use(b));
}

static void test_round_trip(void)
{
    for (TpmKeyUse use = TPM_KEY_DECRYPT; use <= TPM_KEY_SIGN; use++) {
        _cleanup_(tpm_keyfile_freep) TpmKeyFile *a = make(use), *b = NULL, *c = NULL;
        _cleanup_(buf_done) Buf pem = BUF_MAX(TPM_KEYFILE_PEM_MAX), der = BUF_MAX(TPM_KEYFILE_DER_MAX);

        g_assert_cmpint(tpm_keyfile_use(a), ==, use);
        g_assert_cmpint(tpm_keyfile_to_pem(a, &pem), ==, 0);
        g_assert_true(g_str_has_prefix(buf_text(&pem), "-----BEGIN TSS2 PRIVATE KEY-----\n"));
        g_assert_cmpint(tpm_keyfile_from_pem(buf_text(&pem), pem.size, &b), ==, 0);
        assert_same(a, b);
        g_assert_cmpint(tpm_keyfile_to_der(a, &der), ==, 0);
        g_assert_cmpint(tpm_keyfile_from_der(der.data, der.size, &c), ==, 0);
        assert_same(a, c);
    }
}

static void test_openssl_reads(void)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = make(TPM_KEY_SIGN);
    _cleanup_(buf_done) Buf der = BUF_MAX(TPM_KEYFILE_DER_MAX);
    char type[32];
    size_t n;

    g_assert_cmpint(tpm_keyfile_to_der(k, &der), ==, 0);
    const unsigned char *p = der.data;
    TPMKEY *key = (TPMKEY *)ASN1_item_d2i(NULL, &p, (long)der.size, ASN1_ITEM_rptr(TPMKEY));
    g_assert_nonnull(key);
    g_assert_true(p == der.data + der.size);
    g_assert_cmpint(OBJ_obj2txt(type, sizeof(type), key->type, 1), >, 0);
    g_assert_cmpstr(type, ==, "2.23.133.10.1.3");
    g_assert_cmpint(key->empty_auth, ==, 0xff);
    g_assert_null(key->policy);
    g_assert_cmpint(ASN1_INTEGER_get(key->parent), ==, 0x40000001);
    const uint8_t *blob = tpm_keyfile_public(k, &n);
    g_assert_cmpmem(ASN1_STRING_get0_data(key->public), ASN1_STRING_length(key->public), blob, n);
    blob = tpm_keyfile_private(k, &n);
    g_assert_cmpmem(ASN1_STRING_get0_data(key->private), ASN1_STRING_length(key->private), blob, n);
    ASN1_item_free((ASN1_VALUE *)key, ASN1_ITEM_rptr(TPMKEY));
}

static TpmKeyFile *make_bound(TpmKeyUse use, bool guarded)
{
    Blobs b;
    TpmKeyFile *k = NULL;

    make_blobs(use, guarded, POLICY, &b);
    g_assert_cmpint(
        tpm_keyfile_from_blobs(b.public, b.public_size, b.private, sizeof(b.private), guarded, POLICY, &k),
        ==, 0);
    return k;
}

static void assert_policy(const TPMKEY *key, int i, long code, const void *octets, size_t n)
{
    const TPMPOLICY *policy = (const TPMPOLICY *)OPENSSL_sk_value((const OPENSSL_STACK *)key->policy, i);

    g_assert_cmpint(ASN1_INTEGER_get(policy->code), ==, code);
    g_assert_cmpmem(ASN1_STRING_get0_data(policy->policy), ASN1_STRING_length(policy->policy), octets, n);
}

static void test_openssl_reads_policy(void)
{
    static const uint8_t nv[] = {0x01, 0x81, 0x23, 0x45, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9};

    for (int guarded = 0; guarded < 2; guarded++) {
        _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = make_bound(TPM_KEY_SIGN, guarded);
        _cleanup_(buf_done) Buf der = BUF_MAX(TPM_KEYFILE_DER_MAX);

        g_assert_cmpint(tpm_keyfile_to_der(k, &der), ==, 0);
        const unsigned char *p = der.data;
        TPMKEY *key = (TPMKEY *)ASN1_item_d2i(NULL, &p, (long)der.size, ASN1_ITEM_rptr(TPMKEY));
        g_assert_nonnull(key);
        g_assert_true(p == der.data + der.size);
        g_assert_cmpint(OPENSSL_sk_num((const OPENSSL_STACK *)key->policy), ==, 1 + guarded);
        assert_policy(key, 0, TPM2_CC_PolicyNV, nv, sizeof(nv));
        if (guarded)
            assert_policy(key, 1, TPM2_CC_PolicyAuthValue, "", 0);
        ASN1_item_free((ASN1_VALUE *)key, ASN1_ITEM_rptr(TPMKEY));
    }
}

static void test_bound(void)
{
    for (unsigned i = 0; i < 4; i++) {
        _cleanup_(tpm_keyfile_freep) TpmKeyFile *a =
            make_bound(i / 2 ? TPM_KEY_SIGN : TPM_KEY_DECRYPT, i % 2);
        _cleanup_(tpm_keyfile_freep) TpmKeyFile *b = NULL;
        _cleanup_(buf_done) Buf pem = BUF_MAX(TPM_KEYFILE_PEM_MAX), der = BUF_MAX(TPM_KEYFILE_DER_MAX);

        g_assert_cmpint(tpm_keyfile_to_pem(a, &pem), ==, 0);
        g_assert_cmpint(tpm_keyfile_from_pem(buf_text(&pem), pem.size, &b), ==, 0);
        assert_same(a, b);
        g_assert_true(tpm_keyfile_is_guarded(b) == (i % 2 != 0));
        g_assert_cmphex(tpm_keyfile_policy(b)->index, ==, POLICY->index);
        g_assert_cmphex(tpm_keyfile_policy(b)->generation, ==, POLICY->generation);
        g_assert_cmpint(tpm_keyfile_to_der(a, &der), ==, 0);
        for (size_t at = 0; at < 80; at++) { /* head and policy */
            TpmKeyFile *k = NULL;

            der.data[at] ^= 1;
            g_assert_cmpint(tpm_keyfile_from_der(der.data, der.size, &k), ==, -EBADMSG);
            der.data[at] ^= 1;
        }
    }
}

/* The policy says what the key's digest is: no other key is taken with it, nor this one with another. */
static void test_bound_otherwise(void)
{
    const TpmKeyPolicy other[] = {{.index = POLICY->index + 1, .generation = POLICY->generation},
                                  {.index = POLICY->index, .generation = POLICY->generation + 1}};
    Blobs bound, bare;
    TpmKeyFile *k = NULL;

    for (int guarded = 0; guarded < 2; guarded++) {
        make_blobs(TPM_KEY_DECRYPT, guarded, POLICY, &bound);
        make_blobs(TPM_KEY_DECRYPT, guarded, NULL, &bare);
        for (size_t i = 0; i < G_N_ELEMENTS(other); i++)
            g_assert_cmpint(tpm_keyfile_from_blobs(bound.public, bound.public_size, bound.private,
                                                   sizeof(bound.private), false, &other[i], &k),
                            ==, -EBADMSG);
        g_assert_cmpint(tpm_keyfile_from_blobs(bound.public, bound.public_size, bound.private,
                                               sizeof(bound.private), false, NULL, &k),
                        ==, -EBADMSG);
        g_assert_cmpint(tpm_keyfile_from_blobs(bare.public, bare.public_size, bare.private,
                                               sizeof(bare.private), false, POLICY, &k),
                        ==, -EBADMSG);
        bound.public[2 + 4 + 3] |= TPMA_OBJECT_USERWITHAUTH; /* type, nameAlg, attributes: their last byte */
        g_assert_cmpint(tpm_keyfile_from_blobs(bound.public, bound.public_size, bound.private,
                                               sizeof(bound.private), false, POLICY, &k),
                        ==, -EBADMSG);
    }
    g_assert_null(k);
}

static void test_spki(void)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = make(TPM_KEY_DECRYPT);
    unsigned char *again = NULL;
    size_t n;
    const uint8_t *spki = tpm_keyfile_spki(k, &n), *end = spki;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &end, (long)n);

    g_assert_nonnull(pkey);
    g_assert_cmpint(EVP_PKEY_get_bits(pkey), ==, 2048);
    int size = i2d_PUBKEY(pkey, &again);
    g_assert_cmpmem(again, size, spki, n);
    OPENSSL_free(again);
    EVP_PKEY_free(pkey);
}

static void test_name(void)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = make(TPM_KEY_DECRYPT);
    uint8_t name[TPM_NAME_SIZE];
    TPM2B_PUBLIC public = {0};
    size_t n, offset = 0;
    const uint8_t *blob = tpm_keyfile_public(k, &n);

    g_assert_cmpint(Tss2_MU_TPM2B_PUBLIC_Unmarshal(blob, n, &offset, &public), ==, 0);
    g_assert_cmpint(tpm_public_name(&public, name), ==, 0);
    g_assert_cmpmem(name, sizeof(name), tpm_keyfile_name(k), TPM_NAME_SIZE);
    g_assert_cmpuint(name[1], ==, 0x0b);
    public.publicArea.nameAlg = TPM2_ALG_SHA1;
    g_assert_cmpint(tpm_public_name(&public, name), ==, -EBADMSG);
}

static void test_references(void)
{
    TpmKeyFile *k = make(TPM_KEY_DECRYPT), *again = tpm_keyfile_ref(k);
    g_assert_true(k == again);
    g_assert_null(tpm_keyfile_free(k));
    g_assert_cmpint(tpm_keyfile_use(again), ==, TPM_KEY_DECRYPT);
    g_assert_null(tpm_keyfile_free(again));
    g_assert_null(tpm_keyfile_free(NULL));
}

/* Every truncation and every changed byte: refused, but where the bytes are free: modulus and sealed part. */
static void test_damaged_der(void)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *a = make(TPM_KEY_DECRYPT);
    _cleanup_(buf_done) Buf der = BUF_MAX(TPM_KEYFILE_DER_MAX);
    unsigned accepted = 0;

    g_assert_cmpint(tpm_keyfile_to_der(a, &der), ==, 0);
    for (size_t n = 0; n < der.size; n++) {
        TpmKeyFile *k = NULL;
        g_autofree uint8_t *exact = g_memdup2(der.data, n);
        g_assert_cmpint(tpm_keyfile_from_der(exact, n, &k), ==, -EBADMSG);
        g_assert_null(k);
    }
    for (size_t i = 0; i < der.size; i++)
        for (unsigned flip = 1; flip < 256; flip++) {
            _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = NULL;
            g_autofree uint8_t *changed = g_memdup2(der.data, der.size);
            changed[i] ^= (uint8_t)flip;
            int r = tpm_keyfile_from_der(changed, der.size, &k);
            g_assert_true(r == 0 ? k != NULL : r == -EBADMSG && !k);
            if (r == 0) {
                _cleanup_(buf_done) Buf again = BUF_MAX(TPM_KEYFILE_DER_MAX);
                g_assert_cmpint(tpm_keyfile_to_der(k, &again), ==, 0);
                g_assert_cmpmem(again.data, again.size, changed, der.size);
                accepted++;
            }
        }
    /* 254 bytes of the modulus freely, its first with the high bit, its last odd; the sealed part freely;
     * noDA; and fixedTPM, fixedParent and sensitiveDataOrigin, which are in one byte
     */
    g_assert_cmpuint(accepted, ==, 254 * 255 + 127 + 127 + PRIVATE_SIZE * 255 + 2);
}

static void test_damaged_pem(void)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *a = make(TPM_KEY_SIGN);
    _cleanup_(buf_done) Buf pem = BUF_MAX(TPM_KEYFILE_PEM_MAX);

    g_assert_cmpint(tpm_keyfile_to_pem(a, &pem), ==, 0);
    for (size_t n = 0; n < pem.size - 1; n++) {
        TpmKeyFile *k = NULL;
        g_autofree char *exact = g_memdup2(pem.data, n);
        g_assert_cmpint(tpm_keyfile_from_pem(exact, n, &k), ==, -EBADMSG);
    }
    for (size_t i = 0; i < pem.size - 1; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = NULL;
            g_autofree char *changed = g_memdup2(pem.data, pem.size);
            changed[i] ^= (char)(1u << bit);
            int r = tpm_keyfile_from_pem(changed, pem.size, &k);
            g_assert_true(r == 0 ? k != NULL : r == -EBADMSG && !k);
        }
}

static void test_refused_pem(void)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *a = make(TPM_KEY_SIGN);
    _cleanup_(buf_done) Buf pem = BUF_MAX(TPM_KEYFILE_PEM_MAX);

    g_assert_cmpint(tpm_keyfile_to_pem(a, &pem), ==, 0);
    const char *text = buf_text(&pem), *body = strchr(text, '\n') + 1;
    g_autofree char *behind = g_strconcat(text, "x", NULL), *before = g_strconcat("x\n", text, NULL),
                    *twice = g_strconcat(text, text, NULL),
                    *header = g_strconcat("-----BEGIN TSS2 PRIVATE KEY-----\nA: b\n\n", body, NULL),
                    *label = g_strdup(text), *space = g_strconcat(text, "\n \n", NULL),
                    *large = g_strnfill(TPM_KEYFILE_PEM_MAX + 1, '\n');
    const char *refused[] = {behind, before, twice, header, label, large, "", "\n"};

    memcpy(strstr(label, "TSS2"), "XXXX", 4);
    memcpy(strstr(label + 40, "TSS2"), "XXXX", 4);
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        TpmKeyFile *k = NULL;
        g_assert_cmpint(tpm_keyfile_from_pem(refused[i], strlen(refused[i]), &k), ==, -EBADMSG);
    }
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = NULL;
    g_assert_cmpint(tpm_keyfile_from_pem(space, strlen(space), &k), ==, 0);
}

/* Only a key whose wrong uses are counted has a value; one may have lost it. */
static void test_auth(void)
{
    for (unsigned i = 0; i < 4; i++) {
        bool guarded = i % 2 != 0, needs_auth = i / 2 != 0;
        _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = NULL, *again = NULL;
        _cleanup_(buf_done) Buf pem = BUF_MAX(TPM_KEYFILE_PEM_MAX);
        Blobs b;

        make_blobs(TPM_KEY_SIGN, guarded, NULL, &b);
        int r = tpm_keyfile_from_blobs(b.public, b.public_size, b.private, sizeof(b.private), needs_auth,
                                       NULL, &k);
        g_assert_cmpint(r, ==, needs_auth && !guarded ? -EBADMSG : 0);
        if (r != 0)
            continue;
        g_assert_true(tpm_keyfile_needs_auth(k) == needs_auth);
        g_assert_true(tpm_keyfile_is_guarded(k) == guarded);
        g_assert_cmpint(tpm_keyfile_to_pem(k, &pem), ==, 0);
        g_assert_cmpint(tpm_keyfile_from_pem(buf_text(&pem), pem.size, &again), ==, 0);
        assert_same(k, again);
        g_assert_true(tpm_keyfile_needs_auth(again) == needs_auth);
    }
}

/* Keys of other kinds, as a TPM could have made them for another program. */
static void test_other_templates(void)
{
    for (unsigned i = 0; i < 9; i++) {
        Blobs b;
        TpmKeyFile *k = NULL;
        TPM2B_PUBLIC public;
        make_blobs(TPM_KEY_DECRYPT, false, NULL, &b);
        tpm_template_key(TPM_KEY_DECRYPT, false, &public);
        TPMT_PUBLIC *area = &public.publicArea;
        area->unique.rsa.size = TPM_RSA_SIZE;
        memset(area->unique.rsa.buffer, 0xa5, TPM_RSA_SIZE);
        if (i == 0)
            area->parameters.rsaDetail.scheme.scheme = TPM2_ALG_NULL;
        else if (i == 1)
            area->parameters.rsaDetail.scheme.details.oaep.hashAlg = TPM2_ALG_SHA1;
        else if (i == 2)
            area->objectAttributes |= TPMA_OBJECT_SIGN_ENCRYPT;
        else if (i == 3)
            area->objectAttributes &= ~TPMA_OBJECT_FIXEDTPM;
        else if (i == 4)
            area->objectAttributes &= ~TPMA_OBJECT_SENSITIVEDATAORIGIN;
        else if (i == 5)
            area->parameters.rsaDetail.exponent = 3;
        else if (i == 6)
            area->parameters.rsaDetail.keyBits = 1024;
        else if (i == 7)
            area->authPolicy.size = 32;
        else
            area->unique.rsa.size = 128;
        b.public_size = 0;
        g_assert_cmpint(Tss2_MU_TPM2B_PUBLIC_Marshal(&public, b.public, sizeof(b.public), &b.public_size), ==,
                        0);
        g_assert_cmpint(
            tpm_keyfile_from_blobs(b.public, b.public_size, b.private, sizeof(b.private), false, NULL, &k),
            ==, -EBADMSG);
    }
}

static void test_private_sizes(void)
{
    Blobs b;
    TpmKeyFile *k = NULL;
    uint8_t large[sizeof(TPM2B_PRIVATE) + 1] = {0xff, 0xff};

    make_blobs(TPM_KEY_SIGN, false, NULL, &b);
    g_assert_cmpint(tpm_keyfile_from_blobs(b.public, b.public_size, b.private, 0, false, NULL, &k), ==,
                    -EBADMSG);
    g_assert_cmpint(tpm_keyfile_from_blobs(b.public, b.public_size, "\0\0", 2, false, NULL, &k), ==,
                    -EBADMSG);
    g_assert_cmpint(
        tpm_keyfile_from_blobs(b.public, b.public_size, b.private, sizeof(b.private) - 1, false, NULL, &k),
        ==, -EBADMSG);
    g_assert_cmpint(tpm_keyfile_from_blobs(b.public, b.public_size, large, sizeof(large), false, NULL, &k),
                    ==, -EBADMSG);
    g_assert_cmpint(tpm_keyfile_from_blobs(b.public, 0, b.private, sizeof(b.private), false, NULL, &k), ==,
                    -EBADMSG);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tpm/keyfile/round-trip", test_round_trip);
    g_test_add_func("/tpm/keyfile/openssl-reads", test_openssl_reads);
    g_test_add_func("/tpm/keyfile/openssl-reads-policy", test_openssl_reads_policy);
    g_test_add_func("/tpm/keyfile/bound", test_bound);
    g_test_add_func("/tpm/keyfile/bound-otherwise", test_bound_otherwise);
    g_test_add_func("/tpm/keyfile/spki", test_spki);
    g_test_add_func("/tpm/keyfile/name", test_name);
    g_test_add_func("/tpm/keyfile/auth", test_auth);
    g_test_add_func("/tpm/keyfile/references", test_references);
    g_test_add_func("/tpm/keyfile/damaged-der", test_damaged_der);
    g_test_add_func("/tpm/keyfile/damaged-pem", test_damaged_pem);
    g_test_add_func("/tpm/keyfile/refused-pem", test_refused_pem);
    g_test_add_func("/tpm/keyfile/other-templates", test_other_templates);
    g_test_add_func("/tpm/keyfile/private-sizes", test_private_sizes);
    return g_test_run();
}
