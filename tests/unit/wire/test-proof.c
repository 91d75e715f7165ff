/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/proof.h"

#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "tests/lib/person.h"

static TestPerson *person;
static const uint8_t pin[PIN_SIZE] = {1, 2, 3}, other_pin[PIN_SIZE] = {1, 2, 4};

static void test_possession(void)
{
    _cleanup_(secret_freep) Secret *secret = NULL, *plain = NULL, *found = NULL, *none = NULL;
    _cleanup_(buf_done) Buf challenge = BUF_MAX(RSA_SIZE_MAX);
    uint8_t answer[SHA256_SIZE], expected[SHA256_SIZE], of_other[SHA256_SIZE];

    g_assert_cmpint(pop_make(person->decrypt, pin, &secret, &challenge), ==, 0);
    g_assert_cmpint(rsa_private_oaep_decrypt(person->decrypt_private, challenge.data, challenge.size, &plain),
                    ==, 0);
    g_assert_cmpint(pop_open(plain, other_pin, &none), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(pop_open(plain, pin, &found), ==, 0);
    g_assert_true(secret_equal(found, secret));
    g_assert_cmpint(pop_answer(found, "a.b.c", 5, answer), ==, 0);
    g_assert_cmpint(pop_answer(secret, "a.b.c", 5, expected), ==, 0);
    g_assert_cmpint(pop_answer(secret, "a.b.d", 5, of_other), ==, 0);
    g_assert_true(bytes_equal(answer, expected, sizeof(answer)));
    g_assert_false(bytes_equal(answer, of_other, sizeof(answer)));
}

/* A hostile relay sends something else to be decrypted, a session key say: nothing is answered. */
static void test_no_oracle(void)
{
    static const char label[] = "hmsg/1 pop";
    uint8_t form[sizeof(label) - 1 + PIN_SIZE + POP_SECRET_SIZE + 1] = {0};
    _cleanup_(secret_freep) Secret *none = NULL;

    memcpy(form, label, sizeof(label) - 1);
    memcpy(form + sizeof(label) - 1, pin, PIN_SIZE);
    for (size_t n = 1; n <= sizeof(form); n++) {
        _cleanup_(secret_freep) Secret *plain = NULL;

        g_assert_cmpint(secret_new_copy(form, n, &plain), ==, 0);
        g_assert_cmpint(pop_open(plain, pin, &none), ==,
                        n == sizeof(form) - 1 ? 0 : HMSG_ERROR_AUTHENTICATION_FAILED);
        none = secret_free(none);
    }
    form[3] ^= 1;
    _cleanup_(secret_freep) Secret *plain = NULL;
    g_assert_cmpint(secret_new_copy(form, sizeof(form) - 1, &plain), ==, 0);
    g_assert_cmpint(pop_open(plain, pin, &none), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
}

static void test_acknowledgement(void)
{
    static const uint8_t nonce[NONCE_SIZE] = {7}, other_nonce[NONCE_SIZE] = {8}, ids[2 * ID_SIZE] = {9};
    _cleanup_(secret_freep) Secret *a = NULL, *b = NULL, *ka = NULL, *kb = NULL, *kc = NULL;
    uint8_t pa[X25519_SIZE], pb[X25519_SIZE], m1[SHA256_SIZE], m2[SHA256_SIZE];
    const uint8_t *skid = rsa_key_thumbprint(person->sign);

    g_assert_cmpint(x25519_generate(&a, pa), ==, 0);
    g_assert_cmpint(x25519_generate(&b, pb), ==, 0);
    g_assert_cmpint(ack_key_derive(a, pb, nonce, pin, skid, &ka), ==, 0);
    g_assert_cmpint(ack_key_derive(b, pa, nonce, pin, skid, &kb), ==, 0);
    g_assert_true(secret_equal(ka, kb));
    g_assert_cmpint(ack_key_derive(a, pb, other_nonce, pin, skid, &kc), ==, 0);
    g_assert_false(secret_equal(ka, kc));
    g_assert_cmpint(ack_mac(ka, pin, ids, 2, m1), ==, 0);
    g_assert_cmpint(ack_mac(kb, pin, ids, 2, m2), ==, 0);
    g_assert_true(bytes_equal(m1, m2, sizeof(m1)));
    g_assert_cmpint(ack_mac(kb, pin, ids, 1, m2), ==, 0);
    g_assert_false(bytes_equal(m1, m2, sizeof(m1)));
    g_assert_cmpint(ack_mac(kb, other_pin, ids, 2, m2), ==, 0);
    g_assert_false(bytes_equal(m1, m2, sizeof(m1)));
    g_assert_cmpint(ack_mac(kb, pin, ids, ACKNOWLEDGE_IDS_MAX + 1, m2), ==, HMSG_ERROR_TOO_LARGE);
}

static void test_message_id(void)
{
    static const uint8_t kid[KID_SIZE] = {1}, other[KID_SIZE] = {2};
    _cleanup_(sha256_freep) Sha256 *h = NULL;
    uint8_t a[ID_SIZE], b[ID_SIZE];

    g_assert_cmpint(message_id(kid, "body", 4, a), ==, 0);
    g_assert_cmpint(sha256_new(&h), ==, 0);
    g_assert_cmpint(sha256_update(h, kid, sizeof(kid)), ==, 0);
    g_assert_cmpint(sha256_update(h, "body", 4), ==, 0);
    g_assert_cmpint(sha256_final(h, b), ==, 0);
    g_assert_true(bytes_equal(a, b, sizeof(a)));
    g_assert_cmpint(message_id(other, "body", 4, b), ==, 0);
    g_assert_false(bytes_equal(a, b, sizeof(a)));
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    person = test_person_new();
    g_test_add_func("/proof/possession", test_possession);
    g_test_add_func("/proof/no-oracle", test_no_oracle);
    g_test_add_func("/proof/acknowledgement", test_acknowledgement);
    g_test_add_func("/proof/message-id", test_message_id);
    status = g_test_run();
    test_person_free(person);
    return status;
}
