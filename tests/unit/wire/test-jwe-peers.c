/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JWE that other implementations write are opened or refused as they must, and they open ours. */

#include <jansson.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/wait.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/jwe-message.h"
#include "libhmsg/wire/jwe.h"
#include "tests/lib/person.h"
#include "tests/lib/process.h"

#define TEXT "Dear Bob, here are the plans."
#define SHA1 "alg RSA-OAEP uses SHA-1" /* as the scripts say it */
#define SKIPPED 77
#define REFUSED 5

typedef enum Peer { JWCRYPTO, NODE_JOSE } Peer;

/* Keys take long to make: all tests have the same. */
typedef struct People {
    TestPerson *alice, *bob, *carol;
    char *folder, *bob_private, *bob_public, *carol_public;
} People;

typedef struct Case {
    const People *who;
    Peer peer;
} Case;

static char *write_key(const char *folder, const char *name, EVP_PKEY *key, bool private)
{
    char *path = g_build_filename(folder, name, NULL);
    FILE *file = fopen(path, "we");

    g_assert_nonnull(file);
    g_assert_cmpint(private ? PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL)
                            : PEM_write_PUBKEY(file, key),
                    ==, 1);
    g_assert_cmpint(fclose(file), ==, 0);
    return path;
}

/* The exit status; SKIPPED also when there is no such program. */
static int run(char **argv, char **ret_text)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *err = NULL;
    int status = 0;

    if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, ret_text, &err, &status, &error))
        return SKIPPED;
    g_assert_true(WIFEXITED(status));
    if (*err)
        g_test_message("%s", err);
    return WEXITSTATUS(status);
}

static int peer_open(const Case *c, const char *text, char **ret_text)
{
    g_autofree char *path = g_build_filename(c->who->folder, "message", NULL);
    g_autofree char *python = g_test_build_filename(G_TEST_DIST, "open-jwe.py", NULL);
    g_autofree char *node = g_test_build_filename(G_TEST_DIST, "peer-jwe.js", NULL);
    g_autoptr(GError) error = NULL;
    char interpreter[] = "/usr/bin/python3", bare[] = "-B", nodejs[] = "node", command[] = "open";
    char *by_python[] = {interpreter, bare, python, c->who->bob_private, path, NULL};
    char *by_node[] = {nodejs, node, command, c->who->bob_private, path, NULL};

    g_file_set_contents(path, text, -1, &error);
    g_assert_no_error(error);
    return run(c->peer == JWCRYPTO ? by_python : by_node, ret_text);
}

static int peer_make(const Case *c, char **ret_lines)
{
    const People *who = c->who;
    g_autofree char *python = g_test_build_filename(G_TEST_DIST, "make-jwe.py", NULL);
    g_autofree char *node = g_test_build_filename(G_TEST_DIST, "peer-jwe.js", NULL);
    char interpreter[] = "/usr/bin/python3", bare[] = "-B", nodejs[] = "node", command[] = "make",
         text[] = TEXT;
    char *by_python[] = {interpreter,     bare, python, who->bob_public, who->carol_public, who->bob->kid,
                         who->carol->kid, text, NULL};
    char *by_node[] = {nodejs,          node, command, who->bob_public, who->bob->kid, who->carol_public,
                       who->carol->kid, text, NULL};

    return run(c->peer == JWCRYPTO ? by_python : by_node, ret_lines);
}

/* What jwe_parse_legacy alone reads. */
static void check_sha1(const People *who, const char *jwe)
{
    _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(secret_freep) Secret *key = NULL, *none = NULL;
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;

    g_assert_cmpint(jwe_parse_legacy(jwe, strlen(jwe), who->bob->kids, 1, &j, &why), ==, 0);
    g_assert_true(j->oaep_sha1);
    g_assert_cmpint(jwe_check_sender(j), ==, 0);
    g_assert_cmpint(rsa_private_oaep_decrypt(who->bob->decrypt_private, j->encrypted_key.data,
                                             j->encrypted_key.size, &none),
                    ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(rsa_private_oaep_sha1_decrypt(who->bob->decrypt_private, j->encrypted_key.data,
                                                  j->encrypted_key.size, &key),
                    ==, 0);
    g_assert_cmpint(jwe_open(j, key, &out), ==, 0);
    g_assert_cmpstr(buf_text(&out), ==, TEXT);
}

/* Refused is how the reason begins; NULL: it opens. */
static void check_line(const People *who, const char *name, const char *jwe, const char *refused)
{
    _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(secret_freep) Secret *key = NULL;
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;

    g_assert_cmpint(wire_format_detect(jwe, strlen(jwe)), ==, FORMAT_JWE);
    int r = jwe_parse(jwe, strlen(jwe), who->bob->kids, 1, &j, &why);
    g_test_message("%s: %s", name, r == 0 ? "read" : why ? why : error_message(r));
    if (refused) {
        g_assert_cmpint(r, ==, HMSG_ERROR_BAD_PACKAGE);
        g_assert_true(why && g_str_has_prefix(why, refused));
        return;
    }
    g_assert_cmpint(r, ==, 0);
    g_assert_cmpint(jwe_check_sender(j), ==, 0);
    g_assert_false(j->has_sender || j->oaep_sha1);
    g_assert_cmpint(rsa_private_oaep_decrypt(who->bob->decrypt_private, j->encrypted_key.data,
                                             j->encrypted_key.size, &key),
                    ==, 0);
    g_assert_cmpint(jwe_open(j, key, &out), ==, 0);
    g_assert_cmpstr(buf_text(&out), ==, TEXT);
}

static void test_read(gconstpointer data)
{
    const Case *c = data;
    g_autofree char *lines = NULL;
    unsigned opened = 0, refused = 0, sha1 = 0;
    int status = peer_make(c, &lines);

    if (status == SKIPPED) {
        g_test_skip("the other implementation is missing");
        return;
    }
    g_assert_cmpint(status, ==, 0);
    g_auto(GStrv) each = g_strsplit(g_strstrip(lines), "\n", 0);
    for (size_t i = 0; each[i]; i++) {
        json_t *line = json_loads(each[i], 0, NULL);
        const char *why = json_string_value(json_object_get(line, "refused"));

        g_assert_nonnull(line);
        const char *jwe = json_string_value(json_object_get(line, "jwe"));
        check_line(c->who, json_string_value(json_object_get(line, "name")), jwe, why);
        opened += why ? 0 : 1;
        refused += why ? 1 : 0;
        if (why && strcmp(why, SHA1) == 0) {
            check_sha1(c->who, jwe);
            sha1++;
        }
        json_decref(line);
    }
    g_assert_cmpuint(opened, >=, 10);
    g_assert_cmpuint(refused, >=, 2);
    g_assert_cmpuint(sha1, >=, 2);
}

static void opens_there(const Case *c, const char *text)
{
    g_autofree char *got = NULL, *nothing = NULL, *changed = g_strdup(text);
    int status = peer_open(c, text, &got);

    if (status == SKIPPED) {
        g_test_skip("the other implementation is missing");
        return;
    }
    g_assert_cmpint(status, ==, 0);
    g_assert_cmpstr(got, ==, TEXT);
    char *last = &changed[strlen(changed) - 10]; /* of the tag */
    *last = *last == 'A' ? 'B' : 'A';
    g_assert_cmpint(peer_open(c, changed, &nothing), ==, REFUSED);
    g_assert_cmpstr(nothing, ==, "");
}

static void test_general(gconstpointer data)
{
    const Case *c = data;
    const People *who = c->who;
    RsaKey *to[] = {who->carol->decrypt, who->bob->decrypt};
    _cleanup_(jwe_writer_freep) JweWriter *w = NULL, *anonymous = NULL;
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX), a = BUF_MAX(JWE_MESSAGE_SIZE_MAX),
                            b = BUF_MAX(JWE_MESSAGE_SIZE_MAX);

    g_assert_cmpint(jwe_writer_new(to, 2, who->alice->sign, clock_realtime(), TEXT, strlen(TEXT), &w), ==, 0);
    g_assert_cmpint(jwe_writer_prepare(w, &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, who->alice->sign_private, &jws), ==, 0);
    g_assert_cmpint(jwe_writer_finish(w, buf_text(&jws), &a), ==, 0);
    opens_there(c, buf_text(&a));
    g_assert_cmpint(jwe_writer_new(to, 2, NULL, clock_realtime(), TEXT, strlen(TEXT), &anonymous), ==, 0);
    g_assert_cmpint(jwe_writer_finish(anonymous, NULL, &b), ==, 0);
    opens_there(c, buf_text(&b));
}

static void test_compact(gconstpointer data)
{
    const Case *c = data;
    _cleanup_(buf_done) Buf out = BUF_MAX(JWE_MESSAGE_SIZE_MAX);

    g_assert_cmpint(jwe_build_compact(c->who->bob->decrypt, TEXT, strlen(TEXT), &out), ==, 0);
    opens_there(c, buf_text(&out));
}

/* A package by JWE's names. */
static void test_flattened(gconstpointer data)
{
    const Case *c = data;
    int64_t now = clock_realtime();
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(c->who->alice, c->who->bob, now);
    _cleanup_(buf_done) Buf package = BUF_MAX(PACKAGE_SIZE_MAX), jwe = BUF_MAX(JWE_SIZE_MAX);

    g_assert_cmpint(package_build(s, 0, now, 0, TEXT, strlen(TEXT), &package), ==, 0);
    g_assert_cmpint(jwe_from_package(buf_text(&package), package.size, &jwe), ==, 0);
    opens_there(c, buf_text(&jwe));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autoptr(TestPerson) alice = test_person_new(), bob = test_person_new(), carol = test_person_new();
    char *folder = test_folder_new();
    g_autofree char *bob_private = write_key(folder, "bob.pem", bob->decrypt_private, true);
    g_autofree char *bob_public = write_key(folder, "bob.pub", bob->decrypt_private, false);
    g_autofree char *carol_public = write_key(folder, "carol.pub", carol->decrypt_private, false);
    const People who = {alice, bob, carol, folder, bob_private, bob_public, carol_public};
    const Case jwcrypto = {&who, JWCRYPTO}, node = {&who, NODE_JOSE};
    g_test_add_data_func("/jwe-peers/jwcrypto/read", &jwcrypto, test_read);
    g_test_add_data_func("/jwe-peers/jwcrypto/general", &jwcrypto, test_general);
    g_test_add_data_func("/jwe-peers/jwcrypto/compact", &jwcrypto, test_compact);
    g_test_add_data_func("/jwe-peers/jwcrypto/flattened", &jwcrypto, test_flattened);
    g_test_add_data_func("/jwe-peers/node-jose/flattened", &node, test_flattened);
    g_test_add_data_func("/jwe-peers/node-jose/read", &node, test_read);
    g_test_add_data_func("/jwe-peers/node-jose/general", &node, test_general);
    g_test_add_data_func("/jwe-peers/node-jose/compact", &node, test_compact);
    int r = g_test_run();
    test_folder_remove(folder);
    return r;
}
