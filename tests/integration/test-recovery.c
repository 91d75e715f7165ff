/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A machine is lost with its TPM. Its owner has a recovery key in files, as openssl(1) makes them: what was
 * sent before and after the loss is read on another machine, which takes over the address; who only has the
 * key that reads cannot. */

#include <string.h>

#include "tests/integration/mail.h"

enum { DONE = 0, FAILED = 1, USAGE = 2, NOT_FOUND = 4, AUTHENTICATION_FAILED = 5, UNTRUSTED = 8 };

#define LARGE_SIZE (2 * 1024 * 1024)

/* Two recovery keys, one to decrypt and one to sign. */
typedef struct Loss {
    MailPair pair;
    char *read, *sign;               /* private */
    char *read_public, *sign_public; /* what the identity names */
    char *alice, *bob;               /* addresses without pin */
} Loss;

static void openssl(const char *const *words)
{
    g_autofree char *err = NULL;

    if (test_run(words, NULL, NULL, NULL, &err) != 0)
        g_error("openssl: %s", err);
}

static void make_key(Loss *p, const char *name, char **ret, char **ret_public)
{
    g_autofree char *public = g_strconcat(name, ".public", NULL);

    *ret = scene_path(p->pair.scene, name);
    *ret_public = scene_path(p->pair.scene, public);
    const char *const make[] = {"openssl", "genrsa", "-out", *ret, "2048", NULL};
    const char *const export[] = {"openssl", "pkey", "-in", *ret, "-pubout", "-out", *ret_public, NULL};
    openssl(make);
    openssl(export);
}

static char *without_pin(const char *address)
{
    return g_strndup(address, strcspn(address, "#"));
}

static void set_up(Loss *p, gconstpointer data)
{
    mail_pair_open(&p->pair);
    make_key(p, "read.pem", &p->read, &p->read_public);
    make_key(p, "sign.pem", &p->sign, &p->sign_public);
    scene_user_register(p->pair.bob);
    p->alice = without_pin(scene_address(p->pair.alice));
    p->bob = without_pin(scene_address(p->pair.bob));
}

static void tear_down(Loss *p, gconstpointer data)
{
    mail_pair_close(&p->pair, NULL);
    g_free(p->read);
    g_free(p->sign);
    g_free(p->read_public);
    g_free(p->sign_public);
    g_free(p->alice);
    g_free(p->bob);
}

/* A fact of a contact, or of one's own identity when who is NULL; to be freed. */
static char *fact(SceneUser *u, const char *who, const char *key)
{
    json_t *facts =
        who ? scene_ctl_json(u, "contact", "show", who, NULL) : scene_ctl_json(u, "identity", "show", NULL);
    char *text = g_strdup(mail_fact(facts, key));

    json_decref(facts);
    return text;
}

/* How many recovery keys, of a contact or of one's own. */
static size_t recovery_keys(SceneUser *u, const char *who)
{
    json_t *facts =
        who ? scene_ctl_json(u, "contact", "show", who, NULL) : scene_ctl_json(u, "identity", "show", NULL);
    size_t n = json_array_size(json_object_get(facts, "recovery"));

    json_decref(facts);
    return n;
}

static void expect_read(SceneUser *u, size_t n, const char *expected)
{
    g_autofree char *text = mail_await(u, n);

    g_assert_cmpstr(text, ==, expected);
}

static void alice_registers(Loss *p)
{
    scene_ctl_expect(p->pair.alice, DONE, "register", scene_address(p->pair.alice), NULL);
    scene_ctl_expect(p->pair.bob, DONE, "contact", "add", p->alice, NULL);
    g_autofree char *fingerprint = fact(p->pair.alice, NULL, "fingerprint");
    scene_ctl_expect(p->pair.bob, DONE, "contact", "verify", p->alice, fingerprint, NULL);
}

/* Before and after the loss; Bob's client follows. */
static void test_take_over(Loss *p, gconstpointer data)
{
    SceneUser *alice = p->pair.alice, *bob = p->pair.bob, *new = scene_user_new(p->pair.scene, "new");
    g_autofree char *large = mail_file(p->pair.scene, "large.bin", LARGE_SIZE);
    g_autofree char *got = scene_path(p->pair.scene, "got.bin");

    scene_ctl_expect(alice, DONE, "identity", "create", "--recovery-key", p->read_public,
                     "--recovery-sign-key", p->sign_public, NULL);
    alice_registers(p);
    g_assert_cmpuint(recovery_keys(bob, p->alice), ==, 1);
    g_autofree char *first = mail_send(bob, p->alice, "one");
    expect_read(alice, 1, "one");
    scene_agent_kill(alice);
    g_autofree char *second = mail_send(bob, p->alice, "two");
    scene_ctl_expect(bob, DONE, "send", "-r", p->alice, large, NULL);
    TEST_AWAIT(mail_states_are(bob, "delivered,accepted,accepted"));

    /* the new machine */
    scene_ctl_expect(new, DONE, "identity", "import", p->read, "--sign-key", p->sign, NULL);
    scene_ctl_expect(new, DONE, "identity", "recover", scene_address(alice), NULL);
    TEST_AWAIT(mail_count(new, "new") == 2);
    g_assert_true(mail_has(new, "two"));
    g_auto(GStrv) ids = mail_ids(new);
    scene_ctl_expect(new, DONE, "read", ids[1], "-o", got, NULL);
    mail_files_equal(large, got);
    TEST_AWAIT(mail_states_are(bob, "delivered,delivered,delivered"));

    /* Bob follows, is told, and compares again */
    g_autofree char *log = NULL, *told = NULL;
    g_autoptr(TestProcess) monitor = mail_monitor(p->pair.scene, bob, "bob.log", &log);
    g_autofree char *third = mail_send(bob, p->alice, "three");
    TEST_AWAIT((g_free(told), told = mail_log(log), strstr(told, "recovered")));
    g_assert_null(strstr(told, "key-changed"));
    TEST_AWAIT(mail_count(new, NULL) == 3);
    g_assert_true(mail_has(new, "three"));
    g_autofree char *known = fact(bob, p->alice, "kid"), *true_one = fact(new, NULL, "kid");
    g_autofree char *trust = fact(bob, p->alice, "trust");
    g_assert_cmpstr(known, ==, true_one);
    g_assert_cmpstr(trust, ==, "pinned");
    g_assert_cmpuint(recovery_keys(bob, p->alice), ==, 0);
    g_autofree char *fourth = mail_send(new, p->bob, "I am back");
    expect_read(bob, 1, "I am back");

    /* it goes on as any other, also after a restart; once more there is nothing to recover */
    scene_agent_kill(new);
    scene_agent_start(new);
    scene_ctl_expect(new, FAILED, "identity", "recover", p->alice, NULL);
    scene_ctl_expect(new, DONE, "identity", "rotate", NULL);
    g_autofree char *fifth = mail_send(bob, p->alice, "five");
    TEST_AWAIT(mail_count(new, NULL) == 4);
    g_assert_true(mail_has(new, "five"));
    g_assert_true(mail_has(new, "two"));
}

/* Who has only the key that reads, reads, and takes over nothing. */
static void test_read_only(Loss *p, gconstpointer data)
{
    SceneUser *alice = p->pair.alice, *bob = p->pair.bob, *new = scene_user_new(p->pair.scene, "new");
    g_autofree char *package = NULL, *plain = NULL, *err = NULL;

    scene_ctl_expect(alice, DONE, "identity", "create", "--recovery-key", p->read_public, NULL);
    alice_registers(p);
    g_assert_cmpint(scene_ctl(bob, "a file", &package, &err, "encrypt", "-r", p->alice, NULL), ==, DONE);
    scene_ctl_expect(new, DONE, "identity", "import", p->read, "--sign-key", p->sign, NULL);
    scene_ctl_expect(new, FAILED, "identity", "recover", scene_address(alice), "--trust-relay", NULL);
    g_assert_cmpint(scene_ctl(new, package, &plain, NULL, "decrypt", "--allow-unknown", NULL), ==, DONE);
    g_assert_cmpstr(plain, ==, "a file");
    g_autofree char *mine = NULL;
    g_assert_cmpint(scene_ctl(alice, package, &mine, NULL, "decrypt", "--allow-unknown", NULL), ==, DONE);
    g_assert_cmpstr(mine, ==, "a file");
    /* and Alice is who she was */
    g_autofree char *id = mail_send(bob, p->alice, "still you");
    expect_read(alice, 1, "still you");
}

/* A copy of one message of alice's inbox; its path, to be freed. */
static char *keep_copy(Loss *p, const char *id, const char *name)
{
    char *path = scene_path(p->pair.scene, name);

    scene_ctl_expect(p->pair.alice, DONE, "inbox", "copy", id, "-o", path, NULL);
    return path;
}

static void expect_open(SceneUser *u, const char *path, const char *expected)
{
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;

    if (scene_ctl(u, NULL, &out, &err, "inbox", "open", path, "--allow-unknown", NULL) != DONE)
        g_error("%s: %s", path, err);
    g_assert_cmpstr(out, ==, expected);
}

/* What came before the loss is gone with the machine, unless it was copied: then the recovery key reads it,
 * also what had been encrypted anew after a rotation, and nobody else does. */
static void test_copies(Loss *p, gconstpointer data)
{
    SceneUser *alice = p->pair.alice, *bob = p->pair.bob, *new = scene_user_new(p->pair.scene, "new");
    g_autofree char *large = mail_file(p->pair.scene, "large.bin", LARGE_SIZE);
    g_autofree char *got = scene_path(p->pair.scene, "got.bin");

    scene_ctl_expect(alice, DONE, "identity", "create", "--recovery-key", p->read_public, NULL);
    alice_registers(p);
    g_autofree char *first = mail_send(bob, p->alice, "one");
    expect_read(alice, 1, "one");
    scene_ctl_expect(bob, DONE, "send", "-r", p->alice, large, NULL);
    TEST_AWAIT(mail_count(alice, NULL) == 2);
    g_auto(GStrv) ids = mail_ids(alice);
    scene_ctl_expect(alice, DONE, "lock", NULL);
    g_autofree char *small = keep_copy(p, ids[0], "one.hmsg"), *stream = keep_copy(p, ids[1], "large.hmsg");
    scene_ctl_expect(alice, DONE, "unlock", NULL);
    scene_ctl_expect(alice, NOT_FOUND, "inbox", "copy", p->alice, "-o", got, NULL);
    g_assert_false(g_file_test(got, G_FILE_TEST_EXISTS));
    /* encrypted to the next key */
    scene_ctl_expect(alice, DONE, "identity", "rotate", "--grace", "0", NULL);
    g_autofree char *anew = NULL;
    TEST_AWAIT((g_free(anew), anew = keep_copy(p, ids[0], "anew.hmsg"), !mail_files_same(small, anew)));
    expect_open(alice, anew, "one");
    scene_agent_kill(alice);

    scene_ctl_expect(new, DONE, "identity", "import", p->read, "--sign-key", p->sign, NULL);
    expect_open(new, small, "one");
    expect_open(new, anew, "one");
    scene_ctl_expect(new, UNTRUSTED, "inbox", "open", small, NULL);
    scene_ctl_expect(new, DONE, "inbox", "open", stream, "-o", got, "--allow-unknown", NULL);
    mail_files_equal(large, got);
    json_t *facts = scene_ctl_json(new, "inbox", "open", small, "--allow-unknown", NULL);
    g_assert_cmpstr(mail_fact(facts, "content"), ==, "one");
    g_assert_null(json_object_get(facts, "received"));
    json_decref(facts);
    /* no message, though it decrypts; and nobody else's */
    g_autofree char *package = NULL;
    g_assert_cmpint(scene_ctl(bob, "a file", &package, NULL, "encrypt", "-r", p->alice, NULL), ==, DONE);
    g_assert_cmpint(scene_ctl(new, package, NULL, NULL, "inbox", "open", "--allow-unknown", NULL), ==,
                    AUTHENTICATION_FAILED);
    scene_ctl_expect(bob, AUTHENTICATION_FAILED, "inbox", "open", small, NULL);
    scene_ctl_expect(bob, AUTHENTICATION_FAILED, "inbox", "open", stream, NULL);
}

/* Two, one of which only reads: both read, and only the other can be the owner. */
static void test_two(Loss *p, gconstpointer data)
{
    SceneUser *alice = p->pair.alice, *bob = p->pair.bob;
    SceneUser *notary = scene_user_new(p->pair.scene, "notary"), *new = scene_user_new(p->pair.scene, "new");
    g_autofree char *read = NULL, *read_public = NULL, *sign = NULL, *sign_public = NULL;
    g_autofree char *package = NULL, *out = NULL, *anew = NULL;

    make_key(p, "notary.pem", &read, &read_public);
    make_key(p, "notary-sign.pem", &sign, &sign_public);
    scene_ctl_expect(alice, USAGE, "identity", "create", "--recovery-key", p->read_public, "--recovery-key",
                     p->read_public, NULL);
    scene_ctl_expect(alice, USAGE, "identity", "create", "--recovery-key", p->read_public, "--recovery-key",
                     read_public, "--recovery-key", sign_public, NULL);
    scene_ctl_expect(alice, DONE, "identity", "create", "--recovery-key", read_public, "--recovery-key",
                     p->read_public, "--recovery-sign-key", p->sign_public, NULL);
    g_assert_cmpuint(recovery_keys(alice, NULL), ==, 2);
    alice_registers(p);
    g_assert_cmpuint(recovery_keys(bob, p->alice), ==, 2);
    g_assert_cmpint(scene_ctl(bob, "a file", &package, NULL, "encrypt", "-r", p->alice, NULL), ==, DONE);
    g_autofree char *first = mail_send(bob, p->alice, "one");
    expect_read(alice, 1, "one");
    scene_agent_kill(alice);
    g_autofree char *second = mail_send(bob, p->alice, "two");

    scene_ctl_expect(notary, DONE, "identity", "import", read, "--sign-key", sign, NULL);
    g_assert_cmpint(scene_ctl(notary, package, &out, NULL, "decrypt", "--allow-unknown", NULL), ==, DONE);
    g_assert_cmpstr(out, ==, "a file");
    scene_ctl_expect(notary, FAILED, "identity", "recover", scene_address(alice), "--trust-relay", NULL);
    /* and the one whose sign key came behind it */
    scene_ctl_expect(new, DONE, "identity", "import", p->read, "--sign-key", p->sign, NULL);
    scene_ctl_expect(new, DONE, "identity", "recover", scene_address(alice), "--trust-relay",
                     "--recovery-key", read_public, "--recovery-sign-key", sign_public, NULL);
    TEST_AWAIT(mail_count(new, "new") == 1);
    g_assert_true(mail_has(new, "two"));
    g_assert_cmpint(scene_ctl(new, package, &anew, NULL, "decrypt", "--allow-unknown", NULL), ==, DONE);
    g_assert_cmpstr(anew, ==, "a file");
    /* one can go, the other stays */
    g_assert_cmpuint(recovery_keys(new, NULL), ==, 1);
    scene_ctl_expect(new, DONE, "identity", "rotate", "--recovery-key", read_public, "--recovery-key",
                     sign_public, NULL);
    g_assert_cmpuint(recovery_keys(new, NULL), ==, 2);
    scene_ctl_expect(new, DONE, "identity", "rotate", "--recovery-key", sign_public, NULL);
    g_assert_cmpuint(recovery_keys(new, NULL), ==, 1);
}

/* Named, seen by contacts, kept by a rotation, and taken back; a key that is none is refused. */
static void test_change(Loss *p, gconstpointer data)
{
    SceneUser *alice = p->pair.alice, *bob = p->pair.bob;

    scene_ctl_expect(alice, USAGE, "identity", "create", "--recovery-key", p->read, NULL);
    scene_ctl_expect(alice, USAGE, "identity", "create", "--recovery-sign-key", p->sign_public, NULL);
    scene_ctl_expect(alice, USAGE, "identity", "create", "--recovery-key", p->read_public,
                     "--recovery-sign-key", p->read_public, NULL);
    scene_ctl_expect(alice, DONE, "identity", "create", NULL);
    g_assert_cmpuint(recovery_keys(alice, NULL), ==, 0);
    alice_registers(p);
    g_autofree char *first = mail_send(bob, p->alice, "one");
    expect_read(alice, 1, "one");
    scene_ctl_expect(alice, USAGE, "identity", "rotate", "--recovery-key", p->read_public, "--no-recovery",
                     NULL);
    scene_ctl_expect(alice, DONE, "identity", "rotate", "--recovery-key", p->read_public, NULL);
    g_assert_cmpuint(recovery_keys(alice, NULL), ==, 1);
    scene_ctl_expect(alice, DONE, "identity", "rotate", NULL);
    g_assert_cmpuint(recovery_keys(alice, NULL), ==, 1);
    g_autofree char *second = mail_send(alice, p->bob, "seen");
    expect_read(bob, 1, "seen");
    g_assert_cmpuint(recovery_keys(bob, p->alice), ==, 1);
    scene_agent_kill(alice);
    scene_agent_start(alice);
    g_assert_cmpuint(recovery_keys(alice, NULL), ==, 1);
    g_autofree char *third = mail_send(bob, p->alice, "three");
    TEST_AWAIT(mail_count(alice, NULL) == 2);
    g_assert_true(mail_has(alice, "one"));
    g_assert_true(mail_has(alice, "three"));
    scene_ctl_expect(alice, DONE, "identity", "rotate", "--no-recovery", NULL);
    g_assert_cmpuint(recovery_keys(alice, NULL), ==, 0);
    g_autofree char *trust = fact(bob, p->alice, "trust");
    g_assert_cmpstr(trust, ==, "verified");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add("/recovery/" name, Loss, NULL, set_up, test, tear_down)
    ADD("take-over", test_take_over);
    ADD("read-only", test_read_only);
    ADD("copies", test_copies);
    ADD("two", test_two);
    ADD("change", test_change);
    return g_test_run();
}
