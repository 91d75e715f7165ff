/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/csr.h"

#include <glib.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "tests/lib/person.h"

static TestPerson *person;

static void sign(const uint8_t *digest, int salt, uint8_t ret[static RSA_SIZE_MAX], size_t *ret_size)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(person->sign_private, NULL);

    *ret_size = RSA_SIZE_MAX;
    g_assert_cmpint(EVP_PKEY_sign_init(ctx), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, salt), ==, 1);
    g_assert_cmpint(EVP_PKEY_sign(ctx, ret, ret_size, digest, SHA256_SIZE), ==, 1);
    EVP_PKEY_CTX_free(ctx);
}

static void check_request(int salt)
{
    static const char name[] = "alice@relay.example: \xc3\x84";
    _cleanup_(csr_freep) Csr *csr = NULL;
    _cleanup_(buf_done) Buf pem = BUF_MAX(CSR_PEM_MAX);
    _cleanup_(rsa_key_freep) RsaKey *key = NULL;
    uint8_t signature[RSA_SIZE_MAX];
    unsigned char *common = NULL;
    size_t size;

    g_assert_cmpint(csr_new(person->sign, name, &csr), ==, 0);
    sign(csr_digest(csr), salt, signature, &size);
    g_assert_cmpint(csr_finish(csr, signature, size, &pem), ==, 0);
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
    X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    g_assert_nonnull(request);
    EVP_PKEY *pkey = X509_REQ_get0_pubkey(request);
    g_assert_cmpint(X509_REQ_verify(request, pkey), ==, 1);
    g_assert_cmpint(rsa_key_from_evp(pkey, &key), ==, 0);
    g_assert_true(rsa_key_equal(key, person->sign));
    X509_NAME *subject = X509_REQ_get_subject_name(request);
    g_assert_cmpint(X509_NAME_entry_count(subject), ==, 1);
    g_assert_cmpint(ASN1_STRING_to_UTF8(&common, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, 0))),
                    >, 0);
    g_assert_cmpstr((char *)common, ==, name);
    OPENSSL_free(common);
    X509_REQ_free(request);
    BIO_free(bio);
}

static void test_salts(void)
{
    check_request(32);
    check_request(222);
}

static void test_forged(void)
{
    _cleanup_(csr_freep) Csr *csr = NULL;
    _cleanup_(buf_done) Buf pem = BUF_MAX(CSR_PEM_MAX);
    uint8_t signature[RSA_SIZE_MAX];
    size_t size;

    g_assert_cmpint(csr_new(person->sign, "alice", &csr), ==, 0);
    sign(csr_digest(csr), 20, signature, &size); /* a salt that hmsg allows nowhere */
    g_assert_cmpint(csr_finish(csr, signature, size, &pem), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    sign(csr_digest(csr), 32, signature, &size);
    signature[size - 1] ^= 1;
    g_assert_cmpint(csr_finish(csr, signature, size, &pem), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(csr_finish(csr, signature, size - 1, &pem), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(pem.size, ==, 0);
}

static void refuse_name(const char *name)
{
    Csr *csr = NULL;

    g_assert_cmpint(csr_new(person->sign, name, &csr), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_null(csr);
}

static void test_names(void)
{
    g_autofree char *longest = g_strnfill(CSR_NAME_MAX, 'a');
    g_autofree char *longer = g_strnfill(CSR_NAME_MAX + 1, 'a');
    _cleanup_(csr_freep) Csr *csr = NULL;

    refuse_name("");
    refuse_name(longer);
    refuse_name("two\nlines");
    refuse_name("half \xc3");
    g_assert_cmpint(csr_new(person->sign, longest, &csr), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    person = test_person_new();
    g_test_add_func("/csr/salts", test_salts);
    g_test_add_func("/csr/forged", test_forged);
    g_test_add_func("/csr/names", test_names);
    int r = g_test_run();
    test_person_free(person);
    return r;
}
