/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What hostile people make for Bob, who has Eve among his contacts: hmsgctl decrypt refuses it with the
 * documented status, and nothing of a plaintext is seen. */

#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/wire/export.h"
#include "libhmsg/wire/package.h"
#include "tests/integration/mail.h"
#include "tests/lib/person.h"

#define TEXT "What Eve wrote to Bob"
#define STREAM_SIZE 100000
#define STREAM_PLACES 48

enum { FAILED = 1, FORGED = 5, UNTRUSTED = 8 };

typedef struct Fixture {
    Scene *scene;
    SceneUser *user;
    TestPerson *eve, *mallory;
    TestPerson bob; /* the user's public key */
    char *folder;   /* where no file may appear */
} Fixture;

static void write_file(const char *path, const void *data, gsize n)
{
    g_autoptr(GError) error = NULL;

    if (!g_file_set_contents(path, data, (gssize)n, &error))
        g_error("%s", error->message);
}

static void set_up(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf exported = BUF_MAX(KEY_FILE_SIZE_MAX);
    g_autofree char *pem = NULL;
    g_autofree char *path = NULL;

    f->scene = scene_new();
    f->user = scene_user_new(f->scene, "bob");
    f->eve = test_person_new();
    f->mallory = test_person_new();
    f->folder = scene_path(f->scene, "results");
    g_assert_cmpint(g_mkdir_with_parents(f->folder, 0700), ==, 0);
    scene_ctl_expect(f->user, 0, "identity", "create", NULL);
    g_assert_cmpint(scene_ctl(f->user, NULL, &pem, NULL, "identity", "export", "--format", "pem", NULL), ==,
                    0);
    g_assert_cmpint(rsa_key_from_pem(pem, strlen(pem), &f->bob.decrypt), ==, 0);

    g_autofree char *statement = test_person_statement(f->eve, "eve@relay.example");
    g_assert_cmpint(export_write(statement, strlen(statement), &exported), ==, 0);
    path = scene_path(f->scene, "eve");
    write_file(path, exported.data, exported.size);
    scene_ctl_expect(f->user, 0, "contact", "add", "--key", path, NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void)rsa_key_free(f->bob.decrypt);
    test_person_free(f->eve);
    test_person_free(f->mallory);
    g_free(f->folder);
    scene_free(f->scene);
}

static char *build(const WireSession *s)
{
    _cleanup_(buf_done) Buf out = BUF_MAX(PACKAGE_SIZE_MAX);

    g_assert_cmpint(package_build(s, 0, clock_realtime(), 0, TEXT, strlen(TEXT), &out), ==, 0);
    return g_strdup(buf_text(&out));
}

static char *package_of(Fixture *f, const TestPerson *sender)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(sender, &f->bob, clock_realtime());

    return build(s);
}

/* By standard input and by file, to standard output and to a file: it fails so, and shows nothing. What it
 * says, to be freed. */
static char *refuse(Fixture *f, const char *what, const char *package, const char *option, int expected)
{
    g_autofree char *got = g_build_filename(f->folder, "got", NULL);
    g_autofree char *file = scene_path(f->scene, "package");
    g_autofree char *out = NULL;
    g_autofree char *nothing = NULL;
    g_autofree char *to_file = NULL;
    char *err = NULL;
    int status = scene_ctl(f->user, package, &out, &err, "decrypt", option ? option : "--no-ask", NULL);

    if (status != expected || *out)
        g_error("%s: exit status %d, not %d, and the output \"%s\": %s", what, status, expected, out, err);
    write_file(file, package, strlen(package));
    status = scene_ctl(f->user, NULL, &nothing, &to_file, "decrypt", option ? option : "--no-ask", "-o", got,
                       file, NULL);
    if (status != expected || *nothing || g_file_test(got, G_FILE_TEST_EXISTS))
        g_error("%s: exit status %d, not %d, or there is a file: %s", what, status, expected, to_file);
    g_assert_cmpstr(err, ==, to_file);
    return err;
}

static void refused(Fixture *f, const char *what, const char *package, const char *option, int expected)
{
    g_autofree char *err = refuse(f, what, package, option, expected);

    g_assert_true(g_str_has_prefix(err, "hmsgctl: "));
}

static void opens(Fixture *f, const char *package, const char *option)
{
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    int status = scene_ctl(f->user, package, &out, &err, "decrypt", option, NULL);

    if (status != 0)
        g_error("decrypt exits with %d: %s", status, err);
    g_assert_cmpstr(out, ==, TEXT);
}

/* Ends with json. */
static char *text_of(json_t *json)
{
    char *dumped = json_dumps(json, JSON_COMPACT);
    char *text = g_strdup(dumped);

    free(dumped);
    json_decref(json);
    return text;
}

static json_t *parse(const char *text, size_t n)
{
    json_t *json = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);

    g_assert_nonnull(json);
    return json;
}

static void set_text(json_t *object, const char *key, const char *text)
{
    g_assert_cmpint(json_object_set_new(object, key, json_string(text)), ==, 0);
}

/* The protected header of a package, to be changed. */
static json_t *get_protected(const json_t *package)
{
    const char *text = mail_fact(package, "protected");
    _cleanup_(buf_done) Buf decoded = BUF_MAX(PROTECTED_TEXT_SIZE_MAX);

    g_assert_cmpint(base64url_decode(text, strlen(text), &decoded), ==, 0);
    return parse(buf_text(&decoded), decoded.size);
}

/* Takes header over. */
static void set_protected(json_t *package, json_t *header)
{
    _cleanup_(buf_done) Buf encoded = BUF_MAX(PROTECTED_TEXT_SIZE_MAX);
    g_autofree char *text = text_of(header);

    g_assert_cmpint(base64url_append(&encoded, text, strlen(text)), ==, 0);
    set_text(package, "protected", buf_text(&encoded));
}

/* Another letter in the middle of a member. */
static char *flip(const char *package, const char *member)
{
    json_t *json = parse(package, strlen(package));
    g_autofree char *text = g_strdup(mail_fact(json, member));
    size_t at = strlen(text) / 2;

    g_assert_cmpuint(at, >, 0);
    text[at] = text[at] == 'A' ? 'B' : 'A';
    set_text(json, member, text);
    return text_of(json);
}

static void test_changed(Fixture *f, gconstpointer data)
{
    static const char *const members[] = {
        "protected", "sender_public_key", "encrypted_aes_key", "iv", "ciphertext", "mac", "signature"};
    g_autofree char *p = package_of(f, f->eve);

    opens(f, p, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
        g_autofree char *changed = flip(p, members[i]);

        refused(f, members[i], changed, NULL, FORGED);
        refused(f, members[i], changed, "--allow-unknown", FORGED);
    }
    for (size_t n = 1; n < strlen(p); n += strlen(p) / 16) {
        g_autofree char *cut = g_strndup(p, n);

        refused(f, "cut off", cut, NULL, FORGED);
    }
    g_autofree char *most = g_strndup(p, strlen(p) - 1);
    g_autofree char *more = g_strconcat(p, "x", NULL);
    g_autofree char *twice = g_strconcat(most, ",\"hmsg\":1}", NULL);
    g_autofree char *other = g_strconcat(most, ",\"zip\":\"DEF\"}", NULL);
    refused(f, "one byte short", most, NULL, FORGED);
    refused(f, "more behind it", more, NULL, FORGED);
    refused(f, "a name twice", twice, NULL, FORGED);
    refused(f, "a member too many", other, NULL, FORGED);
    opens(f, p, NULL);
}

static void test_header(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *key, *text;
    } changes[] = {{"zip", "DEF"},
                   {"crit", "hm"},
                   {"alg", "RSA1_5"},
                   {"enc", "A128CBC-HS256"},
                   {"typ", "hmsg-stream+json"},
                   {"alg", "RSA-OAEP"}};
    g_autofree char *p = package_of(f, NULL);

    opens(f, p, "--allow-unknown");
    g_autofree char *changed_mac = flip(p, "mac");
    g_autofree char *said = refuse(f, "mac", changed_mac, "--allow-unknown", FORGED);
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        json_t *json = parse(p, strlen(p)), *header = get_protected(json);

        set_text(header, changes[i].key, changes[i].text);
        set_protected(json, header);
        g_autofree char *changed = text_of(json);
        g_autofree char *text = refuse(f, changes[i].key, changed, "--allow-unknown", FORGED);
        g_assert_cmpstr(text, !=, said); /* it is the form that is wrong, before any MAC */
    }
}

static void test_size(Fixture *f, gconstpointer data)
{
    g_autofree char *p = package_of(f, f->eve);
    const size_t sizes[] = {PACKAGE_SIZE_MAX + 1, 3 * 1024 * 1024};

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *large = g_strnfill(sizes[i], ' ');

        memcpy(large, p, strlen(p));
        refused(f, "oversized", large, NULL, FAILED);
    }
}

static void test_people(Fixture *f, gconstpointer data)
{
    _cleanup_(wire_session_freep) WireSession *eves = test_session_new(f->eve, &f->bob, clock_realtime());
    _cleanup_(wire_session_freep) WireSession *astray =
        test_session_new(f->eve, f->mallory, clock_realtime());
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX), spki = BUF_MAX(2 * SPKI_SIZE_MAX);
    g_autofree char *p = build(eves);
    g_autofree char *not_for_us = build(astray);
    g_autofree char *stranger = package_of(f, f->mallory);
    SessionStatement claim = eves->statement;
    size_t n;

    opens(f, p, NULL);
    refused(f, "for somebody else", not_for_us, "--allow-unknown", FORGED);
    refused(f, "by a stranger", stranger, NULL, UNTRUSTED);
    opens(f, stranger, "--allow-unknown");

    /* Mallory says that Eve's package is hers: first in the statement alone, then wherever it is said */
    memcpy(claim.skid, rsa_key_thumbprint(f->mallory->sign), KID_SIZE);
    g_assert_cmpint(session_statement_prepare(&claim, &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, f->mallory->sign_private, &jws), ==, 0);
    const uint8_t *der = rsa_key_spki(f->mallory->sign, &n);
    g_assert_cmpint(base64url_append(&spki, der, n), ==, 0);
    json_t *json = parse(p, strlen(p));
    set_text(json, "signature", buf_text(&jws));
    g_autofree char *half = text_of(json_incref(json));
    refused(f, "signed again", half, "--allow-unknown", FORGED);
    json_t *header = get_protected(json);
    set_text(json_object_get(header, "hm"), "skid", f->mallory->skid);
    set_protected(json, header);
    set_text(json, "sender_public_key", buf_text(&spki));
    g_autofree char *whole = text_of(json);
    refused(f, "signed again", whole, NULL, UNTRUSTED);
    refused(f, "signed again", whole, "--allow-unknown", FORGED);

    /* without the signature; then as if there had never been one */
    json = parse(p, strlen(p));
    g_assert_cmpint(json_object_del(json, "signature"), ==, 0);
    g_autofree char *stripped = text_of(json_incref(json));
    refused(f, "stripped", stripped, "--allow-unknown", FORGED);
    g_assert_cmpint(json_object_del(json, "sender_public_key"), ==, 0);
    header = get_protected(json);
    g_assert_cmpint(json_object_del(json_object_get(header, "hm"), "skid"), ==, 0);
    set_protected(json, header);
    g_autofree char *nobodys = text_of(json);
    refused(f, "stripped", nobodys, NULL, UNTRUSTED);
    refused(f, "stripped", nobodys, "--allow-unknown", FORGED);
}

static void set_bytes(json_t *json, const char *key, const void *data, size_t n)
{
    _cleanup_(buf_done) Buf encoded = BUF_MAX(1024);

    g_assert_cmpint(base64url_append(&encoded, data, n), ==, 0);
    set_text(json, key, buf_text(&encoded));
}

/* The MAC is right, but the last byte of the last block is 0. */
static char *wrong_padding(const WireSession *s, const char *package)
{
    static const uint8_t zero[16];
    const uint8_t *keys = secret_bytes(s->keys);
    json_t *json = parse(package, strlen(package));
    const char *aad = mail_fact(json, "protected"), *iv_text = mail_fact(json, "iv");
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    uint8_t iv[16], block[32], bits[8] = {0}, mac[SHA512_SIZE];
    int n = 0;

    g_assert_cmpint(base64url_decode_exact(iv_text, strlen(iv_text), iv, sizeof(iv)), ==, 0);
    g_assert_cmpint(EVP_EncryptInit_ex(context, EVP_aes_256_cbc(), NULL, keys + 32, iv), ==, 1);
    g_assert_cmpint(EVP_CIPHER_CTX_set_padding(context, 0), ==, 1);
    g_assert_cmpint(EVP_EncryptUpdate(context, block, &n, zero, sizeof(zero)), ==, 1);
    g_assert_cmpint(n, ==, sizeof(zero));
    EVP_CIPHER_CTX_free(context);
    bits[6] = (uint8_t)(strlen(aad) * 8 >> 8);
    bits[7] = (uint8_t)(strlen(aad) * 8);
    const Chunk chunks[] = {
        {aad, strlen(aad)}, {iv, sizeof(iv)}, {block, sizeof(zero)}, {bits, sizeof(bits)}};
    g_assert_cmpint(crypto_hmac_sha512(keys, 32, chunks, G_N_ELEMENTS(chunks), mac), ==, 0);
    set_bytes(json, "ciphertext", block, sizeof(zero));
    set_bytes(json, "mac", mac, 32);
    return text_of(json);
}

/* The statement is true, the session key is nothing that Bob's key opens. */
static char *wrong_oaep(Fixture *f)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(NULL, &f->bob, clock_realtime());
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);

    s->sender = rsa_key_ref(f->eve->sign);
    memcpy(s->statement.skid, rsa_key_thumbprint(f->eve->sign), KID_SIZE);
    s->encrypted_key.data[100] ^= 1;
    g_assert_cmpint(crypto_sha256(s->encrypted_key.data, s->encrypted_key.size, s->statement.ek_sha256), ==,
                    0);
    g_assert_cmpint(wire_session_prepare(s, &draft), ==, 0);
    g_assert_cmpint(rsa_private_sign_ps256(f->eve->sign_private, draft.digest, &signature), ==, 0);
    g_assert_cmpint(wire_session_finish(s, &draft, signature.data, signature.size), ==, 0);
    return build(s);
}

/* Encrypted and authenticated with other keys than it commits to. */
static char *wrong_commitment(Fixture *f)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(f->eve, &f->bob, clock_realtime());

    secret_data(s->keys)[0] ^= 1;
    return build(s);
}

/* They are all signed by a contact; why they do not open is nobody's business. */
static void test_one_failure(Fixture *f, gconstpointer data)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(f->eve, &f->bob, clock_realtime());
    g_autofree char *good = build(s);
    g_autofree char *mac = flip(good, "mac");
    g_autofree char *padding = wrong_padding(s, good);
    g_autofree char *oaep = wrong_oaep(f);
    g_autofree char *commitment = wrong_commitment(f);
    const char *const bad[] = {oaep, commitment, mac, padding};
    g_autofree char *said = refuse(f, "MAC", mac, NULL, FORGED);

    /* afresh, and again when the session is cached or remembered as one that does not open */
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
            g_autofree char *text = refuse(f, "OAEP, commitment, MAC, padding", bad[i], NULL, FORGED);

            g_assert_cmpstr(text, ==, said);
        }
        opens(f, good, NULL);
    }
}

/* What came out is a beginning of the plaintext, and not the whole. */
static void stream_refused(Fixture *f, const char *sealed, const char *bytes, gsize n, const char *plain)
{
    g_autofree char *ctl = g_build_filename(g_getenv("HMSG_BUILD"), "cli", "hmsgctl", NULL);
    g_autofree char *got = g_build_filename(f->folder, "got", NULL);
    g_autofree char *shown = scene_path(f->scene, "shown");
    const char *const argv[] = {"/bin/sh", "-c", "exec \"$0\" decrypt \"$1\" >\"$2\"", ctl, sealed,
                                shown,     NULL};
    g_autofree char *out = NULL;
    gsize size = 0;

    write_file(sealed, bytes, n);
    scene_ctl_expect(f->user, FORGED, "decrypt", "-o", got, sealed, NULL);
    g_assert_false(g_file_test(got, G_FILE_TEST_EXISTS));
    g_assert_cmpint(test_run(argv, scene_environment(f->user), NULL, NULL, NULL), ==, FORGED);
    g_assert_true(g_file_get_contents(shown, &out, &size, NULL));
    g_assert_cmpuint(size, <, STREAM_SIZE);
    g_assert_cmpmem(out, size, plain, size);
}

static void test_stream(Fixture *f, gconstpointer data)
{
    g_autofree char *file = mail_file(f->scene, "plain", STREAM_SIZE);
    g_autofree char *sealed = scene_path(f->scene, "sealed");
    g_autofree char *key = scene_path(f->scene, "key");
    g_autofree char *recipient = g_strconcat("key:", key, NULL);
    g_autofree char *plain = NULL;
    g_autofree char *bytes = NULL;
    gsize n, chunk = STREAM_CHUNK_SIZE + STREAM_TAG_SIZE;

    scene_ctl_expect(f->user, 0, "identity", "export", "--format", "pem", "-o", key, NULL);
    scene_ctl_expect(f->user, 0, "encrypt", "-r", recipient, "--format", "stream", "-o", sealed, file, NULL);
    g_assert_true(g_file_get_contents(file, &plain, NULL, NULL));
    g_assert_true(g_file_get_contents(sealed, &bytes, &n, NULL));
    for (gsize i = 0; i < STREAM_PLACES; i++) {
        gsize at = i * (n - 1) / (STREAM_PLACES - 1);

        bytes[at] ^= 1;
        stream_refused(f, sealed, bytes, n, plain);
        bytes[at] ^= 1;
    }
    /* cut off between two chunks, and two of them changed about */
    gsize second = n - STREAM_SIZE % STREAM_CHUNK_SIZE - STREAM_TAG_SIZE - 2 * chunk;
    stream_refused(f, sealed, bytes, second, plain);
    g_autofree char *other = g_memdup2(bytes, n);
    memcpy(other + second, bytes + second + chunk, chunk);
    memcpy(other + second + chunk, bytes + second, chunk);
    stream_refused(f, sealed, other, n, plain);
    write_file(sealed, bytes, n);
    scene_ctl_expect(f->user, 0, "decrypt", sealed, NULL);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *, gconstpointer);
    } tests[] = {
        {"/forgery/changed", test_changed},
        {"/forgery/header", test_header},
        {"/forgery/size", test_size},
        {"/forgery/people", test_people},
        {"/forgery/one-failure", test_one_failure},
        {"/forgery/stream", test_stream},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].test, tear_down);
    return g_test_run();
}
