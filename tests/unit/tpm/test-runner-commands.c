/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each operation costs in TPM commands: a slow TPM takes 100 ms or more for one. The table is printed,
 * and a number that changes has to be changed here. */
#include <string.h>

#include "libhmsg/tpm/runner.h"
#include "tests/unit/tpm/util.h"

#define AUTH ((const uint8_t *)"the authorization value of both ")

typedef struct Scene {
    TestSwtpm *tpm;
    TpmRunner *runner;
    Secret *auth; /* NULL: keys without PIN */
    Answer keys;
    uint8_t ciphertext[TPM_RSA_SIZE];
} Scene;

static void create(Scene *s)
{
    g_assert_cmpint(do_create_with(s->runner, s->auth, &s->keys), ==, 0);
    oaep_encrypt(s->keys.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, s->ciphertext);
}

/* As when the agent starts with keys that it has. */
static void start(Scene *s)
{
    g_auto(Answer) a = {0};

    tpm_runner_free(s->runner);
    s->runner = runner_new(test_swtpm_tcti(s->tpm));
    tpm_runner_pin(s->runner, s->keys.srk_name);
    g_assert_cmpint(do_probe(s->runner, &a), ==, 0);
}

static void decrypt(Scene *s)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(do_decrypt_with(s->runner, s->keys.decrypt_key, s->auth, s->ciphertext, TPM_RSA_SIZE,
                                    PLAINTEXT_SIZE, &a),
                    ==, 0);
    g_assert_cmpmem(secret_bytes(a.secret), secret_size(a.secret), PLAINTEXT, PLAINTEXT_SIZE);
}

static void sign(Scene *s)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(do_sign_with(s->runner, s->keys.sign_key, s->auth, DIGEST, &a), ==, 0);
    g_assert_true(pss_verify(s->keys.sign_key, DIGEST, a.data, a.data_size));
}

/* The counters before a PIN is tried, then both keys. */
static void unlock(Scene *s)
{
    g_auto(Answer) a = {0};

    if (s->auth)
        g_assert_cmpint(do_probe(s->runner, &a), ==, 0);
    decrypt(s);
    sign(s);
}

static void random_bytes(Scene *s)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(do_random(s->runner, 32, &a), ==, 0);
}

static void change_auth(Scene *s)
{
    g_auto(Answer) a = {0};

    if (!s->auth)
        return;
    g_assert_cmpint(
        tpm_runner_change_auth(s->runner, s->keys.decrypt_key, s->auth, s->auth, answer_note, &a, NULL), ==,
        0);
    answer_await(s->runner, &a);
    g_assert_cmpint(a.r, ==, 0);
}

static void lock(Scene *s)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(tpm_runner_forget(s->runner), ==, 0);
    /* what comes after it in the queue begins a new connection */
    g_assert_cmpint(do_probe(s->runner, &a), ==, 0);
}

static const struct {
    const char *operation;
    void (*run)(Scene *s);
    unsigned without, with; /* a PIN */
} operations[] = {
    {"create", create, 5, 5},
    {"start", start, 4, 4},
    {"first decrypt", decrypt, 3, 4}, /* with: the first use since the TPM started is answered RETRY */
    {"decrypt with the loaded key", decrypt, 1, 1},
    {"sign after decrypt", sign, 3, 3},
    {"sign with the loaded key", sign, 1, 1},
    {"unlock after sign", unlock, 6, 8},
    {"random", random_bytes, 1, 1},
    {"change the PIN of one key", change_auth, 0, 3},
    {"lock and probe", lock, 7, 7},
};

static void count(Secret *auth, unsigned ret[static G_N_ELEMENTS(operations)])
{
    Scene s = {.tpm = test_swtpm_new(NULL), .auth = auth};

    s.runner = runner_new(test_swtpm_tcti(s.tpm));
    for (size_t i = 0; i < G_N_ELEMENTS(operations); i++) {
        uint64_t before = operations[i].run == start ? 0 : tpm_runner_count(s.runner, 0);

        operations[i].run(&s);
        ret[i] = (unsigned)(tpm_runner_count(s.runner, 0) - before);
    }
    answer_clear(&s.keys);
    tpm_runner_free(s.runner);
    test_swtpm_free(s.tpm);
}

static void test_commands(void)
{
    unsigned without[G_N_ELEMENTS(operations)], with[G_N_ELEMENTS(operations)];
    _cleanup_(secret_freep) Secret *auth = NULL;

    g_assert_cmpint(secret_new_copy(AUTH, TPM_AUTH_SIZE, &auth), ==, 0);
    count(NULL, without);
    count(auth, with);
    g_print("# %-28s %12s %12s\n", "TPM commands", "without PIN", "with PIN");
    for (size_t i = 0; i < G_N_ELEMENTS(operations); i++)
        g_print("# %-28s %12u %12u\n", operations[i].operation, without[i], with[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(operations); i++) {
        g_assert_cmpuint(without[i], ==, operations[i].without);
        g_assert_cmpuint(with[i], ==, operations[i].with);
    }
}

static void add(void)
{
    g_test_add_func("/tpm/runner-commands/table", test_commands);
}

int main(int argc, char *argv[])
{
    return tpm_test_main(argc, argv, add);
}
