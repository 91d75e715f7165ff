/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The agent's store on disk: under a key that the TPM keeps and that changes with each generation of the
 * keys. Nothing of it is lost by a rotation, a kill, or a TPM that is away; and a backup of before a rotation
 * gives nothing back once the former generation has ended. */

#include <glib/gstdio.h>
#include <string.h>

#include "agent/store.h"
#include "tests/integration/mail.h"

enum { DONE = 0, NOT_FOUND = 4, TPM = 6 };

#define CONTACT "zebra-of-the-store"
#define KILLS 12u

typedef struct Fixture {
    Scene *scene;
    SceneUser *user;
    char *data, *key_file;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->scene = scene_new();
    f->user = scene_user_new(f->scene, "zoe");
    f->data = g_build_filename(scene_folder(f->scene), "zoe", "data", "hmsg", NULL);
    f->key_file = g_build_filename(f->data, "store.key", NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_free(f->data);
    g_free(f->key_file);
    scene_free(f->scene);
}

static void run(const char *const *argv)
{
    g_assert_cmpint(test_run(argv, NULL, NULL, NULL, NULL), ==, 0);
}

/* What the tests look for again. */
static void add_contact(Fixture *f)
{
    g_autofree char *key = scene_path(f->scene, "friend.pem");
    g_autofree char *public = scene_path(f->scene, "friend.public");
    const char *const make[] = {"openssl", "genrsa", "-out", key, "2048", NULL};
    const char *const export[] = {"openssl", "pkey", "-in", key, "-pubout", "-out", public, NULL};

    run(make);
    run(export);
    scene_ctl_expect(f->user, DONE, "contact", "add", "--name", CONTACT, "--key", public, NULL);
}

static bool knows_contact(Fixture *f)
{
    return scene_ctl(f->user, NULL, NULL, NULL, "contact", "show", CONTACT, NULL) == DONE;
}

static char *read_key_file(const Fixture *f)
{
    char *text = NULL;

    (void)g_file_get_contents(f->key_file, &text, NULL, NULL);
    return text ? text : g_strdup("");
}

static bool key_is_sealed(const Fixture *f)
{
    g_autofree char *text = read_key_file(f);

    return strstr(text, "\"sealed\"") && !strstr(text, "\"key\":");
}

static bool key_is_in_file(const Fixture *f)
{
    g_autofree char *text = read_key_file(f);

    return strstr(text, "\"key\":") && !strstr(text, "\"sealed\"");
}

static void create(Fixture *f)
{
    scene_ctl_expect(f->user, DONE, "identity", "create", NULL);
    TEST_AWAIT(key_is_sealed(f));
}

static bool holds(const char *path, const char *what)
{
    g_autofree char *content = NULL;
    gsize n = 0;

    return g_file_get_contents(path, &content, &n, NULL) && memmem(content, n, what, strlen(what));
}

/* In any file of the data folder. */
static bool anything_holds(const Fixture *f, const char *what)
{
    g_autoptr(GDir) folder = g_dir_open(f->data, 0, NULL);
    bool found = false;
    const char *name;

    g_assert_nonnull(folder);
    while ((name = g_dir_read_name(folder))) {
        g_autofree char *path = g_build_filename(f->data, name, NULL);

        found = found || holds(path, what);
    }
    return found;
}

static char *status_of(Fixture *f, const char *key)
{
    json_t *status = scene_ctl_json(f->user, "status", NULL);
    char *text = g_strdup(mail_fact(status, key));

    json_decref(status);
    return text;
}

/* What doctor says of the store: "ok", "warning", "error". */
static char *verdict(Fixture *f)
{
    g_autofree char *out = NULL;
    char *result = NULL;
    json_t *checks, *check;
    size_t i;

    (void)scene_ctl(f->user, NULL, &out, NULL, "doctor", "--json", NULL);
    checks = json_loads(out, JSON_DECODE_ANY, NULL);
    g_assert_nonnull(checks);
    json_array_foreach (checks, i, check)
        if (strcmp(mail_fact(check, "name"), "store") == 0)
            result = g_strdup(mail_fact(check, "result"));
    json_decref(checks);
    g_assert_nonnull(result);
    return result;
}

static bool verdict_is(Fixture *f, const char *expected)
{
    g_autofree char *result = verdict(f);

    return strcmp(result, expected) == 0;
}

static void restart(Fixture *f)
{
    scene_agent_stop(f->user);
    scene_agent_start(f->user);
}

static void test_sealed(Fixture *f, gconstpointer data)
{
    g_autofree char *old = g_strconcat(f->key_file, ".old", NULL);

    add_contact(f);
    g_assert_true(key_is_in_file(f));
    g_autofree char *before = status_of(f, "store");
    g_assert_cmpstr(before, ==, "file");
    create(f);
    g_assert_true(knows_contact(f));
    restart(f);
    g_assert_true(knows_contact(f));
    g_assert_true(verdict_is(f, "ok"));
    g_autofree char *after = status_of(f, "store");
    g_assert_cmpstr(after, ==, "tpm");
    g_assert_false(anything_holds(f, CONTACT));
    g_assert_false(g_file_test(old, G_FILE_TEST_EXISTS));
}

/* A store of a version that did not seal it. */
static void test_upgrade(Fixture *f, gconstpointer data)
{
    static const char *const names[] = {"store.db", "store.key"};
    Store *store = NULL;

    create(f);
    scene_agent_stop(f->user);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(f->data, names[i], NULL);

        g_assert_cmpint(g_unlink(path), ==, 0);
    }
    g_assert_cmpint(store_new(f->data, "", NULL, &store), ==, 0);
    g_assert_cmpint(db_exec(store_db(store),
                            "INSERT INTO access_rules VALUES('flatpak:org.zebra.App', 'decrypt', 'deny', 1)"),
                    ==, 0);
    store_free(store);
    g_assert_true(anything_holds(f, "org.zebra.App"));
    scene_agent_start(f->user);
    TEST_AWAIT(key_is_sealed(f));
    g_autofree char *out = NULL;
    g_assert_cmpint(scene_ctl(f->user, NULL, &out, NULL, "access", "list", NULL), ==, DONE);
    g_assert_nonnull(strstr(out, "org.zebra.App"));
    restart(f);
    g_assert_false(anything_holds(f, "org.zebra.App"));
}

/* Without its key the store is not taken for a damaged one, nor begun anew. */
static void test_lost_key(Fixture *f, gconstpointer data)
{
    g_autofree char *kept = scene_path(f->scene, "kept");

    create(f);
    add_contact(f);
    scene_agent_stop(f->user);
    g_assert_cmpint(g_rename(f->key_file, kept), ==, 0);
    const char *const agent[] = {"sh", "-c", "exec \"$HMSG_BUILD/agent/hmsg-agent\" 2>&1", NULL};
    g_autofree char *out = NULL;
    g_assert_cmpint(test_run(agent, scene_environment(f->user), NULL, &out, NULL), !=, 0);
    g_assert_nonnull(strstr(out, "store.key is missing"));
    g_assert_cmpint(g_rename(kept, f->key_file), ==, 0);
    scene_agent_start(f->user);
    g_assert_true(knows_contact(f));
}

static void rotate(Fixture *f)
{
    scene_ctl_expect(f->user, DONE, "identity", "rotate", "--grace", "0", NULL);
}

static char *find_lost(const Fixture *f)
{
    g_autoptr(GDir) folder = g_dir_open(f->data, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(folder)))
        if (g_str_has_prefix(name, "lost-"))
            return g_build_filename(f->data, name, "store.db", NULL);
    return NULL;
}

/* It cannot be opened, says so, and the way on is to begin anew. */
static void expect_lost(Fixture *f)
{
    g_autofree char *problem = status_of(f, "store_problem");

    g_assert_cmpstr(problem, !=, "");
    g_assert_true(verdict_is(f, "error"));
    scene_ctl_expect(f->user, TPM, "contact", "list", NULL);
    scene_ctl_expect(f->user, TPM, "inbox", NULL);
    scene_ctl_expect(f->user, TPM, "access", "list", NULL);
    scene_ctl_expect(f->user, DONE, "identity", "delete", "--yes", NULL);
    g_autofree char *lost = find_lost(f);
    g_assert_nonnull(lost);
    g_assert_true(g_file_test(lost, G_FILE_TEST_EXISTS));
    g_assert_true(key_is_in_file(f));
    scene_ctl_expect(f->user, NOT_FOUND, "contact", "show", CONTACT, NULL);
    /* it does not hang on what has gone */
    restart(f);
    g_assert_true(key_is_in_file(f));
    scene_ctl_expect(f->user, NOT_FOUND, "contact", "show", CONTACT, NULL);
    create(f);
    add_contact(f);
    restart(f);
    g_assert_true(knows_contact(f));
}

static void test_backup(Fixture *f, gconstpointer data)
{
    g_autofree char *backup = scene_path(f->scene, "backup");
    g_autofree char *later = scene_path(f->scene, "later");

    create(f);
    add_contact(f);
    scene_agent_stop(f->user);
    test_folder_copy(f->data, backup);
    scene_agent_start(f->user);
    g_autofree char *before = read_key_file(f);
    rotate(f);
    TEST_AWAIT(verdict_is(f, "ok"));
    g_autofree char *after = read_key_file(f);
    g_assert_cmpstr(before, !=, after);
    g_assert_true(key_is_sealed(f));
    g_assert_true(knows_contact(f));
    /* the TPM has done what came before */
    scene_ctl_expect(f->user, DONE, "unlock", NULL);
    scene_agent_stop(f->user);
    g_assert_cmpint(g_rename(f->data, later), ==, 0);
    g_assert_cmpint(g_rename(backup, f->data), ==, 0);
    scene_agent_start(f->user);
    expect_lost(f);
}

/* While the store is under a key of before the counter that this key ends with does not go on. */
static void test_held(Fixture *f, gconstpointer data)
{
    g_autofree char *obstacle = g_strconcat(f->key_file, ".old", NULL);
    g_autofree char *before = NULL, *after = NULL;

    create(f);
    add_contact(f);
    before = read_key_file(f);
    g_assert_cmpint(g_mkdir(obstacle, 0700), ==, 0);
    rotate(f);
    TEST_AWAIT(verdict_is(f, "warning"));
    scene_ctl_expect(f->user, DONE, "unlock", NULL);
    after = read_key_file(f);
    g_assert_cmpstr(before, ==, after);
    g_assert_cmpint(g_rmdir(obstacle), ==, 0);
    scene_agent_kill(f->user);
    g_assert_cmpint(g_mkdir(obstacle, 0700), ==, 0);
    /* nothing can be found out about the store in this folder */
    const char *const agent[] = {"sh", "-c", "exec \"$HMSG_BUILD/agent/hmsg-agent\" 2>&1", NULL};
    g_assert_cmpint(test_run(agent, scene_environment(f->user), NULL, NULL, NULL), !=, 0);
    g_assert_cmpint(g_rmdir(obstacle), ==, 0);
    scene_agent_start(f->user);
    g_assert_true(knows_contact(f));
    TEST_AWAIT(verdict_is(f, "ok"));
    g_free(after);
    after = read_key_file(f);
    g_assert_cmpstr(before, !=, after);
}

static void test_killed(Fixture *f, gconstpointer data)
{
    create(f);
    add_contact(f);
    for (unsigned i = 0; i < KILLS; i++) {
        rotate(f);
        g_usleep(i * i * 2000);
        scene_agent_kill(f->user);
        scene_agent_start(f->user);
        g_assert_true(knows_contact(f));
    }
    TEST_AWAIT(verdict_is(f, "ok"));
    g_assert_true(key_is_sealed(f));
}

static void test_away(Fixture *f, gconstpointer data)
{
    create(f);
    add_contact(f);
    scene_agent_stop(f->user);
    test_swtpm_stop(scene_tpm(f->user));
    scene_agent_start(f->user);
    scene_ctl_expect(f->user, TPM, "contact", "list", NULL);
    g_autofree char *problem = status_of(f, "store_problem");
    g_assert_cmpstr(problem, !=, "");
    test_swtpm_start(scene_tpm(f->user));
    TEST_AWAIT(knows_contact(f));
    g_assert_true(verdict_is(f, "ok"));
}

static void test_cleared(Fixture *f, gconstpointer data)
{
    g_autofree char *state = g_build_filename(scene_folder(f->scene), "zoe", "tpm", "tpm2-00.permall", NULL);

    create(f);
    add_contact(f);
    scene_agent_stop(f->user);
    test_swtpm_stop(scene_tpm(f->user));
    g_assert_cmpint(g_unlink(state), ==, 0);
    test_swtpm_start(scene_tpm(f->user));
    scene_agent_start(f->user);
    expect_lost(f);
}

static void test_deleted(Fixture *f, gconstpointer data)
{
    create(f);
    add_contact(f);
    scene_ctl_expect(f->user, DONE, "identity", "delete", "--yes", NULL);
    g_assert_true(key_is_in_file(f));
    g_assert_true(knows_contact(f));
    restart(f);
    g_assert_true(knows_contact(f));
    create(f);
    g_assert_true(knows_contact(f));
    g_autofree char *lost = find_lost(f);
    g_assert_null(lost);
}

/* A home that two machines share: each has its store. */
static void test_shared(Fixture *f, gconstpointer data)
{
    g_autofree char *keys = g_build_filename(f->data, "keys", NULL);
    g_autofree char *kept = scene_path(f->scene, "kept");
    g_autofree char *state = g_build_filename(scene_folder(f->scene), "zoe", "tpm", "tpm2-00.permall", NULL);
    g_autofree char *kept_state = scene_path(f->scene, "kept-state");

    create(f);
    add_contact(f);
    scene_agent_stop(f->user);
    test_swtpm_stop(scene_tpm(f->user));
    g_assert_cmpint(g_rename(state, kept_state), ==, 0);
    g_assert_cmpint(g_rename(keys, kept), ==, 0); /* of another machine, which this one leaves alone */
    test_swtpm_start(scene_tpm(f->user));
    scene_agent_start(f->user);
    TEST_AWAIT(verdict_is(f, "ok"));
    g_assert_false(knows_contact(f));
    scene_ctl_expect(f->user, DONE, "identity", "create", NULL);
    scene_agent_stop(f->user);
    test_swtpm_stop(scene_tpm(f->user));

    g_autofree char *others = scene_path(f->scene, "others");
    g_assert_cmpint(g_rename(keys, others), ==, 0);
    g_assert_cmpint(g_rename(kept, keys), ==, 0);
    g_assert_cmpint(g_rename(kept_state, state), ==, 0);
    test_swtpm_start(scene_tpm(f->user));
    scene_agent_start(f->user);
    g_assert_true(knows_contact(f));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add("/vault/" name, Fixture, NULL, set_up, test, tear_down)
    ADD("sealed", test_sealed);
    ADD("upgrade", test_upgrade);
    ADD("lost-key", test_lost_key);
    ADD("backup", test_backup);
    ADD("held", test_held);
    ADD("killed", test_killed);
    ADD("away", test_away);
    ADD("cleared", test_cleared);
    ADD("deleted", test_deleted);
    ADD("shared", test_shared);
    return g_test_run();
}
