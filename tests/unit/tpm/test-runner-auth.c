/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keys with an authorization value: what a PIN becomes. A man in the middle looks on. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/tpm/relay.h"
#include "tests/unit/tpm/util.h"

#define RIGHT ((const uint8_t *)"the right authorization value ..")
#define WRONG ((const uint8_t *)"the wrong authorization value ..")

#define CIPHERTEXT_IN_ANSWER 20u /* head, size of the parameters, size of the plaintext, some bytes */

typedef struct Fixture {
    TestSwtpm *tpm;
    Relay *relay;
    TpmRunner *runner;
    Secret *right, *wrong;
    Answer keys;
    uint8_t ciphertext[TPM_RSA_SIZE];
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->tpm = test_swtpm_new(NULL);
    f->relay = relay_new(f->tpm);
    f->runner = runner_new(relay_tcti(f->relay));
    g_assert_cmpint(secret_new_copy(RIGHT, TPM_AUTH_SIZE, &f->right), ==, 0);
    g_assert_cmpint(secret_new_copy(WRONG, TPM_AUTH_SIZE, &f->wrong), ==, 0);
    g_assert_cmpint(do_create_with(f->runner, f->right, &f->keys), ==, 0);
    oaep_encrypt(f->keys.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, f->ciphertext);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    answer_clear(&f->keys);
    secret_free(f->right);
    secret_free(f->wrong);
    tpm_runner_free(f->runner);
    relay_free(f->relay);
    test_swtpm_free(f->tpm);
}

static int decrypt(Fixture *f, const Secret *auth, Answer *a)
{
    return do_decrypt_with(f->runner, f->keys.decrypt_key, auth, f->ciphertext, TPM_RSA_SIZE, PLAINTEXT_SIZE,
                           a);
}

static void assert_works(Fixture *f)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(decrypt(f, f->right, &a), ==, 0);
    g_assert_cmpmem(secret_bytes(a.secret), secret_size(a.secret), PLAINTEXT, PLAINTEXT_SIZE);
    g_assert_cmpint(do_sign_with(f->runner, f->keys.sign_key, f->right, DIGEST, &a), ==, 0);
    g_assert_true(pss_verify(f->keys.sign_key, DIGEST, a.data, a.data_size));
}

static uint32_t failures(Fixture *f)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    return a.facts.lockout_counter;
}

static void test_right(Fixture *f, gconstpointer data)
{
    g_assert_true(tpm_keyfile_needs_auth(f->keys.decrypt_key));
    g_assert_true(tpm_keyfile_needs_auth(f->keys.sign_key));
    assert_works(f);
    assert_works(f);
    g_assert_cmpuint(failures(f), ==, 0);
    test_swtpm_reset(f->tpm); /* counts as one: the power went after a use */
    assert_works(f);
}

/* One wrong value is one failure for the TPM to count, and the right one works after it. */
static void test_wrong(Fixture *f, gconstpointer data)
{
    const Secret *const wrong[] = {f->wrong, NULL};

    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_auto(Answer) a = {0};

        g_assert_cmpint(decrypt(f, wrong[i], &a), ==, HMSG_ERROR_LOCKED);
        g_assert_cmpint(a.problem.reason, ==, TPM_REASON_WRONG_AUTH);
        g_assert_null(a.secret);
        g_assert_cmpuint(failures(f), ==, i + 1);
    }
    assert_works(f);
    g_auto(Answer) a = {0};
    g_assert_cmpint(do_sign_with(f->runner, f->keys.sign_key, f->wrong, DIGEST, &a), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpuint(a.data_size, ==, 0);
}

/* The TPM may have counted it when its answer is lost or not to be believed: once is enough. */
static void test_lost_answer(Fixture *f, gconstpointer data)
{
    const Secret *const auth[] = {f->wrong, f->right};
    g_auto(Answer) a = {0};

    assert_works(f); /* the first use since it started is answered RETRY: the TPM notes that there was one */
    uint64_t before = tpm_runner_count(f->runner, CC_RSA_DECRYPT);
    for (size_t i = 0; i < G_N_ELEMENTS(auth); i++) {
        relay_cut(f->relay, CC_RSA_DECRYPT);
        g_assert_cmpint(decrypt(f, auth[i], &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
        g_assert_cmpint(a.problem.reason, ==, TPM_REASON_NO_ANSWER);
        g_assert_cmpuint(tpm_runner_count(f->runner, CC_RSA_DECRYPT), ==, before + i + 1);
        g_assert_cmpuint(failures(f), ==, 1);
    }
    relay_cut(f->relay, CC_SIGN);
    g_assert_cmpint(do_sign_with(f->runner, f->keys.sign_key, f->wrong, DIGEST, &a), ==,
                    HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpuint(failures(f), ==, 2);
    assert_works(f);
    before = tpm_runner_count(f->runner, CC_RSA_DECRYPT);
    relay_tamper(f->relay, CC_RSA_DECRYPT, CIPHERTEXT_IN_ANSWER);
    g_assert_cmpint(decrypt(f, f->right, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_null(a.secret);
    g_assert_cmpuint(tpm_runner_count(f->runner, CC_RSA_DECRYPT), ==, before + 1);
    assert_works(f);
}

/* What never went out cannot have been counted, so a connection that has gone stale is no error. */
static void test_stale_connection(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    f->runner = tpm_runner_free(f->runner);
    f->runner = runner_new(test_swtpm_tcti(f->tpm));
    assert_works(f);
    g_assert_cmpint(decrypt(f, f->right, &a), ==, 0); /* the key is in the TPM, its use comes next */
    test_swtpm_stop(f->tpm);
    test_swtpm_start(f->tpm);
    assert_works(f);
}

static void test_lockout(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    int r = HMSG_ERROR_LOCKED;

    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    g_assert_cmpuint(a.facts.lockout_max, >, 0);
    for (unsigned i = a.facts.lockout_max; i > 0; i--) {
        g_assert_cmpint(r, ==, HMSG_ERROR_LOCKED);
        r = decrypt(f, f->wrong, &a);
    }
    if (r == HMSG_ERROR_LOCKED)
        r = decrypt(f, f->right, &a); /* even the right one is refused now */
    g_assert_cmpint(r, ==, HMSG_ERROR_TPM_LOCKED_OUT);
    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    g_assert_true(a.facts.in_lockout);
}

/* A key without a value does not take part in it. */
static void test_unguarded(Fixture *f, gconstpointer data)
{
    g_auto(Answer) keys = {0};
    g_auto(Answer) a = {0};

    g_assert_cmpint(do_create(f->runner, &keys), ==, 0);
    g_assert_false(tpm_keyfile_needs_auth(keys.sign_key));
    g_assert_cmpint(do_sign_with(f->runner, keys.sign_key, f->right, DIGEST, &a), ==,
                    HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpuint(failures(f), ==, 0);
    assert_signs(f->runner, keys.sign_key);
    assert_works(f);
}

/* Neither in the making nor in any use, right or wrong. */
static void test_sniffer(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    assert_works(f);
    (void)decrypt(f, f->wrong, &a);
    for (size_t i = 0; i + 8 <= TPM_AUTH_SIZE; i++) {
        g_assert_false(relay_saw(f->relay, RIGHT + i, 8));
        g_assert_false(relay_saw(f->relay, WRONG + i, 8));
    }
    for (size_t i = 0; i + 8 <= PLAINTEXT_SIZE; i++)
        g_assert_false(relay_saw(f->relay, PLAINTEXT + i, 8));
}

#define MASK 0x5a /* so that the test itself does not hold what it looks for */

static bool holds(const uint8_t *bytes, size_t n, const uint8_t masked[static TPM_AUTH_SIZE])
{
    for (size_t at = 0; at + TPM_AUTH_SIZE <= n; at++) {
        size_t i = 0;

        while (i < TPM_AUTH_SIZE / 2 && (bytes[at + i] ^ MASK) == masked[i])
            i++;
        if (i == TPM_AUTH_SIZE / 2)
            return true;
    }
    return false;
}

/* In a region of our own memory that can be written to. */
static bool is_in_memory(const uint8_t masked[static TPM_AUTH_SIZE])
{
    static uint8_t bytes[1024 * 1024];
    FILE *maps = fopen("/proc/self/maps", "re");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    unsigned long begin, end;
    char line[512];
    bool found = false;

    g_assert_nonnull(maps);
    g_assert_cmpint(memory, >=, 0);
    while (fgets(line, sizeof(line), maps))
        if (sscanf(line, "%lx-%lx rw", &begin, &end) == 2 && strstr(line, " rw"))
            for (unsigned long at = begin; at < end; at += sizeof(bytes) - TPM_AUTH_SIZE) {
                ssize_t n = pread(memory, bytes, MIN(end - at, sizeof(bytes)), (off_t)at);

                found = found || (n > 0 && holds(bytes, (size_t)n, masked));
            }
    close(memory);
    (void)fclose(maps);
    return found;
}

static void random_value(Secret **ret, uint8_t masked[static TPM_AUTH_SIZE])
{
    g_assert_cmpint(secret_new_random(TPM_AUTH_SIZE, ret), ==, 0);
    for (size_t i = 0; i < TPM_AUTH_SIZE; i++)
        masked[i] = secret_bytes(*ret)[i] ^ MASK;
}

/* The caller has erased a value: it is in no memory of ours. */
G_GNUC_UNUSED static void test_erased(Fixture *f, gconstpointer data)
{
    Secret *auth = NULL, *next = NULL;
    uint8_t masked[TPM_AUTH_SIZE], masked_next[TPM_AUTH_SIZE];
    g_auto(Answer) keys = {0};
    g_auto(Answer) changed = {0};
    g_auto(Answer) a = {0};

    random_value(&auth, masked);
    random_value(&next, masked_next);
    g_assert_true(is_in_memory(masked));
    g_assert_cmpint(do_create_with(f->runner, auth, &keys), ==, 0);
    g_assert_cmpint(do_decrypt_with(f->runner, keys.decrypt_key, auth, f->ciphertext, TPM_RSA_SIZE, 0, &a),
                    ==, HMSG_ERROR_AUTHENTICATION_FAILED); /* it is for another key */
    g_assert_cmpint(do_sign_with(f->runner, keys.sign_key, auth, DIGEST, &a), ==, 0);
    g_assert_cmpint(tpm_runner_change_auth(f->runner, keys.sign_key, auth, next, answer_note, &changed, NULL),
                    ==, 0);
    auth = secret_free(auth);
    next = secret_free(next);
    answer_await(f->runner, &changed);
    g_assert_cmpint(changed.r, ==, 0);
    g_assert_cmpint(tpm_runner_forget(f->runner), ==, 0);
    struct pollfd answered = {.fd = tpm_runner_fd(f->runner), .events = POLLIN};
    while (tpm_runner_next_deadline(f->runner) != UINT64_MAX) {
        g_assert_cmpint(poll(&answered, 1, -1), ==, 1);
        g_assert_cmpint(tpm_runner_dispatch(f->runner), ==, 0);
    }
    g_assert_false(is_in_memory(masked));
    g_assert_false(is_in_memory(masked_next));
    assert_works(f);
}

/* Nothing is begun for it. */
static void test_nothing_to_forget(Fixture *f, gconstpointer data)
{
    _cleanup_(tpm_runner_freep) TpmRunner *r = runner_new(relay_tcti(f->relay));

    g_assert_cmpint(tpm_runner_forget(r), ==, 0);
    g_assert_cmpuint(tpm_runner_count(r, 0), ==, 0);
}

static TpmKeyFile *change(Fixture *f, TpmKeyFile *key, const Secret *old, const Secret *new)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(tpm_runner_change_auth(f->runner, key, old, new, answer_note, &a, NULL), ==, 0);
    answer_await(f->runner, &a);
    g_assert_cmpstr(a.problem.text, ==, "");
    g_assert_cmpint(a.r, ==, 0);
    g_assert_true((a.sign_key != NULL) != (a.decrypt_key != NULL));
    return tpm_keyfile_ref(a.sign_key ? a.sign_key : a.decrypt_key);
}

/* The same key under another value, and under none; nobody on the way sees any. */
static void test_change(Fixture *f, gconstpointer data)
{
    static const uint8_t other[] = "another authorization value ....";
    _cleanup_(secret_freep) Secret *new = NULL;
    g_auto(Answer) a = {0};

    g_assert_cmpint(secret_new_copy(other, TPM_AUTH_SIZE, &new), ==, 0);
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *changed = change(f, f->keys.sign_key, f->right, new);
    g_assert_cmpmem(tpm_keyfile_name(changed), TPM_NAME_SIZE, tpm_keyfile_name(f->keys.sign_key),
                    TPM_NAME_SIZE);
    g_assert_true(tpm_keyfile_needs_auth(changed));
    /* before the key is loaded anew, the one in the TPM must not be taken for it */
    g_assert_cmpint(do_sign_with(f->runner, changed, new, DIGEST, &a), ==, 0);
    g_assert_true(pss_verify(f->keys.sign_key, DIGEST, a.data, a.data_size));
    g_assert_cmpint(do_sign_with(f->runner, changed, f->right, DIGEST, &a), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(do_sign_with(f->runner, f->keys.sign_key, f->right, DIGEST, &a), ==, 0);
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *bare = change(f, changed, new, NULL);
    g_assert_false(tpm_keyfile_needs_auth(bare));
    assert_signs(f->runner, bare);
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *decrypt = change(f, f->keys.decrypt_key, f->right, new);
    g_assert_cmpint(do_decrypt_with(f->runner, decrypt, new, f->ciphertext, TPM_RSA_SIZE, 0, &a), ==, 0);
    for (size_t i = 0; i + 8 <= TPM_AUTH_SIZE; i++)
        g_assert_false(relay_saw(f->relay, other + i, 8));
}

static void test_change_refused(Fixture *f, gconstpointer data)
{
    g_auto(Answer) keys = {0};
    g_auto(Answer) a = {0};

    g_assert_cmpint(
        tpm_runner_change_auth(f->runner, f->keys.sign_key, f->wrong, f->right, answer_note, &a, NULL), ==,
        0);
    answer_await(f->runner, &a);
    g_assert_cmpint(a.r, ==, HMSG_ERROR_LOCKED);
    g_assert_null(a.sign_key);
    g_assert_cmpint(do_create(f->runner, &keys), ==, 0);
    g_assert_cmpint(tpm_runner_change_auth(f->runner, keys.sign_key, NULL, f->right, answer_note, &a, NULL),
                    ==, -EINVAL);
}

static void test_wrong_size(Fixture *f, gconstpointer data)
{
    _cleanup_(secret_freep) Secret *brief = NULL;
    Answer a = {0};

    g_assert_cmpint(secret_new(TPM_AUTH_SIZE - 1, &brief), ==, 0);
    g_assert_cmpint(tpm_runner_create_keys(f->runner, NULL, brief, answer_note, &a, NULL), ==, -EINVAL);
    g_assert_cmpint(tpm_runner_sign(f->runner, f->keys.sign_key, brief, NULL, DIGEST, answer_note, &a, NULL),
                    ==, -EINVAL);
}

#define ADD(path, test) g_test_add("/tpm/runner-auth/" path, Fixture, NULL, set_up, test, tear_down)

static void add(void)
{
    ADD("right", test_right);
    ADD("wrong", test_wrong);
    ADD("lost-answer", test_lost_answer);
    ADD("stale-connection", test_stale_connection);
    ADD("lockout", test_lockout);
    ADD("unguarded", test_unguarded);
    ADD("sniffer", test_sniffer);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they keep what is freed */
    ADD("erased", test_erased);
#endif
    ADD("nothing-to-forget", test_nothing_to_forget);
    ADD("change", test_change);
    ADD("change-refused", test_change_refused);
    ADD("wrong-size", test_wrong_size);
}

int main(int argc, char *argv[])
{
    return tpm_test_main(argc, argv, add);
}
