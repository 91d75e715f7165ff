/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/tpm/runner.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/process.h"
#include "tests/unit/tpm/util.h"

typedef struct Fixture {
    TestSwtpm *tpm;
    TpmRunner *runner;
    Answer keys;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->tpm = test_swtpm_new(NULL);
    f->runner = runner_new(test_swtpm_tcti(f->tpm));
    g_assert_cmpint(do_create(f->runner, &f->keys), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    answer_clear(&f->keys);
    tpm_runner_free(f->runner);
    test_swtpm_free(f->tpm);
}

static void test_keys(Fixture *f, gconstpointer data)
{
    g_assert_true(f->keys.has_srk_name);
    g_assert_cmpint(f->keys.problem.reason, ==, TPM_REASON_NONE);
    g_assert_cmpint(tpm_keyfile_use(f->keys.decrypt_key), ==, TPM_KEY_DECRYPT);
    g_assert_cmpint(tpm_keyfile_use(f->keys.sign_key), ==, TPM_KEY_SIGN);
    assert_decrypts(f->runner, f->keys.decrypt_key);
    assert_signs(f->runner, f->keys.sign_key);
    assert_decrypts(f->runner, f->keys.decrypt_key);
}

/* Key files from disk, in a runner that did not make them. */
static void test_other_runner(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *key = NULL;

    f->runner = tpm_runner_free(f->runner);
    g_assert_cmpint(tpm_keyfile_to_pem(f->keys.decrypt_key, &pem), ==, 0);
    g_assert_cmpint(tpm_keyfile_from_pem(buf_text(&pem), pem.size, &key), ==, 0);
    f->runner = runner_new(test_swtpm_tcti(f->tpm));
    assert_decrypts(f->runner, key);
}

static void run_tool(Fixture *f, const char *const argv[])
{
    g_autofree char *tcti = g_strdup_printf("TPM2TOOLS_TCTI=%s", test_swtpm_tcti(f->tpm));
    const char *const environment[] = {tcti, NULL};
    g_autofree char *err = NULL;
    if (test_run(argv, environment, NULL, NULL, &err) != 0)
        g_error("%s: %s", argv[0], err);
}

static void write_file(const char *path, const void *data, size_t n)
{
    g_autoptr(GError) error = NULL;
    if (!g_file_set_contents(path, data, (gssize)n, &error))
        g_error("%s", error->message);
}

/* tpm2-tools loads our key under a storage key of its own making, and decrypts. */
static void test_tools(Fixture *f, gconstpointer data)
{
    g_autofree char *tool = g_find_program_in_path("tpm2_rsadecrypt");
    if (!tool) {
        g_test_skip("tpm2-tools are not installed");
        return;
    }
    char *folder = test_folder_new();
    g_autofree char *parent = g_build_filename(folder, "parent", NULL),
                    *key = g_build_filename(folder, "key", NULL),
                    *public = g_build_filename(folder, "public", NULL),
                    *private = g_build_filename(folder, "private", NULL),
                    *in = g_build_filename(folder, "in", NULL), *out = g_build_filename(folder, "out", NULL);
    g_autofree char *plaintext = NULL;
    uint8_t ciphertext[TPM_RSA_SIZE];
    size_t n;

    f->runner = tpm_runner_free(f->runner);
    const uint8_t *blob = tpm_keyfile_public(f->keys.decrypt_key, &n);
    write_file(public, blob, n);
    blob = tpm_keyfile_private(f->keys.decrypt_key, &n);
    write_file(private, blob, n);
    oaep_encrypt(f->keys.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, ciphertext);
    write_file(in, ciphertext, sizeof(ciphertext));
    const char *attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
    run_tool(f, (const char *const[]){"tpm2_createprimary", "-C", "o", "-G", "ecc", "-a", attributes, "-c",
                                      parent, NULL});
    run_tool(f, (const char *const[]){"tpm2_flushcontext", "-t", NULL});
    run_tool(f,
             (const char *const[]){"tpm2_load", "-C", parent, "-u", public, "-r", private, "-c", key, NULL});
    run_tool(f, (const char *const[]){"tpm2_flushcontext", "-t", NULL});
    run_tool(f, (const char *const[]){"tpm2_rsadecrypt", "-s", "oaep", "-c", key, "-o", out, in, NULL});
    g_assert_true(g_file_get_contents(out, &plaintext, &n, NULL));
    g_assert_cmpmem(plaintext, n, PLAINTEXT, PLAINTEXT_SIZE);
    test_folder_remove(folder);
}

static void test_command_count(Fixture *f, gconstpointer data)
{
    TpmRunner *r = f->runner;

    g_assert_cmpuint(tpm_runner_count(r, CC_CREATE), ==, 2);
    g_assert_cmpuint(tpm_runner_count(r, CC_CREATE_PRIMARY), ==, 1);
    g_assert_cmpuint(tpm_runner_count(r, CC_START_SESSION), ==, 1);
    uint64_t before = tpm_runner_count(r, 0);
    assert_decrypts(r, f->keys.decrypt_key);
    g_assert_cmpuint(tpm_runner_count(r, 0), ==, before + 2);
    g_assert_cmpuint(tpm_runner_count(r, CC_LOAD), ==, 1);
    before = tpm_runner_count(r, 0);
    assert_decrypts(r, f->keys.decrypt_key);
    g_assert_cmpuint(tpm_runner_count(r, 0), ==, before + 1);
    g_assert_cmpuint(tpm_runner_count(r, CC_RSA_DECRYPT), ==, 2);
}

static void test_does_not_decrypt(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    uint8_t ciphertext[TPM_RSA_SIZE], changed[TPM_RSA_SIZE];

    oaep_encrypt(f->keys.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, ciphertext);
    for (size_t i = 0; i < sizeof(ciphertext); i += 51) {
        memcpy(changed, ciphertext, sizeof(changed));
        changed[i] ^= 1;
        g_assert_cmpint(do_decrypt(f->runner, f->keys.decrypt_key, changed, sizeof(changed), 0, &a), ==,
                        HMSG_ERROR_AUTHENTICATION_FAILED);
        g_assert_cmpint(a.problem.reason, ==, TPM_REASON_NONE);
        g_assert_null(a.secret);
    }
    memset(changed, 0xff, sizeof(changed)); /* larger than the modulus */
    g_assert_cmpint(do_decrypt(f->runner, f->keys.decrypt_key, changed, sizeof(changed), 0, &a), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    memset(changed, 0, sizeof(changed));
    g_assert_cmpint(do_decrypt(f->runner, f->keys.decrypt_key, changed, sizeof(changed), 0, &a), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    /* Session and key outlive the failures. */
    uint64_t before = tpm_runner_count(f->runner, 0);
    assert_decrypts(f->runner, f->keys.decrypt_key);
    g_assert_cmpuint(tpm_runner_count(f->runner, 0), ==, before + 1);
}

static void test_sizes(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    uint8_t ciphertext[TPM_RSA_SIZE + 1] = {0};

    oaep_encrypt(f->keys.decrypt_key, PLAINTEXT, 32, ciphertext);
    g_assert_cmpint(do_decrypt(f->runner, f->keys.decrypt_key, ciphertext, TPM_RSA_SIZE, 64, &a), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_null(a.secret);
    g_assert_cmpint(do_decrypt(f->runner, f->keys.decrypt_key, ciphertext, TPM_RSA_SIZE, 32, &a), ==, 0);
    g_assert_cmpint(do_decrypt(f->runner, f->keys.decrypt_key, ciphertext, TPM_RSA_SIZE, 0, &a), ==, 0);
    g_assert_cmpuint(secret_size(a.secret), ==, 32);
    uint64_t before = tpm_runner_count(f->runner, 0);
    const size_t sizes[] = {0, 1, TPM_RSA_SIZE - 1, TPM_RSA_SIZE + 1};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
        g_assert_cmpint(do_decrypt(f->runner, f->keys.decrypt_key, ciphertext, sizes[i], 0, &a), ==,
                        HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(tpm_runner_count(f->runner, 0), ==, before);
}

/* Neither key does the other's work. */
static void test_wrong_use(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    uint8_t ciphertext[TPM_RSA_SIZE];

    oaep_encrypt(f->keys.sign_key, PLAINTEXT, PLAINTEXT_SIZE, ciphertext);
    g_assert_cmpint(do_decrypt(f->runner, f->keys.sign_key, ciphertext, sizeof(ciphertext), 0, &a), !=, 0);
    g_assert_null(a.secret);
    g_assert_cmpint(do_sign(f->runner, f->keys.decrypt_key, DIGEST, &a), !=, 0);
    g_assert_cmpuint(a.data_size, ==, 0);
}

static void test_random(Fixture *f, gconstpointer data)
{
    static const uint8_t zeros[32];
    g_auto(Answer) a = {0};

    g_assert_cmpint(do_random(f->runner, TPM_RANDOM_MAX, &a), ==, 0);
    g_assert_cmpuint(a.data_size, ==, TPM_RANDOM_MAX);
    for (size_t i = 0; i < TPM_RANDOM_MAX; i += sizeof(zeros))
        g_assert_cmpint(memcmp(a.data + i, zeros, sizeof(zeros)), !=, 0);
    g_assert_cmpint(tpm_runner_random(f->runner, TPM_RANDOM_MAX + 1, answer_note, &a, NULL), ==, -EINVAL);
}

static void test_probe(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    g_assert_cmpstr(a.facts.manufacturer, ==, "IBM");
    g_assert_cmpint(a.facts.in_lockout, ==, false);
    g_assert_cmpuint(a.facts.lockout_counter, ==, 0);
    g_assert_cmpuint(a.facts.lockout_max, >, 0);
    g_assert_cmpint(a.facts.srk_persistent, ==, false);
    g_assert_cmpmem(a.facts.srk_name, TPM_NAME_SIZE, f->keys.srk_name, TPM_NAME_SIZE);
}

static void test_pin(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    uint8_t ciphertext[TPM_RSA_SIZE], other[TPM_NAME_SIZE];

    oaep_encrypt(f->keys.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, ciphertext);
    memcpy(other, f->keys.srk_name, sizeof(other));
    other[TPM_NAME_SIZE - 1] ^= 1;
    tpm_runner_pin(f->runner, other);
    g_assert_cmpint(do_decrypt(f->runner, f->keys.decrypt_key, ciphertext, sizeof(ciphertext), 0, &a), ==,
                    HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_WRONG_TPM);
    g_assert_cmpint(do_create(f->runner, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_null(a.sign_key);
    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    tpm_runner_pin(f->runner, a.facts.srk_name);
    assert_decrypts(f->runner, f->keys.decrypt_key);
    tpm_runner_pin(f->runner, NULL);
    assert_decrypts(f->runner, f->keys.decrypt_key);
}

/* Keys of another TPM, and a sealed part in which one byte is another. */
static void test_foreign_keys(Fixture *f, gconstpointer data)
{
    g_autoptr(TestSwtpm) other = test_swtpm_new(NULL);
    _cleanup_(tpm_runner_freep) TpmRunner *r = runner_new(test_swtpm_tcti(other));
    g_auto(Answer) a = {0};
    size_t n, m;

    g_assert_cmpint(do_sign(r, f->keys.sign_key, DIGEST, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_KEY);
    tpm_runner_pin(r, f->keys.srk_name);
    g_assert_cmpint(do_sign(r, f->keys.sign_key, DIGEST, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_WRONG_TPM);

    const uint8_t *public = tpm_keyfile_public(f->keys.sign_key, &n);
    const uint8_t *private = tpm_keyfile_private(f->keys.sign_key, &m);
    for (size_t i = 2; i < m; i += 23) {
        _cleanup_(tpm_keyfile_freep) TpmKeyFile *damaged = NULL;
        g_autofree uint8_t *changed = g_memdup2(private, m);
        changed[i] ^= 1;
        g_assert_cmpint(tpm_keyfile_from_blobs(public, n, changed, m, false, NULL, &damaged), ==, 0);
        g_assert_cmpint(do_sign(f->runner, damaged, DIGEST, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
        g_assert_cmpint(a.problem.reason, ==, TPM_REASON_KEY);
        g_assert_cmpuint(a.data_size, ==, 0);
    }
    assert_signs(f->runner, f->keys.sign_key);
}

static void test_queue_full(Fixture *f, gconstpointer data)
{
    g_autofree Answer *answers = g_new0(Answer, TPM_QUEUE_MAX + 1);

    for (size_t i = 0; i < TPM_QUEUE_MAX; i++)
        g_assert_cmpint(tpm_runner_random(f->runner, 1, answer_note, &answers[i], NULL), ==, 0);
    g_assert_cmpint(tpm_runner_random(f->runner, 1, answer_note, &answers[TPM_QUEUE_MAX], NULL), ==,
                    HMSG_ERROR_QUOTA_EXCEEDED);
    for (size_t i = 0; i < TPM_QUEUE_MAX; i++) {
        g_assert_cmpuint(i == 0 || answers[i].calls == 0 || answers[i - 1].calls == 1, ==, true);
        answer_await(f->runner, &answers[i]);
        g_assert_cmpint(answers[i].r, ==, 0);
    }
    g_assert_cmpuint(answers[TPM_QUEUE_MAX].calls, ==, 0);
    assert_signs(f->runner, f->keys.sign_key);
}

static void test_cancel(Fixture *f, gconstpointer data)
{
    Answer a[3] = {0};
    TpmJob *jobs[3];

    for (size_t i = 0; i < 3; i++)
        g_assert_cmpint(
            tpm_runner_sign(f->runner, f->keys.sign_key, NULL, NULL, DIGEST, answer_note, &a[i], &jobs[i]),
            ==, 0);
    g_assert_null(tpm_job_cancel(jobs[0])); /* runs */
    g_assert_null(tpm_job_cancel(jobs[1])); /* waits */
    g_assert_null(tpm_job_cancel(NULL));
    answer_await(f->runner, &a[2]);
    g_assert_cmpint(a[2].r, ==, 0);
    g_assert_cmpuint(a[0].calls + a[1].calls, ==, 0);
    g_assert_cmpuint(tpm_runner_count(f->runner, CC_SIGN), ==, 2);
}

typedef struct Chain {
    TpmRunner *runner;
    TpmJob *self, *other;
    Answer other_answer, last;
} Chain;

/* Cancels itself, which does nothing, and the next one, and starts a third. */
static void chain(TpmAnswer *answer, void *userdata)
{
    Chain *c = userdata;
    tpm_job_cancel(c->self);
    tpm_job_cancel(c->other);
    g_assert_cmpint(tpm_runner_random(c->runner, 16, answer_note, &c->last, NULL), ==, 0);
}

static void test_from_callback(Fixture *f, gconstpointer data)
{
    Chain c = {.runner = f->runner};
    g_assert_cmpint(tpm_runner_random(f->runner, 16, chain, &c, &c.self), ==, 0);
    g_assert_cmpint(tpm_runner_random(f->runner, 16, answer_note, &c.other_answer, &c.other), ==, 0);
    answer_await(f->runner, &c.last);
    g_assert_cmpint(c.last.r, ==, 0);
    g_assert_cmpuint(c.other_answer.calls, ==, 0);
}

static void test_freed_with_jobs(Fixture *f, gconstpointer data)
{
    Answer a = {0};
    for (size_t i = 0; i < 5; i++)
        g_assert_cmpint(
            tpm_runner_sign(f->runner, f->keys.sign_key, NULL, NULL, DIGEST, answer_note, &a, NULL), ==, 0);
    f->runner = tpm_runner_free(f->runner);
    g_assert_cmpuint(a.calls, ==, 0);
    g_assert_null(tpm_runner_free(NULL));
}

static void probe_absent(const char *tcti, TpmReason reason)
{
    _cleanup_(tpm_runner_freep) TpmRunner *r = runner_new(tcti);
    g_auto(Answer) a = {0};
    g_assert_cmpint(do_probe(r, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a.problem.reason, ==, reason);
    g_assert_nonnull(strstr(a.problem.text, tcti));
}

static void test_absent(void)
{
    probe_absent("device:/nonexistent/tpmrm0", TPM_REASON_ABSENT);
    probe_absent("swtpm:path=/nonexistent/tpm", TPM_REASON_ABSENT);
    probe_absent("no-such-tcti:x", TPM_REASON_ABSENT);
}

#define NOBODY 65534

/* Root may open all, so this test is nobody. */
static void test_no_access(void)
{
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
        g_test_trap_assert_passed();
        return;
    }
    char *folder = test_folder_new();
    g_autofree char *path = g_build_filename(folder, "tpmrm0", NULL);
    g_autofree char *device = g_strdup_printf("device:%s", path);
    g_autofree char *emulator = g_strdup_printf("swtpm:path=%s", path);

    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    g_assert_cmpint(chmod(path, 0), ==, 0);
    g_assert_cmpint(chmod(folder, 0711), ==, 0);
    uid_t me = geteuid();
    if (me == 0)
        g_assert_cmpint(seteuid(NOBODY), ==, 0);
    probe_absent(device, TPM_REASON_NO_ACCESS);
    probe_absent(emulator, TPM_REASON_NO_ACCESS);
    g_assert_cmpint(seteuid(me), ==, 0);
    test_folder_remove(folder);
}

#define ADD(path, test) g_test_add("/tpm/runner/" path, Fixture, NULL, set_up, test, tear_down)

static void add(void)
{
    ADD("keys", test_keys);
    ADD("other-runner", test_other_runner);
    ADD("tools", test_tools);
    ADD("command-count", test_command_count);
    ADD("does-not-decrypt", test_does_not_decrypt);
    ADD("sizes", test_sizes);
    ADD("wrong-use", test_wrong_use);
    ADD("random", test_random);
    ADD("probe", test_probe);
    ADD("pin", test_pin);
    ADD("foreign-keys", test_foreign_keys);
    ADD("queue-full", test_queue_full);
    ADD("cancel", test_cancel);
    ADD("from-callback", test_from_callback);
    ADD("freed-with-jobs", test_freed_with_jobs);
    g_test_add_func("/tpm/runner/absent", test_absent);
    g_test_add_func("/tpm/runner/no-access", test_no_access);
}

int main(int argc, char *argv[])
{
    return tpm_test_main(argc, argv, add);
}
