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

static void check(const char *path, const json_t *test, VectorResult got)
{
    const char *verdict = test_vectors_text(test, "result");
    bool wrong = (strcmp(verdict, "valid") == 0 && got != VECTOR_ACCEPTED) ||
                 (strcmp(verdict, "invalid") == 0 && got != VECTOR_REFUSED);

    if (wrong) {
        g_test_message("%s, test %d (%s): is %s, was %s", path,
                       (int)json_integer_value(json_object_get(test, "tcId")),
                       json_string_value(json_object_get(test, "comment")), verdict,
                       got == VECTOR_ACCEPTED ? "accepted" : "refused");
        g_test_fail();
    }
}

void test_vectors_run(const char *path, test_vector_t f, void *userdata)
{
    json_t *root = test_vectors_load(path);
    unsigned counts[3] = {0};
    const json_t *group, *test;
    size_t i, k;

    if (!root)
        return;
    json_array_foreach (json_object_get(root, "testGroups"), i, group)
        json_array_foreach (json_object_get(group, "tests"), k, test) {
            VectorResult got = f(group, test, userdata);

            counts[got]++;
            if (got != VECTOR_NOT_FOR_US)
                check(path, test, got);
        }
    g_test_message("%s: %u accepted, %u refused, %u do not apply", path, counts[VECTOR_ACCEPTED],
                   counts[VECTOR_REFUSED], counts[VECTOR_NOT_FOR_US]);
    g_assert_cmpuint(counts[VECTOR_ACCEPTED] + counts[VECTOR_REFUSED], >, 0);
    json_decref(root);
}
