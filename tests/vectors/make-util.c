/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "libhmsg/base/encode.h"
#include "tests/vectors/make.h"

void vector_add(json_t *list, const char *name, const char *result, json_t *v)
{
    json_t *all = json_pack("{ss ss}", "name", name, "result", result);

    if (!v || !all || json_object_update(all, v) != 0 || json_array_append_new(list, all) != 0)
        g_error("%s: no memory", name);
    json_decref(v);
}

json_t *vector_bytes(const void *data, size_t n)
{
    g_autofree char *text = g_malloc(BASE64URL_SIZE(n) + 1);

    base64url_encode(data, n, text);
    return json_string(text);
}

char *vector_replace(const char *text, const char *old, const char *new)
{
    g_autoptr(GString) s = g_string_new(text);

    g_assert_cmpuint(g_string_replace(s, old, new, 0), ==, 1);
    return g_string_free(g_steal_pointer(&s), FALSE);
}

char *vector_spoil(const char *text, const char *before)
{
    char *copy = g_strdup(text), *at = strstr(copy, before);

    g_assert_nonnull(at);
    at += strlen(before);
    *at = *at == 'A' ? 'B' : 'A';
    return copy;
}

void vector_save_json(const char *path, json_t *root)
{
    if (!root || json_dump_file(root, path, JSON_INDENT(1)) != 0)
        g_error("%s cannot be written", path);
    json_decref(root);
}

void vector_save(const char *path, json_t *list)
{
    vector_save_json(path, json_pack("{sI so}", "now", (json_int_t)VECTORS_NOW, "vectors", list));
}
