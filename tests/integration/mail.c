/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/integration/mail.h"

#include <string.h>

char *mail_send(SceneUser *u, const char *to, const char *text)
{
    g_autofree char *err = NULL;
    char *out = NULL;
    int status = scene_ctl(u, text, &out, &err, "send", "-r", to, NULL);

    if (status != 0)
        g_error("hmsgctl send exits with %d: %s", status, err);
    return g_strstrip(out);
}

void mail_pair_open(MailPair *p)
{
    p->scene = scene_new();
    scene_relay_start(p->scene);
    p->alice = scene_user_new(p->scene, "alice");
    p->bob = scene_user_new(p->scene, "bob");
}

void mail_relay_configure(MailPair *p, const char *more)
{
    g_autofree char *folder = scene_path(p->scene, "relay"), *text = NULL, *both = NULL;
    g_autofree char *config = g_build_filename(folder, "relay.conf", NULL);

    g_assert_true(g_file_get_contents(config, &text, NULL, NULL));
    both = g_strconcat(text, "\n", more, NULL);
    g_assert_true(g_file_set_contents(config, both, -1, NULL));
    scene_relay_stop(p->scene);
    scene_relay_start(p->scene);
}

bool mail_relay_has(MailPair *p, const char *sql, const char *expected)
{
    g_autofree char *database = scene_path(p->scene, "relay/data/relay.sqlite"), *out = NULL;
    const char *const argv[] = {"sqlite3", "-readonly", database, sql, NULL};

    return test_run(argv, NULL, NULL, &out, NULL) == 0 && strcmp(g_strchomp(out), expected) == 0;
}

void mail_pair_close(MailPair *p, gconstpointer data)
{
    scene_free(p->scene);
}

const char *mail_fact(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));

    return text ? text : "";
}

char *mail_states(SceneUser *u)
{
    json_t *rows = scene_ctl_json(u, "outbox", NULL);
    GString *states = g_string_new(NULL);

    for (size_t i = 0; i < json_array_size(rows); i++)
        g_string_append_printf(states, "%s%s", i > 0 ? "," : "", mail_fact(json_array_get(rows, i), "state"));
    json_decref(rows);
    return g_string_free(states, FALSE);
}

bool mail_states_are(SceneUser *u, const char *expected)
{
    g_autofree char *states = mail_states(u);

    return strcmp(states, expected) == 0;
}

size_t mail_count(SceneUser *u, const char *state)
{
    json_t *rows = scene_ctl_json(u, "inbox", NULL);
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(rows); i++)
        n += !state || strcmp(mail_fact(json_array_get(rows, i), "state"), state) == 0;
    json_decref(rows);
    return n;
}

char **mail_ids(SceneUser *u)
{
    json_t *rows = scene_ctl_json(u, "inbox", NULL);
    GPtrArray *ids = g_ptr_array_new();

    for (size_t i = 0; i < json_array_size(rows); i++)
        if (strcmp(mail_fact(json_array_get(rows, i), "state"), "quarantined") != 0)
            g_ptr_array_add(ids, g_strdup(mail_fact(json_array_get(rows, i), "id")));
    json_decref(rows);
    g_ptr_array_add(ids, NULL);
    return (char **)g_ptr_array_free(ids, FALSE);
}

char *mail_read(SceneUser *u, const char *id)
{
    g_autofree char *err = NULL;
    char *out = NULL;
    int status = scene_ctl(u, NULL, &out, &err, "read", id, NULL);

    if (status != 0)
        g_error("hmsgctl read exits with %d: %s", status, err);
    return out;
}

static bool has(SceneUser *u, size_t n, char **ret_last)
{
    g_auto(GStrv) ids = mail_ids(u);
    size_t have = g_strv_length(ids);

    g_assert_cmpuint(have, <=, n);
    if (have == n)
        *ret_last = g_strdup(ids[n - 1]);
    return have == n;
}

char *mail_await(SceneUser *u, size_t n)
{
    g_autofree char *last = NULL;

    TEST_AWAIT(has(u, n, &last));
    return mail_read(u, last);
}

bool mail_has(SceneUser *u, const char *text)
{
    g_auto(GStrv) ids = mail_ids(u);

    for (size_t i = 0; ids[i]; i++) {
        g_autofree char *one = mail_read(u, ids[i]);

        if (strcmp(one, text) == 0)
            return true;
    }
    return false;
}

bool mail_relay_holds(const Scene *s, json_int_t messages, json_int_t blobs)
{
    json_t *facts = scene_relay_check(s);
    bool holds = json_integer_value(json_object_get(facts, "messages")) == messages &&
                 json_integer_value(json_object_get(facts, "blobs")) == blobs;

    json_decref(facts);
    return holds;
}

char *mail_file(const Scene *s, const char *name, size_t size)
{
    g_autofree char *bytes = g_malloc(size);
    g_autoptr(GRand) random = g_rand_new_with_seed((guint32)size);
    g_autoptr(GError) error = NULL;
    char *path = scene_path(s, name);

    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)g_rand_int(random);
    if (!g_file_set_contents(path, bytes, (gssize)size, &error))
        g_error("%s", error->message);
    return path;
}

bool mail_files_same(const char *a, const char *b)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *in_a = NULL;
    g_autofree char *in_b = NULL;
    gsize n_a, n_b;

    if (!g_file_get_contents(a, &in_a, &n_a, &error) || !g_file_get_contents(b, &in_b, &n_b, &error))
        g_error("%s", error->message);
    return n_a == n_b && memcmp(in_a, in_b, n_a) == 0; /* public */
}

void mail_files_equal(const char *a, const char *b)
{
    if (!mail_files_same(a, b))
        g_error("%s is not what %s is", b, a);
}

char *mail_log(const char *path)
{
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? text : g_strdup("");
}

TestProcess *mail_monitor(const Scene *s, SceneUser *u, const char *name, char **ret_log)
{
    g_autofree char *program = g_build_filename(g_getenv("HMSG_BUILD"), "cli", "hmsgctl", NULL);
    const char *const argv[] = {program, "monitor", "--json", NULL};
    char *log = scene_path(s, name);
    TestProcess *monitor = test_process_start(argv, scene_environment(u), log);
    g_autofree char *begin = NULL;

    TEST_AWAIT((g_free(begin), begin = mail_log(log), strstr(begin, "listening")));
    *ret_log = log;
    return monitor;
}
