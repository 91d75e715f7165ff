/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* hmsgctl identity import and approve, with key files as openssl(1) writes them. */

#include <glib/gstdio.h>
#include <string.h>

#include "tests/integration/mail.h"
#include "tests/lib/process.h"

#define TEXT "Dear Alice,\nhere are the plans.\n"
#define PASSWORD "the password of the file"

enum { DONE = 0, FAILED = 1, USAGE = 2, NO_IDENTITY = 3 };

/* Bob has an identity, Alice a key in a file. */
typedef struct Pair {
    Scene *scene;
    SceneUser *alice, *bob;
    char *key, *public, *encrypted, *password;
} Pair;

static void openssl(const char *const *words)
{
    g_autofree char *err = NULL;

    if (test_run(words, NULL, NULL, NULL, &err) != 0)
        g_error("openssl: %s", err);
}

static void set_up(Pair *p, gconstpointer data)
{
    p->scene = scene_new();
    p->alice = scene_user_new(p->scene, "alice");
    p->bob = scene_user_new(p->scene, "bob");
    scene_ctl_expect(p->bob, DONE, "identity", "create", NULL);
    p->key = scene_path(p->scene, "key.pem");
    p->public = scene_path(p->scene, "public.pem");
    p->encrypted = scene_path(p->scene, "encrypted.pem");
    p->password = scene_path(p->scene, "password");
    g_assert_true(g_file_set_contents(p->password, PASSWORD "\n", -1, NULL));
    g_autofree char *source = g_strconcat("file:", p->password, NULL);
    const char *const make[] = {"openssl", "genrsa", "-out", p->key, "2048", NULL};
    const char *const export[] = {"openssl", "pkey", "-in", p->key, "-pubout", "-out", p->public, NULL};
    const char *const encrypt[] = {"openssl", "pkcs8",      "-topk8",   "-in",  p->key,
                                   "-out",    p->encrypted, "-passout", source, NULL};
    openssl(make);
    openssl(export);
    openssl(encrypt);
}

static void tear_down(Pair *p, gconstpointer data)
{
    scene_free(p->scene);
    g_free(p->key);
    g_free(p->public);
    g_free(p->encrypted);
    g_free(p->password);
}

/* For Alice, by Bob, while her key is but a file. */
static char *package(Pair *p)
{
    g_autofree char *recipient = g_strconcat("key:", p->public, NULL), *err = NULL;
    char *out = NULL;

    if (scene_ctl(p->bob, TEXT, &out, &err, "encrypt", "-r", recipient, NULL) != DONE)
        g_error("encrypt: %s", err);
    return out;
}

static void opens(Pair *p, const char *package)
{
    g_autofree char *out = NULL, *err = NULL;

    if (scene_ctl(p->alice, package, &out, &err, "decrypt", "--allow-unknown", NULL) != DONE)
        g_error("decrypt: %s", err);
    g_assert_cmpstr(out, ==, TEXT);
}

static void test_import(Pair *p, gconstpointer data)
{
    g_autofree char *before = package(p), *err = NULL;

    scene_ctl_expect(p->alice, USAGE, "identity", "import", NULL);
    scene_ctl_expect(p->alice, USAGE, "identity", "import", p->public, NULL);
    scene_ctl_expect(p->alice, USAGE, "identity", "import", p->key, "--sign-key", p->key, NULL);
    g_assert_cmpint(scene_ctl(p->alice, NULL, NULL, &err, "identity", "import", p->key, NULL), ==, DONE);
    g_assert_nonnull(strstr(err, "still holds the key"));
    json_t *facts = scene_ctl_json(p->alice, "identity", "show", NULL);
    g_assert_cmpstr(json_string_value(json_object_get(facts, "protection")), ==, "imported");
    json_decref(facts);
    opens(p, before);
}

/* Bob sees what Alice's keys are. */
static void test_contact(Pair *p, gconstpointer data)
{
    g_autofree char *exported = scene_path(p->scene, "alice.identity"), *err = NULL;

    scene_ctl_expect(p->alice, DONE, "identity", "import", p->key, NULL);
    scene_ctl_expect(p->alice, DONE, "identity", "export", "-o", exported, NULL);
    scene_ctl_expect(p->bob, DONE, "contact", "add", "--key", exported, "--name", "Alice", NULL);
    json_t *contact = scene_ctl_json(p->bob, "contact", "show", "Alice", NULL);
    g_assert_cmpstr(json_string_value(json_object_get(contact, "protection")), ==, "imported");
    json_decref(contact);
    g_assert_cmpint(
        scene_ctl(p->bob, NULL, NULL, &err, "contact", "add", "--key", p->public, "--name", "bare", NULL), ==,
        FAILED); /* without the sign key that goes with it */
    g_assert_nonnull(strstr(err, "The owner of this key is a contact already"));
    scene_ctl_expect(p->bob, DONE, "contact", "forget", "Alice", NULL);
    scene_ctl_expect(p->bob, DONE, "contact", "add", "--key", p->public, "--name", "bare", NULL);
    contact = scene_ctl_json(p->bob, "contact", "show", "bare", NULL);
    g_assert_cmpstr(json_string_value(json_object_get(contact, "protection")), ==, "");
    json_decref(contact);
}

/* The password comes by standard input, as any descriptor. */
static void test_encrypted(Pair *p, gconstpointer data)
{
    g_autofree char *before = package(p);

    scene_ctl_expect(p->alice, USAGE, "identity", "import", p->encrypted, "--no-ask", NULL);
    g_assert_cmpint(scene_ctl(p->alice, "another\n", NULL, NULL, "identity", "import", p->encrypted,
                              "--password-fd", "0", NULL),
                    ==, NO_IDENTITY);
    g_assert_cmpint(scene_ctl(p->alice, PASSWORD "\n", NULL, NULL, "identity", "import", p->encrypted,
                              "--password-fd", "0", "--generation", "none", NULL),
                    ==, DONE);
    opens(p, before);
}

/* The same key to approve PCRs with, as they are. */
static void test_policy_key(Pair *p, gconstpointer data)
{
    scene_ctl_expect(p->alice, USAGE, "identity", "create", "--pcrs", "7", NULL);
    scene_ctl_expect(p->alice, USAGE, "identity", "create", "--pcrs", "99", "--policy-key", p->key, NULL);
    scene_ctl_expect(p->alice, DONE, "identity", "create", "--pcrs", "7,11", "--policy-key", p->key, NULL);
    json_t *facts = scene_ctl_json(p->alice, "identity", "show", NULL);
    g_assert_cmpstr(json_string_value(json_object_get(facts, "pcrs")), ==, "7,11");
    g_assert_cmpstr(json_string_value(json_object_get(facts, "protection")), ==, "tpm");
    json_decref(facts);
    scene_ctl_expect(p->alice, DONE, "identity", "approve", p->key, NULL);
    g_assert_cmpint(scene_ctl(p->alice, PASSWORD "\n", NULL, NULL, "identity", "approve", p->encrypted,
                              "--password-fd", "0", NULL),
                    ==, DONE);
    scene_ctl_expect(p->alice, USAGE, "identity", "approve", p->public, NULL);
    scene_ctl_expect(p->bob, USAGE, "identity", "approve", p->key, NULL); /* whose keys are bound to none */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/import/import", Pair, NULL, set_up, test_import, tear_down);
    g_test_add("/import/contact", Pair, NULL, set_up, test_contact, tear_down);
    g_test_add("/import/encrypted", Pair, NULL, set_up, test_encrypted, tear_down);
    g_test_add("/import/policy-key", Pair, NULL, set_up, test_policy_key, tear_down);
    return g_test_run();
}
