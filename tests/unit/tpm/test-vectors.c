/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Project Wycheproof's RSA decryption vectors, decrypted by the TPM with our key's template. */
#include <jansson.h>
#include <string.h>

#include "libhmsg/tpm/keyfile.h"
#include "tests/unit/tpm/direct.h"
#include "tests/unit/tpm/util.h"

#define INPUT_MAX 4096u

typedef struct Counts {
    unsigned good, refused, with_label, other;
} Counts;

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    g_assert_nonnull(text);
    return text;
}

static size_t unhex(const char *text, guint8 *ret, size_t max)
{
    size_t n = strlen(text) / 2;
    g_assert_cmpuint(n, <=, max);
    for (size_t i = 0; i < n; i++)
        ret[i] = (guint8)(g_ascii_xdigit_value(text[2 * i]) << 4 | g_ascii_xdigit_value(text[2 * i + 1]));
    return n;
}

/* Without the 0 in front that DER puts there. */
static void number(json_t *key, const char *name, guint8 *ret, size_t size)
{
    guint8 bytes[TPM_RSA_SIZE + 1];
    size_t n = unhex(text_of(key, name), bytes, sizeof(bytes));
    g_assert_cmpuint(n, >=, size);
    memcpy(ret, bytes + n - size, size);
}

static void run_one(Direct *d, ESYS_TR key, json_t *test, bool applicable, Counts *c)
{
    guint8 ciphertext[INPUT_MAX], expected[INPUT_MAX], got[TPM_RSA_SIZE];
    size_t n = unhex(text_of(test, "ct"), ciphertext, sizeof(ciphertext));
    size_t m = unhex(text_of(test, "msg"), expected, sizeof(expected));
    const char *result = text_of(test, "result"), *label = "";

    if (json_object_get(test, "label"))
        label = text_of(test, "label");
    if (applicable && *label) {
        c->with_label++;
        return;
    }
    int size = direct_decrypt(d, key, ciphertext, n, got);
    if (!applicable || strcmp(result, "invalid") == 0) {
        if (size >= 0)
            g_test_message("tcId %lld is decrypted",
                           (long long)json_integer_value(json_object_get(test, "tcId")));
        g_assert_cmpint(size, <, 0);
        c->refused++;
    } else if (strcmp(result, "valid") == 0) {
        g_assert_cmpint(size, >=, 0);
        g_assert_cmpmem(got, size, expected, m);
        c->good++;
    } else
        c->other++;
}

/* applicable: the vectors are of our scheme. Those of another are decrypted by none of our keys. */
static void run_file(const char *name, bool applicable, Counts *c)
{
    const char *vectors = g_getenv("HMSG_VECTORS");
    g_autofree char *path = g_build_filename(vectors ? vectors : "", "wycheproof", name, NULL);
    g_autoptr(TestSwtpm) tpm = NULL;
    json_t *file, *group, *test;
    size_t i, j;
    Direct d;

    if (!vectors || !g_file_test(path, G_FILE_TEST_EXISTS)) {
        g_test_skip("the Wycheproof vectors are not there");
        return;
    }
    file = json_load_file(path, 0, NULL);
    g_assert_nonnull(file);
    tpm = test_swtpm_new(NULL);
    direct_open(&d, test_swtpm_tcti(tpm));
    json_array_foreach (json_object_get(file, "testGroups"), i, group) {
        guint8 modulus[TPM_RSA_SIZE], prime[TPM_RSA_SIZE / 2];
        number(json_object_get(group, "privateKey"), "modulus", modulus, sizeof(modulus));
        number(json_object_get(group, "privateKey"), "prime1", prime, sizeof(prime));
        ESYS_TR key = direct_load_rsa(&d, modulus, prime, TPM2_ALG_SHA256);
        g_assert_cmphex(key, !=, ESYS_TR_NONE);
        json_array_foreach (json_object_get(group, "tests"), j, test)
            run_one(&d, key, test, applicable, c);
        direct_flush(&d, key);
    }
    direct_close(&d);
    json_decref(file);
    g_test_message("%s: %u decrypted, %u refused, %u not applicable because of their label, %u acceptable",
                   name, c->good, c->refused, c->with_label, c->other);
}

static void test_sha256(void)
{
    Counts c = {0};
    run_file("rsa_oaep_2048_sha256_mgf1sha256_test.json", true, &c);
    if (!g_test_failed() && c.good + c.refused > 0) {
        g_assert_cmpuint(c.good, >, 0);
        g_assert_cmpuint(c.refused, >, 0);
        g_assert_cmpuint(c.other, ==, 0);
    }
}

static void test_others(gconstpointer name)
{
    Counts c = {0};
    run_file(name, false, &c);
    g_assert_cmpuint(c.good, ==, 0);
}

static void add(void)
{
    g_test_add_func("/tpm/vectors/oaep-sha256", test_sha256);
    g_test_add_data_func("/tpm/vectors/oaep-sha256-mgf1sha1", "rsa_oaep_2048_sha256_mgf1sha1_test.json",
                         test_others);
    g_test_add_data_func("/tpm/vectors/oaep-sha1", "rsa_oaep_2048_sha1_mgf1sha1_test.json", test_others);
    g_test_add_data_func("/tpm/vectors/pkcs1", "rsa_pkcs1_2048_test.json", test_others);
}

int main(int argc, char *argv[])
{
    return tpm_test_main(argc, argv, add);
}
