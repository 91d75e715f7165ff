/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <string.h>

#include "server/client.h"

static void test_nonces(void)
{
    uint8_t nonce[NONCE_SIZE], other[NONCE_SIZE];
    ClientNonce n = {0};
    Client c = {0};

    g_assert_cmpint(client_nonce_new(&c, NULL, NULL, nonce), ==, 0);
    g_assert_cmpint(client_nonce_new(&c, NULL, NULL, other), ==, 0);
    g_assert_cmpint(memcmp(nonce, other, NONCE_SIZE), !=, 0);
    g_assert_true(client_nonce_take(&c, nonce, &n));
    g_assert_null(n.pop);
    client_nonce_done(&n);
    g_assert_false(client_nonce_take(&c, nonce, &n)); /* once */
    memset(nonce, 0, sizeof(nonce));
    g_assert_false(client_nonce_take(&c, nonce, &n));
    g_assert_true(client_nonce_take(&c, other, &n));
    client_nonce_done(&n);
    client_done(&c);
}

static void test_too_many(void)
{
    uint8_t nonces[CLIENT_NONCES_MAX + 2][NONCE_SIZE];
    ClientNonce n = {0};
    Client c = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(nonces); i++)
        g_assert_cmpint(client_nonce_new(&c, NULL, NULL, nonces[i]), ==, 0);
    g_assert_false(client_nonce_take(&c, nonces[0], &n));
    g_assert_false(client_nonce_take(&c, nonces[1], &n));
    g_assert_true(client_nonce_take(&c, nonces[5], &n)); /* out of order */
    client_nonce_done(&n);
    g_assert_true(client_nonce_take(&c, nonces[2], &n));
    client_nonce_done(&n);
    g_assert_true(client_nonce_take(&c, nonces[CLIENT_NONCES_MAX + 1], &n));
    client_nonce_done(&n);
    client_done(&c);
}

static void test_expiry(void)
{
    uint8_t nonce[NONCE_SIZE];
    ClientNonce n = {0};
    Client c = {0};

    g_assert_cmpint(client_nonce_new(&c, NULL, NULL, nonce), ==, 0);
    c.nonces[0].expires = 0;
    g_assert_false(client_nonce_take(&c, nonce, &n));
    g_assert_cmpuint(c.n_nonces, ==, 0);
    client_done(&c);
}

static void test_challenge(void)
{
    uint8_t kid[KID_SIZE], nonce[NONCE_SIZE];
    ClientNonce n = {0};
    Secret *pop = NULL;
    Client c = {0};

    memset(kid, 7, sizeof(kid));
    g_assert_cmpint(secret_new_random(POP_SECRET_SIZE, &pop), ==, 0);
    g_assert_cmpint(client_nonce_new(&c, pop, kid, nonce), ==, 0);
    g_assert_true(client_nonce_take(&c, nonce, &n));
    g_assert_true(n.pop == pop);
    g_assert_cmpmem(n.kid, KID_SIZE, kid, KID_SIZE);
    client_nonce_done(&n);
    g_assert_null(n.pop);
    g_assert_null(c.nonces);

    g_assert_cmpint(secret_new_random(POP_SECRET_SIZE, &pop), ==, 0);
    g_assert_cmpint(client_nonce_new(&c, pop, kid, nonce), ==, 0);
    client_done(&c); /* frees the secret */
}

/* Locked memory is scarce: whoever asks for challenges over and over holds one of them. */
static void test_one_challenge(void)
{
    uint8_t kid[KID_SIZE] = {7}, plain[NONCE_SIZE], nonces[3][NONCE_SIZE];
    ClientNonce n = {0};
    Client c = {0};

    g_assert_cmpint(client_nonce_new(&c, NULL, NULL, plain), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(nonces); i++) {
        Secret *pop = NULL;

        g_assert_cmpint(secret_new_random(POP_SECRET_SIZE, &pop), ==, 0);
        g_assert_cmpint(client_nonce_new(&c, pop, kid, nonces[i]), ==, 0);
    }
    g_assert_cmpuint(c.n_nonces, ==, 2);
    g_assert_false(client_nonce_take(&c, nonces[1], &n));
    g_assert_true(client_nonce_take(&c, nonces[2], &n));
    g_assert_nonnull(n.pop);
    client_nonce_done(&n);
    g_assert_true(client_nonce_take(&c, plain, &n));
    client_nonce_done(&n);
    client_done(&c);
}

static void test_login(void)
{
    uint8_t skid[KID_SIZE], kid[KID_SIZE];
    Secret *first = NULL, *second = NULL;
    Client c = {0};

    memset(skid, 1, sizeof(skid));
    memset(kid, 2, sizeof(kid));
    g_assert_cmpint(secret_new_random(ACK_KEY_SIZE, &first), ==, 0);
    g_assert_cmpint(secret_new_random(ACK_KEY_SIZE, &second), ==, 0);
    client_login(&c, skid, kid, false, first);
    g_assert_true(c.logged_in);
    client_login(&c, skid, kid, true, second); /* frees the first */
    g_assert_true(c.guest);
    g_assert_true(c.ack_key == second);
    g_assert_cmpmem(c.skid, KID_SIZE, skid, KID_SIZE);
    client_logout(&c);
    g_assert_false(c.logged_in);
    g_assert_null(c.ack_key);
    client_done(&c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/client/nonces", test_nonces);
    g_test_add_func("/server/client/too-many", test_too_many);
    g_test_add_func("/server/client/expiry", test_expiry);
    g_test_add_func("/server/client/challenge", test_challenge);
    g_test_add_func("/server/client/one-challenge", test_one_challenge);
    g_test_add_func("/server/client/login", test_login);
    return g_test_run();
}
