/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* CMS as a user has it: hmsgctl and a TPM on one side, the openssl program on the other. */

#include <openssl/pem.h>
#include <string.h>

#include "libhmsg/wire/export.h"
#include "tests/lib/person.h"
#include "tests/lib/scene.h"

#define TEXT "Dear Bob,\nhere are the plans.\n"

enum { DONE, FAILED, USAGE, NO_IDENTITY, NOT_FOUND, FORGED, NO_TPM, NO_RELAY, UNTRUSTED };

/* Alice has no TPM, Bob has one. In the folder: his key as bob.pem, a certificate of it as bob.crt; her
 * own as alice.key and alice.crt. */
typedef struct World {
    Scene *scene;
    SceneUser *bob;
    TestPerson *alice;
} World;

/* A shell script in the scene's folder. */
static void run(const World *w, const char *script)
{
    static const char prelude[] =
        "oaep='-keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 -keyopt rsa_mgf1_md:sha256'\n"
        "encrypt() { openssl cms -encrypt -binary -in plain -outform DER \"$@\"; }\n"
        "sign() { openssl cms -sign -binary -nodetach -outform DER -signer alice.crt -inkey alice.key "
        "-keyopt rsa_padding_mode:pss -md sha256 \"$@\"; }\n";
    g_autofree char *text = g_strconcat(prelude, script, NULL), *said = NULL;
    char shell[] = "sh", option[] = "-ec", *argv[] = {shell, option, text, NULL};
    g_autoptr(GError) error = NULL;
    int status = 0;

    g_spawn_sync(scene_folder(w->scene), argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, &said, &status,
                 &error);
    g_assert_no_error(error);
    if (!g_spawn_check_wait_status(status, NULL))
        g_error("%s: %s", script, said);
}

static void save_private(const World *w, const char *name, EVP_PKEY *key)
{
    g_autofree char *path = scene_path(w->scene, name);
    FILE *file = fopen(path, "we");

    g_assert_nonnull(file);
    g_assert_cmpint(PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), ==, 1);
    g_assert_cmpint(fclose(file), ==, 0);
}

static void set_up(World *w, gconstpointer data)
{
    w->scene = scene_new();
    w->bob = scene_user_new(w->scene, "bob");
    w->alice = test_person_new();
    scene_ctl_expect(w->bob, DONE, "identity", "create", NULL);
    g_autofree char *key = scene_path(w->scene, "bob.pem"), *plain = scene_path(w->scene, "plain");
    scene_ctl_expect(w->bob, DONE, "identity", "export", "--format", "pem", "-o", key, NULL);
    g_assert_true(g_file_set_contents(plain, TEXT, -1, NULL));
    save_private(w, "alice.key", w->alice->sign_private);
    save_private(w, "alice-decrypt.key", w->alice->decrypt_private);
    run(w, "openssl req -x509 -new -key alice.key -subj /CN=Alice -days 2 -out alice.crt\n"
           "openssl req -x509 -new -key alice-decrypt.key -subj /CN=Alice -days 2 -out alice-decrypt.crt\n"
           "printf 'subjectKeyIdentifier=hash' > ext\n"
           "openssl x509 -new -subj /CN=Bob -force_pubkey bob.pem -CA alice.crt -CAkey alice.key -days 2 "
           "-extfile ext -out bob.crt");
}

static void tear_down(World *w, gconstpointer data)
{
    test_person_free(w->alice);
    scene_free(w->scene);
}

static char *key_option(const World *w, const char *name)
{
    g_autofree char *path = scene_path(w->scene, name);

    return g_strconcat("key:", path, NULL);
}

/* decrypt FILE of the scene's folder. */
static void opens(const World *w, const char *name, const char *option)
{
    g_autofree char *path = scene_path(w->scene, name), *out = NULL, *err = NULL;
    int status = scene_ctl(w->bob, NULL, &out, &err, "decrypt", path, option, NULL);

    if (status != DONE)
        g_error("decrypt exits with %d: %s", status, err);
    g_assert_cmpstr(out, ==, TEXT);
}

static void refuses(const World *w, const char *name, const char *option, int expected, const char *why)
{
    g_autofree char *path = scene_path(w->scene, name), *out = NULL, *err = NULL;

    g_assert_cmpint(scene_ctl(w->bob, NULL, &out, &err, "decrypt", path, option, NULL), ==, expected);
    g_assert_cmpstr(out, ==, "");
    if (why && !strstr(err, why))
        g_error("it says: %s", err);
}

static void expect_file(const World *w, const char *name)
{
    g_autofree char *path = scene_path(w->scene, name), *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, TEXT);
}

/* Bob writes, openssl reads: to a key and to a certificate, in PEM and DER, signed and not. */
static void test_to_openssl(World *w, gconstpointer data)
{
    g_autofree char *plain = scene_path(w->scene, "plain"), *m = scene_path(w->scene, "m"),
                    *der = scene_path(w->scene, "m.der"), *s = scene_path(w->scene, "s");
    g_autofree char *cert = key_option(w, "alice-decrypt.crt"), *key = key_option(w, "alice-decrypt.pub"),
                    *bob = key_option(w, "bob.pem");

    run(w, "openssl pkey -in alice-decrypt.key -pubout -out alice-decrypt.pub");
    const char *const recipients[] = {key, cert};
    for (size_t i = 0; i < G_N_ELEMENTS(recipients); i++) {
        scene_ctl_expect(w->bob, DONE, "encrypt", "--format=cms", "-r", recipients[i], "-o", m, plain, NULL);
        scene_ctl_expect(w->bob, DONE, "encrypt", "--format=cms-der", "-r", bob, "-r", recipients[i], "-o",
                         der, plain, NULL);
        run(w, "rm -f out; openssl cms -decrypt -inform PEM -in m -inkey alice-decrypt.key -out out");
        expect_file(w, "out");
        run(w, "rm -f out; openssl cms -decrypt -inform DER -in m.der -inkey alice-decrypt.key "
               "-recip alice-decrypt.crt -out out");
        expect_file(w, "out");
        refuses(w, "m.der", NULL, UNTRUSTED, "Who made it stands inside the encryption, if anywhere");
        opens(w, "m.der", "--allow-unknown");
        refuses(w, "m", "--allow-unknown", FORGED, NULL); /* for Alice alone */
    }
    scene_ctl_expect(w->bob, DONE, "encrypt", "--format=cms", "--sign", "-r", cert, "-r", bob, "-o", s, plain,
                     NULL);
    json_t *facts = scene_ctl_json(w->bob, "decrypt", "--allow-unknown", s, NULL);
    g_assert_true(json_is_true(json_object_get(facts, "verified")));
    g_assert_cmpstr(json_string_value(json_object_get(facts, "format")), ==, "cms");
    g_assert_cmpstr(json_string_value(json_object_get(facts, "content")), ==, TEXT);
    json_decref(facts);
    /* a certificate of his sign key, from the request for one */
    g_autofree char *csr = scene_path(w->scene, "bob.csr");
    scene_ctl_expect(w->bob, DONE, "identity", "export", "--format=csr", "--subject=Bob", "-o", csr, NULL);
    run(w, "openssl x509 -req -in bob.csr -CA alice.crt -CAkey alice.key -CAcreateserial -extfile ext "
           "-out bob-sign.crt\n"
           "openssl cms -decrypt -inform PEM -in s -inkey alice-decrypt.key -out signed\n"
           "rm -f out; openssl cms -verify -binary -inform DER -in signed -certfile bob-sign.crt -noverify "
           "-out out");
    expect_file(w, "out");
}

/* What may not be encrypted to is refused with words. */
static void test_certificates(World *w, gconstpointer data)
{
    static const struct {
        long from, to;
        const char *usage, *says;
        int status;
    } cases[] = {
        {-7200, -3600, NULL, "The certificate has expired", UNTRUSTED},
        {3600, 7200, NULL, "The certificate is not valid yet", UNTRUSTED},
        {-60, 3600, "digitalSignature", "is not for encryption", UNTRUSTED},
        {-60, 3600, "keyEncipherment", NULL, DONE},
    };
    g_autofree char *path = scene_path(w->scene, "some.crt"), *key = key_option(w, "some.crt");

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) der =
            test_certificate_new(w->alice->decrypt_private, cases[i].from, cases[i].to, cases[i].usage, true);
        g_autofree char *err = NULL;

        g_assert_true(g_file_set_contents(path, (const char *)der->data, der->len, NULL));
        g_assert_cmpint(scene_ctl(w->bob, TEXT, NULL, &err, "encrypt", "--format=cms", "-r", key, NULL), ==,
                        cases[i].status);
        g_assert_true(!cases[i].says || strstr(err, cases[i].says));
    }
}

/* openssl writes, the TPM reads. */
static void test_from_openssl(World *w, gconstpointer data)
{
    run(w, "encrypt -aes-256-gcm -recip bob.crt $oaep -out m1\n"
           "encrypt -aes-256-gcm -recip bob.crt -keyid $oaep -outform PEM -out m2\n"
           "encrypt -aes-256-gcm -recip alice-decrypt.crt -keyopt rsa_padding_mode:oaep -keyopt "
           "rsa_oaep_md:sha256 -recip bob.crt -keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 "
           "-keyid -out m3\n"
           "encrypt -aes-256-gcm -recip bob.crt -out old\n"
           "encrypt -aes-256-cbc -recip bob.crt $oaep -out cbc\n"
           "sign -in cbc -out signed\n"
           "head -c 300 m1 > cut; cp m1 more; echo >> more");
    for (const char *const *name = (const char *const[]){"m1", "m2", "m3", NULL}; *name; name++) {
        refuses(w, *name, NULL, UNTRUSTED, NULL);
        opens(w, *name, "--allow-unknown");
    }
    refuses(w, "old", "--allow-unknown", FORGED, "PKCS#1 v1.5");
    refuses(w, "cbc", "--allow-unknown", FORGED, "EnvelopedData without a signature");
    refuses(w, "cut", "--allow-unknown", FORGED, NULL);
    refuses(w, "more", "--allow-unknown", FORGED, NULL);
    refuses(w, "signed", "--allow-unknown", UNTRUSTED, "Without a signer who is known");

    /* once Alice is a contact, with her keys */
    g_autofree char *statement = test_person_statement(w->alice, "alice@relay.example"),
                    *path = scene_path(w->scene, "alice.json"), *signed_one = scene_path(w->scene, "signed");
    Buf exported = BUF_MAX(KEY_FILE_SIZE_MAX);
    g_assert_cmpint(export_write(statement, strlen(statement), &exported), ==, 0);
    g_assert_true(g_file_set_contents(path, buf_text(&exported), -1, NULL));
    buf_done(&exported);
    scene_ctl_expect(w->bob, DONE, "contact", "add", "--key", path, "--name", "Alice", NULL);
    opens(w, "signed", NULL);
    json_t *facts = scene_ctl_json(w->bob, "decrypt", signed_one, NULL);
    g_assert_true(json_is_true(json_object_get(facts, "verified")));
    g_assert_cmpstr(json_string_value(json_object_get(facts, "sender")), ==, "alice@relay.example");
    json_decref(facts);
    scene_ctl_expect(w->bob, DONE, "contact", "block", "Alice", NULL);
    refuses(w, "signed", "--allow-unknown", UNTRUSTED, "blocked");
}

/* What names a key of before by its identifier still opens. */
static void test_rotated(World *w, gconstpointer data)
{
    g_autofree char *plain = scene_path(w->scene, "plain"), *before = scene_path(w->scene, "before"),
                    *bob = key_option(w, "bob.pem");

    scene_ctl_expect(w->bob, DONE, "encrypt", "--format=cms", "--sign", "-r", bob, "-o", before, plain, NULL);
    run(w, "encrypt -aes-256-gcm -recip bob.crt -keyid $oaep -out named\n"
           "encrypt -aes-256-gcm -recip bob.crt $oaep -out other");
    scene_ctl_expect(w->bob, DONE, "identity", "rotate", NULL);
    opens(w, "before", "--allow-unknown");
    opens(w, "named", "--allow-unknown");
    refuses(w, "other", "--allow-unknown", FORGED, NULL); /* tried with the key of now */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/cms/to-openssl", World, NULL, set_up, test_to_openssl, tear_down);
    g_test_add("/cms/certificates", World, NULL, set_up, test_certificates, tear_down);
    g_test_add("/cms/from-openssl", World, NULL, set_up, test_from_openssl, tear_down);
    g_test_add("/cms/rotated", World, NULL, set_up, test_rotated, tear_down);
    return g_test_run();
}
