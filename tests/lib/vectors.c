/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "tests/lib/vectors.h"

json_t *test_vectors_load(const char *path)
{
    const char *folder = g_getenv("HMSG_VECTORS");
    g_autofree char *file = g_build_filename(folder ? folder : ".", path, NULL);
    json_error_t error;

    if (!folder || !g_file_test(file, G_FILE_TEST_EXISTS)) {
        g_autofree char *why =
            g_strdup_printf("no vectors: %s is not in the folder of meson's option vectors", path);

        g_test_skip(why);
        return NULL;
    }
    json_t *root = json_load_file(file, JSON_ALLOW_NUL, &error);
    if (!root)
        g_error("%s: %s", file, error.text);
    return root;
}

const char *test_vectors_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    if (!text)
        g_error("a vector without %s", name);
    return text;
}

uint8_t *test_vectors_hex(const json_t *object, const char *name, size_t *ret_size)
{
    const char *text = test_vectors_text(object, name);
    size_t n = strlen(text);
    uint8_t *bytes = g_malloc0(n / 2 + 1);

    for (size_t i = 0; i < n / 2; i++) {
        int high = g_ascii_xdigit_value(text[2 * i]), low = g_ascii_xdigit_value(text[2 * i + 1]);

        if (high < 0 || low < 0)
            g_error("%s is not hexadecimal", name);
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    *ret_size = n / 2;
    return bytes;
}

static size_t verdict_index(const json_t *test)
{
    static const char *const verdicts[VECTOR_VERDICTS] = {"valid", "invalid", "acceptable"};
    const char *verdict = test_vectors_text(test, "result");

    for (size_t i = 0; i < VECTOR_VERDICTS; i++)
        if (strcmp(verdict, verdicts[i]) == 0)
            return i;
    g_error("a vector is %s", verdict);
}

void test_vectors_count(VectorCounts *c, const char *path, const json_t *test, VectorResult got,
                        const char *why)
{
    size_t verdict = verdict_index(test);

    c->counts[verdict][got]++;
    if ((verdict == 0 && got == VECTOR_REFUSED) || (verdict == 1 && got == VECTOR_ACCEPTED)) {
        g_test_message("%s, test %d (%s): is %s, was %s", path,
                       (int)json_integer_value(json_object_get(test, "tcId")),
                       json_string_value(json_object_get(test, "comment")), test_vectors_text(test, "result"),
                       got == VECTOR_ACCEPTED ? "accepted" : "refused");
        g_test_fail();
    }
    if (got != VECTOR_BY_POLICY)
        return;
    if (!why)
        g_error("%s: a policy without a reason", path);
    if (!c->reasons)
        c->reasons = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    unsigned n = GPOINTER_TO_UINT(g_hash_table_lookup(c->reasons, why));
    g_hash_table_replace(c->reasons, g_strdup(why), GUINT_TO_POINTER(n + 1));
}

void test_vectors_print(VectorCounts *c, const char *path)
{
    unsigned(*n)[VECTOR_BY_POLICY + 1] = c->counts, decided = 0;

    for (size_t i = 0; i < VECTOR_VERDICTS; i++)
        decided += n[i][VECTOR_ACCEPTED] + n[i][VECTOR_REFUSED];
    g_test_message("%s: %u valid accepted, %u invalid refused, %u acceptable accepted, %u acceptable refused",
                   path, n[0][VECTOR_ACCEPTED], n[1][VECTOR_REFUSED], n[2][VECTOR_ACCEPTED],
                   n[2][VECTOR_REFUSED]);
    if (c->reasons) {
        GHashTableIter i;
        gpointer why, count;

        g_hash_table_iter_init(&i, c->reasons);
        while (g_hash_table_iter_next(&i, &why, &count))
            g_test_message("%s: %u by policy: %s", path, GPOINTER_TO_UINT(count), (char *)why);
        g_hash_table_unref(c->reasons);
        decided += n[0][VECTOR_BY_POLICY] + n[1][VECTOR_BY_POLICY];
    }
    g_assert_cmpuint(decided, >, 0);
    *c = (VectorCounts){.reasons = NULL};
}

void test_vectors_run(const char *path, test_vector_t f, void *userdata)
{
    json_t *root = test_vectors_load(path);
    VectorCounts c = {.reasons = NULL};
    const json_t *group, *test;
    size_t i, k;

    if (!root)
        return;
    json_array_foreach (json_object_get(root, "testGroups"), i, group)
        json_array_foreach (json_object_get(group, "tests"), k, test) {
            const char *why = NULL;
            VectorResult got = f(group, test, userdata, &why);

            test_vectors_count(&c, path, test, got, why);
        }
    test_vectors_print(&c, path);
    json_decref(root);
}
