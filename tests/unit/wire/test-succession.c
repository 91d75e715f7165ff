/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How one identity key of a relay leads to the next. */

#include <glib.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/statement.h"
#include "tests/lib/person.h"

#define NOW 1800000000
#define KEYS 4

static EVP_PKEY *keys[KEYS];
static RsaKey *publics[KEYS];
static uint8_t pins[KEYS][PIN_SIZE];

static char *step(unsigned from, unsigned to, int64_t iat, unsigned signer)
{
    Succession s = {.identity = publics[from], .iat = iat};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    memcpy(s.next_pin, pins[to], PIN_SIZE);
    g_assert_cmpint(succession_prepare(&s, &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, keys[signer], &jws), ==, 0);
    return g_strdup(buf_text(&jws));
}

static void add(json_t *array, unsigned from, unsigned to)
{
    g_autofree char *text = step(from, to, NOW, from);

    g_assert_cmpint(json_array_append_new(array, json_string(text)), ==, 0);
}

static void test_one(void)
{
    g_autofree char *text = step(0, 1, NOW, 0), *forged = step(0, 1, NOW, 2),
                    *late = step(0, 1, NOW + 301, 0);
    Succession s = {0};

    g_assert_cmpint(succession_parse(text, strlen(text), pins[0], NOW, &s), ==, 0);
    g_assert_cmpmem(s.next_pin, PIN_SIZE, pins[1], PIN_SIZE);
    g_assert_cmpmem(s.pin, PIN_SIZE, pins[0], PIN_SIZE);
    g_assert_cmpint(s.iat, ==, NOW);
    succession_done(&s);
    g_assert_cmpint(succession_parse(text, strlen(text), pins[1], NOW, &s), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(succession_parse(forged, strlen(forged), pins[0], NOW, &s), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(succession_parse(late, strlen(late), pins[0], NOW, &s), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    /* it has a type of its own */
    RelayStatement other = {0};
    g_assert_cmpint(relay_statement_parse(text, strlen(text), pins[0], NOW, &other), !=, 0);
    g_assert_null(s.identity);
}

static void test_follow(void)
{
    json_t *array = json_array();

    g_assert_cmpint(succession_follow(array, pins[0], NULL, pins[1], NOW), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    add(array, 1, 2); /* in any order */
    add(array, 0, 1);
    g_assert_cmpint(succession_follow(array, pins[0], NULL, pins[1], NOW), ==, 0);
    g_assert_cmpint(succession_follow(array, pins[0], NULL, pins[2], NOW), ==, 0);
    g_assert_cmpint(succession_follow(array, pins[1], NULL, pins[2], NOW), ==, 0);
    /* never back, nor to where none leads */
    g_assert_cmpint(succession_follow(array, pins[2], NULL, pins[0], NOW), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(succession_follow(array, pins[0], NULL, pins[3], NOW), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    /* what was announced must come first */
    g_assert_cmpint(succession_follow(array, pins[0], pins[1], pins[2], NOW), ==, 0);
    g_assert_cmpint(succession_follow(array, pins[0], pins[3], pins[2], NOW), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    /* a circle ends */
    add(array, 2, 0);
    g_assert_cmpint(succession_follow(array, pins[0], NULL, pins[3], NOW), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    /* what is no statement hides none */
    g_assert_cmpint(json_array_insert_new(array, 0, json_true()), ==, 0);
    g_assert_cmpint(succession_follow(array, pins[0], NULL, pins[1], NOW), ==, 0);
    while (json_array_size(array) <= SUCCESSIONS_MAX)
        add(array, 3, 3);
    g_assert_cmpint(succession_follow(array, pins[0], NULL, pins[1], NOW), ==, HMSG_ERROR_BAD_PACKAGE);
    json_decref(array);
}

/* A forged one among them leads nowhere, and hides none. */
static void test_forged(void)
{
    json_t *array = json_array();
    g_autofree char *forged = step(0, 3, NOW, 3);

    g_assert_cmpint(json_array_append_new(array, json_string(forged)), ==, 0);
    g_assert_cmpint(succession_follow(array, pins[0], NULL, pins[3], NOW), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    add(array, 0, 1);
    g_assert_cmpint(succession_follow(array, pins[0], NULL, pins[1], NOW), ==, 0);
    g_assert_cmpint(succession_follow(array, pins[0], NULL, pins[3], NOW), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    json_decref(array);
}

/* What a relay says of its ticks comes out of its statement again; other forms are refused. */
static void test_ticks(void)
{
    static const char *const bad[] = {
        "{\"tick\":1}",
        "{\"ticks\":\"AAAAAAAAAAA\"}",
        "{\"tick\":0,\"ticks\":\"AAAAAAAAAAA\"}",
        "{\"tick\":1,\"ticks\":\"\"}",
        "{\"tick\":1,\"ticks\":\"AAAA\"}",
        "{\"tick\":\"1\",\"ticks\":\"AAAAAAAAAAA\"}",
    };
    RelayStatement s = {
        .identity = publics[0], .nbf = NOW, .exp = NOW + 60, .ticks = {.number = 77, .n = TICKS_MAX}};
    _cleanup_(relay_statement_done) RelayStatement got = {0};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);
    Ticks t;

    memset(s.ticks.ids, 7, sizeof(s.ticks.ids));
    g_assert_cmpint(ec_key_generate(&s.online), ==, 0);
    g_assert_cmpint(relay_statement_prepare(&s, &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, keys[0], &jws), ==, 0);
    g_assert_cmpint(relay_statement_parse(buf_text(&jws), jws.size, pins[0], NOW, &got), ==, 0);
    g_assert_cmpuint(got.ticks.number, ==, 77);
    g_assert_cmpmem(got.ticks.ids, got.ticks.n * TICK_SIZE, s.ticks.ids, sizeof(s.ticks.ids));
    (void)ec_key_free(s.online);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        _cleanup_(json_decrefp) json_t *j = NULL;

        g_assert_cmpint(json_parse_object(bad[i], strlen(bad[i]), &j), ==, 0);
        g_assert_cmpint(ticks_get(j, &t), ==, HMSG_ERROR_BAD_PACKAGE);
    }
}

int main(int argc, char **argv)
{
    int r;

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < KEYS; i++) {
        keys[i] = test_rsa_new(2048);
        g_assert_cmpint(rsa_key_from_evp(keys[i], &publics[i]), ==, 0);
        g_assert_cmpint(rsa_key_pin(publics[i], pins[i]), ==, 0);
    }
    g_test_add_func("/succession/one", test_one);
    g_test_add_func("/succession/follow", test_follow);
    g_test_add_func("/succession/forged", test_forged);
    g_test_add_func("/succession/ticks", test_ticks);
    r = g_test_run();
    for (size_t i = 0; i < KEYS; i++) {
        (void)rsa_key_free(publics[i]);
        EVP_PKEY_free(keys[i]);
    }
    return r;
}
