/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mail between Alice, whose keys are in a TPM, and Bob, whose keys are in software. */

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <string.h>

#include "tests/integration/looker.h"
#include "tests/integration/mail.h"
#include "tests/lib/process.h"

#define PASSWORD "correct horse battery staple"
#define TEXT "Dear Bob,\nhere are the plans.\n"

#define FORGED 5 /* exit status: BadPackage */
#define UNTRUSTED 8

#define PIECE 48 /* bytes of a number that are looked for */

typedef struct Data {
    int looker; /* -1: nobody may look into memory */
} Data;

static void set_up(MailPair *p, gconstpointer data)
{
    mail_pair_open(p);
    scene_user_register(p->alice);
}

/* hmsgctl with the password on descriptor 3. */
static void with_password(MailPair *p, const char *words)
{
    g_autofree char *file = scene_path(p->scene, "password");
    g_autofree char *command =
        g_strdup_printf("exec '%s/cli/hmsgctl' %s --pin-fd 3 3<'%s'", g_getenv("HMSG_BUILD"), words, file);
    const char *const argv[] = {"sh", "-c", command, NULL};
    g_autofree char *err = NULL;

    g_assert_true(g_file_set_contents(file, PASSWORD "\n", -1, NULL));
    if (test_run(argv, scene_environment(p->bob), NULL, NULL, &err) != 0)
        g_error("hmsgctl %s: %s", words, err);
}

static void expect_info(SceneUser *u, const char *id, const char *ours, const char *theirs)
{
    json_t *info = scene_ctl_json(u, "read", id, NULL);

    g_assert_cmpstr(mail_fact(info, "protection"), ==, ours);
    g_assert_cmpstr(mail_fact(info, "sender_protection"), ==, theirs);
    json_decref(info);
}

static void exchange(MailPair *p, size_t n)
{
    g_autofree char *there = mail_send(p->alice, scene_address(p->bob), TEXT);
    g_autofree char *got = mail_await(p->bob, n);
    g_autofree char *back = mail_send(p->bob, scene_address(p->alice), "Thanks.");
    g_autofree char *thanks = mail_await(p->alice, n);

    g_assert_cmpstr(got, ==, TEXT);
    g_assert_cmpstr(thanks, ==, "Thanks.");
}

/* The middle of a secret number, in the order of files and in that of OpenSSL's memory. */
static void add_number(GPtrArray *needles, const EVP_PKEY *key, const char *name)
{
    BIGNUM *n = NULL;
    guint8 bytes[256], reversed[PIECE];

    g_assert_cmpint(EVP_PKEY_get_bn_param(key, name, &n), ==, 1);
    g_assert_cmpint(BN_num_bytes(n), <=, (int)sizeof(bytes));
    int size = BN_bn2bin(n, bytes);
    g_assert_cmpint(size, >, 2 * PIECE);
    const guint8 *piece = bytes + size / 2 - PIECE / 2;
    for (int i = 0; i < PIECE; i++)
        reversed[i] = piece[PIECE - 1 - i];
    g_ptr_array_add(needles, g_bytes_new(piece, PIECE));
    g_ptr_array_add(needles, g_bytes_new(reversed, PIECE));
    BN_clear_free(n);
}

static void add_key(GPtrArray *needles, MailPair *p, const char *path)
{
    static const char *const numbers[] = {OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
                                          OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
                                          OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
    g_autofree char *opened = scene_path(p->scene, "opened.der"), *err = NULL, *der = NULL;
    const char *const argv[] = {"openssl", "pkey", "-in",      path,  "-passin", "pass:" PASSWORD,
                                "-out",    opened, "-outform", "DER", NULL};
    gsize n = 0;

    if (test_run(argv, NULL, NULL, NULL, &err) != 0)
        g_error("openssl pkey: %s", err);
    g_assert_true(g_file_get_contents(opened, &der, &n, NULL));
    const unsigned char *at = (const unsigned char *)der;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)n);
    g_assert_nonnull(key);
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        add_number(needles, key, numbers[i]);
    EVP_PKEY_free(key);
}

/* Bob's private keys, and his password, in what root reads of his agent's memory. */
static void look(MailPair *p, int looker)
{
    g_autoptr(GPtrArray) needles = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    const char *data = g_environ_getenv((char **)(uintptr_t)scene_environment(p->bob), "XDG_DATA_HOME");

    if (looker < 0) {
        g_test_message("only root can look into the agent's memory");
        return;
    }
    g_autofree char *keys = g_build_filename(data, "hmsg", "keys", NULL);
    g_autoptr(GDir) dir = g_dir_open(keys, 0, NULL);
    const char *folder = dir ? g_dir_read_name(dir) : NULL;

    g_assert_nonnull(folder);
    g_autofree char *decrypt = g_build_filename(keys, folder, "decrypt.pem", NULL);
    g_autofree char *sign = g_build_filename(keys, folder, "sign.pem", NULL);
    add_key(needles, p, decrypt);
    add_key(needles, p, sign);
    g_ptr_array_add(needles, g_bytes_new_static(PASSWORD, strlen(PASSWORD)));
    g_assert_cmphex(looker_find(looker, scene_agent_pid(p->bob), needles), ==, 1);
}

static void test_exchange(MailPair *p, gconstpointer data)
{
    const Data *d = data;

    with_password(p, "identity create --protection software");
    scene_ctl_expect(p->bob, 0, "register", scene_address(p->bob), NULL);
    exchange(p, 1);
    g_auto(GStrv) at_bob = mail_ids(p->bob);
    g_auto(GStrv) at_alice = mail_ids(p->alice);
    expect_info(p->bob, at_bob[0], "software", "tpm");
    expect_info(p->alice, at_alice[0], "tpm", "software");
    json_t *contact = scene_ctl_json(p->alice, "contact", "show", scene_address(p->bob), NULL);
    g_assert_cmpstr(mail_fact(contact, "protection"), ==, "software");
    json_decref(contact);

    look(p, d->looker);
    scene_ctl_expect(p->bob, 0, "lock", NULL);
    look(p, d->looker);

    /* mail that comes while he is locked, and after he has rotated */
    scene_agent_stop(p->bob);
    scene_agent_start(p->bob);
    scene_ctl_expect(p->bob, 3, "identity", "rotate", "--no-ask", NULL);
    g_autofree char *id = mail_send(p->alice, scene_address(p->bob), TEXT);
    TEST_AWAIT(mail_states_are(p->alice, "delivered,accepted"));
    with_password(p, "unlock"); /* until then he cannot log in */
    g_autofree char *late = mail_await(p->bob, 2);
    g_assert_cmpstr(late, ==, TEXT);
    scene_ctl_expect(p->bob, 0, "identity", "rotate", NULL);
    json_t *identity = scene_ctl_json(p->bob, "identity", "show", NULL);
    g_assert_cmpint(json_integer_value(json_object_get(identity, "generation")), ==, 2);
    g_assert_cmpstr(mail_fact(identity, "protection"), ==, "software");
    json_decref(identity);
    g_autofree char *again = mail_read(p->bob, at_bob[0]);
    g_assert_cmpstr(again, ==, TEXT);
    g_autofree char *third = mail_send(p->alice, scene_address(p->bob), TEXT);
    g_autofree char *last = mail_await(p->bob, 3);
    g_assert_cmpstr(last, ==, TEXT);
    g_autofree char *found = NULL, *exported = NULL;
    g_assert_cmpint(scene_ctl(p->bob, NULL, &found, NULL, "doctor", NULL), ==, 1); /* not all is well */
    g_assert_nonnull(strstr(found, "in software"));
    g_assert_cmpint(scene_ctl(p->bob, NULL, &exported, NULL, "identity", "export", "--format", "pem", NULL),
                    ==, 0);
    g_assert_nonnull(strstr(exported, "-----BEGIN"));
}

/* decrypt of text, with up to two options; the exit status. */
static int decrypt(SceneUser *u, const char *text, const char *a, const char *b, char **ret_err)
{
    g_autofree char *out = NULL;
    int status = scene_ctl(u, text, &out, ret_err, "decrypt", a, b, NULL);

    if (status == 0)
        g_assert_cmpstr(out, ==, TEXT);
    else
        g_assert_cmpstr(out, ==, "");
    return status;
}

/* A JWE by RSA-OAEP with SHA-1, from jwcrypto: Bob opens it when he says so, Alice's TPM cannot. */
static void test_oaep_sha1(MailPair *p, gconstpointer data)
{
    static const char script[] = "import sys\n"
                                 "try:\n"
                                 "    from jwcrypto import jwe, jwk\n"
                                 "except ImportError:\n"
                                 "    sys.exit(77)\n"
                                 "key = jwk.JWK.from_pem(sys.stdin.buffer.read())\n"
                                 "token = jwe.JWE(sys.argv[1], '{\"alg\":\"RSA-OAEP\",\"enc\":\"A256GCM\"}', "
                                 "algs=['RSA-OAEP', 'A256GCM'])\n"
                                 "token.add_recipient(key)\n"
                                 "sys.stdout.write(token.serialize(compact=True))\n";
    SceneUser *const users[] = {p->alice, p->bob};

    with_password(p, "identity create --protection software");
    for (size_t i = 0; i < G_N_ELEMENTS(users); i++) {
        const char *const argv[] = {"/usr/bin/python3", "-B", "-c", script, TEXT, NULL};
        g_autofree char *key = NULL, *jwe = NULL, *err = NULL, *why = NULL, *allowed = NULL, *unknown = NULL;

        g_assert_cmpint(scene_ctl(users[i], NULL, &key, NULL, "identity", "export", "--format", "pem", NULL),
                        ==, 0);
        int status = test_run(argv, NULL, key, &jwe, &err);
        if (status == 77) {
            g_test_skip("python3-jwcrypto is missing");
            return;
        }
        if (status != 0)
            g_error("jwcrypto: %s", err);
        g_assert_cmpint(decrypt(users[i], jwe, "--allow-unknown", NULL, &why), ==, FORGED);
        g_assert_nonnull(strstr(why, "alg RSA-OAEP uses SHA-1"));
        g_assert_cmpint(decrypt(users[i], jwe, "--allow-unknown", "--allow-oaep-sha1", &allowed), ==,
                        users[i] == p->bob ? 0 : FORGED);
        if (users[i] == p->alice)
            g_assert_nonnull(strstr(allowed, "alg RSA-OAEP uses SHA-1"));
        g_assert_cmpint(decrypt(users[i], jwe, "--allow-oaep-sha1", NULL, &unknown), ==,
                        users[i] == p->bob ? UNTRUSTED : FORGED);
    }
}

/* What was a file, and is in the TPM now, has left nothing behind in the agent. */
static void test_imported(MailPair *p, gconstpointer data)
{
    g_autoptr(GPtrArray) needles = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    g_autofree char *plain = scene_path(p->scene, "key.pem"), *other = scene_path(p->scene, "sign.pem");
    const char *const keys[] = {plain, other};
    const Data *d = data;

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        const char *const make[] = {"openssl", "genpkey",        "-algorithm", "RSA",   "-aes-256-cbc",
                                    "-pass",   "pass:" PASSWORD, "-out",       keys[i], NULL};

        g_assert_cmpint(test_run(make, NULL, NULL, NULL, NULL), ==, 0);
        add_key(needles, p, keys[i]);
    }
    g_assert_cmpint(scene_ctl(p->bob, PASSWORD "\n", NULL, NULL, "identity", "import", plain, "--sign-key",
                              other, "--password-fd", "0", NULL),
                    ==, 0);
    if (d->looker >= 0)
        g_assert_cmphex(looker_find(d->looker, scene_agent_pid(p->bob), needles), ==, 1);
}

int main(int argc, char *argv[])
{
    Data data;

    g_test_init(&argc, &argv, NULL);
    data.looker = looker_start();
    g_test_add("/software/exchange", MailPair, &data, set_up, test_exchange, mail_pair_close);
    g_test_add("/software/oaep-sha1", MailPair, &data, set_up, test_oaep_sha1, mail_pair_close);
    g_test_add("/software/imported", MailPair, &data, set_up, test_imported, mail_pair_close);
    return g_test_run();
}
