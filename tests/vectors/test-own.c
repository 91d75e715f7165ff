/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The vectors of this folder, by the code that made them: what is written today must be read tomorrow.
 * check.py does the same and shares nothing with it. */

#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/cms.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/jwe-message.h"
#include "libhmsg/wire/jwe.h"
#include "libhmsg/wire/proof.h"
#include "libhmsg/wire/rotation.h"
#include "libhmsg/wire/seed.h"
#include "tests/lib/person.h"
#include "tests/lib/vectors.h"
#include "tests/unit/wire/stream-util.h"
#include "tests/vectors/people.h"

static json_t *load(const char *name)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, name, NULL);
    json_error_t error;
    json_t *j = json_load_file(path, 0, &error);

    if (!j)
        g_error("%s: %s", path, error.text);
    return j;
}

/* Somebody of keys.json. */
static TestPerson *person(const char *name)
{
    _cleanup_(json_decrefp) json_t *root = load("keys.json");

    return vector_person(root, name);
}

static void get(const json_t *v, const char *name, void *ret, size_t n)
{
    g_assert_cmpint(json_get_bytes(v, name, ret, n), ==, 0);
}

static int result_of(const json_t *v)
{
    const char *result = test_vectors_text(v, "result");

    if (strcmp(result, "valid") == 0)
        return 0;
    if (strcmp(result, "BadPackage") == 0)
        return HMSG_ERROR_BAD_PACKAGE;
    if (strcmp(result, "NotForUs") == 0)
        return HMSG_ERROR_NOT_FOR_US;
    g_assert_cmpstr(result, ==, "AuthenticationFailed");
    return HMSG_ERROR_AUTHENTICATION_FAILED;
}

typedef int (*open_t)(const json_t *v, const TestPerson *reader, int64_t now, Buf *ret);

/* Each vector of a file; all that f opens is what the vector says. */
static void run(const char *file, open_t f)
{
    _cleanup_(json_decrefp) json_t *root = load(file);
    g_autoptr(TestPerson) bob = person("bob");
    int64_t now = json_integer_value(json_object_get(root, "now"));
    unsigned valid = 0, refused = 0;
    const json_t *v = NULL;
    size_t i = 0;

    json_array_foreach (json_object_get(root, "vectors"), i, v) {
        const char *plaintext = json_string_value(json_object_get(v, "plaintext"));
        _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
        int r = f(v, bob, now, &out);

        if (r != result_of(v))
            g_error("%s, %s: %d", file, test_vectors_text(v, "name"), r);
        if (r == 0 && plaintext)
            g_assert_cmpstr(buf_text(&out), ==, plaintext);
        valid += r == 0 ? 1 : 0;
        refused += r == 0 ? 0 : 1;
    }
    g_test_message("%s: %u valid, %u refused", file, valid, refused);
    g_assert_cmpuint(valid, >, 0);
}

static int open_package(const char *text, size_t n, const TestPerson *reader, Buf *ret)
{
    _cleanup_(package_freep) Package *p = NULL;
    _cleanup_(secret_freep) Secret *keys = NULL;
    SessionStatement statement;
    size_t index = 0;
    int r = package_find(text, n, PACKAGE_MESSAGE, reader->kids, 1, &p, &index);

    if (r == 0)
        r = package_check_sender(p, NULL, &statement);
    if (r != 0)
        return r;
    keys = test_person_unwrap(reader, p);
    return package_open(p, keys, ret);
}

static int package_vector(const json_t *v, const TestPerson *reader, int64_t now, Buf *ret)
{
    const char *text = test_vectors_text(v, "text");

    return open_package(text, strlen(text), reader, ret);
}

static int jwe_vector(const json_t *v, const TestPerson *reader, int64_t now, Buf *ret)
{
    const char *text = test_vectors_text(v, "text"), *why = NULL;
    _cleanup_(buf_done) Buf package = BUF_MAX(PACKAGE_SIZE_MAX);
    _cleanup_(secret_freep) Secret *key = NULL;
    _cleanup_(jwe_freep) Jwe *j = NULL;

    if (jwe_to_package(text, strlen(text), &package) == 0)
        return open_package(buf_text(&package), package.size, reader, ret);
    int r = jwe_parse(text, strlen(text), reader->kids, 1, &j, &why);
    if (r == 0)
        r = jwe_check_sender(j);
    if (r != 0)
        return r;
    (void)rsa_private_oaep_decrypt(reader->decrypt_private, j->encrypted_key.data, j->encrypted_key.size,
                                   &key);
    return jwe_open(j, key, ret);
}

/* Who signed is who the vector says; nobody is, when it says nothing. */
static void expect_signer(const json_t *v, const CmsSigned *s)
{
    uint8_t skid[KID_SIZE];

    g_assert_true(json_has(v, "signed_by"));
    get(v, "signed_by", skid, sizeof(skid));
    g_assert_cmpmem(skid, KID_SIZE, rsa_key_thumbprint(s->key), KID_SIZE);
}

/* What hmsg has signed inside the encryption; other content is taken as it is. */
static int cms_inside(const json_t *v, const TestPerson *reader, const Buf *content, Buf *ret)
{
    _cleanup_(cms_signed_freep) CmsSigned *s = NULL;
    const char *why = NULL;
    int r = cms_signed_parse(content->data, content->size, &s, &why);

    if (r != 0 || !s->has_recipients)
        return buf_append(ret, content->data, content->size);
    r = cms_signed_verify(s);
    if (r == 0 && !cms_signed_is_for(s, reader->kids[0]))
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
    if (r != 0)
        return r;
    expect_signer(v, s);
    return buf_append(ret, s->content.data, s->content.size);
}

static int cms_vector(const json_t *v, const TestPerson *reader, int64_t now, Buf *ret)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(CMS_TEXT_SIZE_MAX), content = BUF_MAX(CMS_SIZE_MAX);
    _cleanup_(secret_freep) Secret *key = NULL;
    _cleanup_(cms_freep) Cms *c = NULL;
    const char *why = NULL;

    g_assert_cmpint(json_get_buf(v, "cms", &text), ==, 0);
    int r = cms_parse(text.data, text.size, &c, &why);
    if (r == 0 && c->outer)
        r = cms_signed_verify(c->outer);
    if (r == 0)
        r = cms_choose(c, reader->decrypt, true);
    if (r != 0)
        return r;
    (void)rsa_private_oaep_decrypt(reader->decrypt_private, c->encrypted_key.data, c->encrypted_key.size,
                                   &key);
    r = cms_open(c, key, &content);
    if (r == 0 && c->outer)
        expect_signer(v, c->outer);
    if (r != 0 || c->outer)
        return r == 0 ? buf_append(ret, content.data, content.size) : r;
    return cms_inside(v, reader, &content, ret);
}

static int seed_vector(const json_t *v, const TestPerson *reader, int64_t now, Buf *ret)
{
    const char *text = test_vectors_text(v, "text");
    _cleanup_(secret_freep) Secret *key = NULL;
    _cleanup_(seed_freep) Seed *s = NULL;
    int r = seed_parse(text, strlen(text), &s);

    if (r != 0)
        return r;
    (void)rsa_private_oaep_decrypt(reader->decrypt_private, s->encrypted_key.data, s->encrypted_key.size,
                                   &key);
    return seed_open(s, key, true, ret);
}

static int stream_vector(const json_t *v, const TestPerson *reader, int64_t now, Buf *ret)
{
    _cleanup_(buf_done) Buf stream = BUF_MAX(STREAM_ROOM);
    bool verified = false;

    g_assert_cmpint(json_get_buf(v, "stream", &stream), ==, 0);
    int r = stream_read_all(&stream, reader, STREAM_ROOM, ret, &verified);
    if (r != 0)
        return r;
    g_assert_cmpint(json_integer_value(json_object_get(v, "size")), ==, (json_int_t)ret->size);
    for (size_t i = 0; i < ret->size; i++)
        g_assert_cmpuint(ret->data[i], ==, i % 251);
    g_assert_true(verified || !json_is_true(json_object_get(v, "verified")));
    return 0;
}

/* Signature and type; what a payload means is checked by its own test. */
static int statement_vector(const json_t *v, const TestPerson *reader, int64_t now, Buf *ret)
{
    static const struct {
        const char *name;
        JwsType type;
    } types[] = {
        {"hmsg-session+jwt", JWS_SESSION},   {"hmsg-identity+jwt", JWS_IDENTITY},
        {"hmsg-register+jwt", JWS_REGISTER}, {"hmsg-login+jwt", JWS_LOGIN},
        {"hmsg-relay+jwt", JWS_RELAY},       {"hmsg-binding+jwt", JWS_BINDING},
        {"hmsg-receipt+jwt", JWS_RECEIPT},   {"hmsg-rotate+jwt", JWS_ROTATE},
    };
    const char *jws = test_vectors_text(v, "jws"), *name = test_vectors_text(v, "type");
    _cleanup_(buf_done) Buf spki = BUF_MAX(SPKI_SIZE_MAX);
    _cleanup_(rsa_key_freep) RsaKey *rsa = NULL;
    _cleanup_(ec_key_freep) EcKey *ec = NULL;
    size_t i = 0;

    while (i < G_N_ELEMENTS(types) && strcmp(types[i].name, name) != 0)
        i++;
    g_assert_cmpuint(i, <, G_N_ELEMENTS(types));
    g_assert_cmpint(json_get_buf(v, "key", &spki), ==, 0);
    if (rsa_key_from_spki(spki.data, spki.size, &rsa) == 0)
        return jws_verify_rsa(jws, strlen(jws), types[i].type, rsa, ret);
    g_assert_cmpint(ec_key_from_spki(spki.data, spki.size, &ec), ==, 0);
    return jws_verify_ec(jws, strlen(jws), types[i].type, ec, ret);
}

/* The first ones are what a user needs of another, so all of their checks are made. */
static void check_meaning(void)
{
    _cleanup_(json_decrefp) json_t *root = load("statements.json");
    int64_t now = json_integer_value(json_object_get(root, "now"));
    g_autoptr(TestPerson) alice = person("alice");
    IdentityStatement identities[2] = {0};
    RotateStatement rotate;
    size_t i = 0, n = 0;
    const json_t *v = NULL;

    json_array_foreach (json_object_get(root, "vectors"), i, v) {
        const char *type = test_vectors_text(v, "type"), *jws = test_vectors_text(v, "jws");

        if (result_of(v) != 0)
            continue;
        if (strcmp(type, "hmsg-identity+jwt") == 0)
            g_assert_cmpint(identity_statement_parse(jws, strlen(jws), now, &identities[n++]), ==, 0);
        if (strcmp(type, "hmsg-rotate+jwt") == 0)
            g_assert_cmpint(rotate_statement_parse(jws, strlen(jws), alice->sign, now, &rotate), ==, 0);
    }
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpint(rotate_statement_check(&rotate, 1, &identities[0], &identities[1]), ==, 0);
    for (i = 0; i < n; i++)
        identity_statement_done(&identities[i]);
}

static void check_acknowledgement(const json_t *v)
{
    _cleanup_(secret_freep) Secret *own = NULL, *key = NULL;
    uint8_t private[X25519_SIZE], peer[X25519_SIZE], nonce[NONCE_SIZE], pin[PIN_SIZE], skid[KID_SIZE],
        ids[2 * ID_SIZE], expected[ACK_KEY_SIZE], mac[SHA256_SIZE], made[SHA256_SIZE];

    get(v, "private", private, sizeof(private));
    get(v, "peer", peer, sizeof(peer));
    get(v, "nonce", nonce, sizeof(nonce));
    get(v, "pin", pin, sizeof(pin));
    get(v, "skid", skid, sizeof(skid));
    get(v, "ids", ids, sizeof(ids));
    get(v, "key", expected, sizeof(expected));
    get(v, "mac", mac, sizeof(mac));
    g_assert_cmpint(secret_new_copy(private, sizeof(private), &own), ==, 0);
    g_assert_cmpint(ack_key_derive(own, peer, nonce, pin, skid, &key), ==, 0);
    g_assert_cmpmem(secret_bytes(key), secret_size(key), expected, sizeof(expected));
    g_assert_cmpint(ack_mac(key, pin, ids, 2, made), ==, 0);
    g_assert_cmpmem(made, sizeof(made), mac, sizeof(mac));
}

static void check_proof(const json_t *v, const TestPerson *reader)
{
    const char *request = test_vectors_text(v, "request");
    _cleanup_(secret_freep) Secret *plaintext = NULL, *secret = NULL;
    _cleanup_(buf_done) Buf challenge = BUF_MAX(RSA_SIZE_MAX);
    uint8_t pin[PIN_SIZE], answer[SHA256_SIZE], made[SHA256_SIZE];

    get(v, "pin", pin, sizeof(pin));
    get(v, "answer", answer, sizeof(answer));
    g_assert_cmpint(json_get_buf(v, "challenge", &challenge), ==, 0);
    g_assert_cmpint(
        rsa_private_oaep_decrypt(reader->decrypt_private, challenge.data, challenge.size, &plaintext), ==, 0);
    g_assert_cmpint(pop_open(plaintext, pin, &secret), ==, 0);
    g_assert_cmpint(pop_answer(secret, request, strlen(request), made), ==, 0);
    g_assert_cmpmem(made, sizeof(made), answer, sizeof(answer));
}

static int derived_vector(const json_t *v, const TestPerson *reader, int64_t now, Buf *ret)
{
    const char *body = json_string_value(json_object_get(v, "body"));
    uint8_t kid[KID_SIZE], id[ID_SIZE], made[ID_SIZE];

    if (body) {
        get(v, "kid", kid, sizeof(kid));
        get(v, "id", id, sizeof(id));
        g_assert_cmpint(message_id(kid, body, strlen(body), made), ==, 0);
        g_assert_cmpmem(made, sizeof(made), id, sizeof(id));
    } else if (json_has(v, "challenge"))
        check_proof(v, reader);
    else
        check_acknowledgement(v);
    return 0;
}

/* The recovery keys of a statement are those that the vector says. */
static int recovery_of(const json_t *v, int64_t now)
{
    const char *jws = test_vectors_text(v, "statement");
    _cleanup_(identity_statement_done) IdentityStatement s = {0};
    const json_t *expected = json_object_get(v, "recovery");
    int r = identity_statement_parse(jws, strlen(jws), now, &s);

    if (r != 0)
        return r;
    g_assert_cmpuint(s.recovery.n, ==, json_array_size(expected));
    for (size_t i = 0; i < s.recovery.n; i++) {
        const json_t *one = json_array_get(expected, i);
        const RsaKey *sign = s.recovery.keys[i].sign;
        uint8_t kid[KID_SIZE], skid[KID_SIZE];

        get(one, "kid", kid, sizeof(kid));
        g_assert_cmpmem(kid, KID_SIZE, rsa_key_thumbprint(s.recovery.keys[i].decrypt), KID_SIZE);
        g_assert_true(json_has(one, "skid") == (sign != NULL));
        if (sign) {
            get(one, "skid", skid, sizeof(skid));
            g_assert_cmpmem(skid, KID_SIZE, rsa_key_thumbprint(sign), KID_SIZE);
        }
    }
    return 0;
}

/* The pairs that were given up, the oldest first. */
static void expect_former(const json_t *former, const Rotation *rotation)
{
    g_assert_cmpuint(rotation->n, ==, json_array_size(former));
    for (size_t i = 0; i < rotation->n; i++) {
        const json_t *pair = json_array_get(former, i);
        uint8_t skid[KID_SIZE], kid[KID_SIZE];

        get(pair, "skid", skid, sizeof(skid));
        get(pair, "kid", kid, sizeof(kid));
        g_assert_cmpmem(skid, KID_SIZE, rotation->keys[i].skid, KID_SIZE);
        g_assert_cmpmem(kid, KID_SIZE, rotation->keys[i].kid, KID_SIZE);
    }
}

static int recovery_vector(const json_t *v, const TestPerson *reader, int64_t now, Buf *ret)
{
    _cleanup_(identity_statement_done) IdentityStatement current = {0};
    g_autofree Rotation *rotation = g_new0(Rotation, 1);
    uint8_t asked[KID_SIZE];

    if (json_has(v, "statement"))
        return recovery_of(v, now);
    const char *jws = test_vectors_text(v, "current");
    g_assert_cmpint(identity_statement_parse(jws, strlen(jws), now, &current), ==, 0);
    get(v, "asked", asked, sizeof(asked));
    int r = rotation_chain_follow(json_object_get(v, "chain"), asked, &current, now, rotation);
    if (r == 0)
        g_assert_true(rotation->recovered == json_is_true(json_object_get(v, "recovered")));
    if (r == 0 && json_has(v, "former"))
        expect_former(json_object_get(v, "former"), rotation);
    return r;
}

static void test_recovery(void)
{
    run("recovery.json", recovery_vector);
}

static void test_rotations(void)
{
    run("rotations.json", recovery_vector);
}

static void test_derived(void)
{
    run("derived.json", derived_vector);
}

static void test_packages(void)
{
    run("packages.json", package_vector);
}

static void test_jwe(void)
{
    run("jwe.json", jwe_vector);
}

static void test_cms(void)
{
    run("cms.json", cms_vector);
}

static void test_seeds(void)
{
    run("seeds.json", seed_vector);
}

static void test_streams(void)
{
    run("streams.json", stream_vector);
}

static void test_statements(void)
{
    run("statements.json", statement_vector);
    check_meaning();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/own/packages", test_packages);
    g_test_add_func("/own/jwe", test_jwe);
    g_test_add_func("/own/cms", test_cms);
    g_test_add_func("/own/seeds", test_seeds);
    g_test_add_func("/own/streams", test_streams);
    g_test_add_func("/own/statements", test_statements);
    g_test_add_func("/own/derived", test_derived);
    g_test_add_func("/own/recovery", test_recovery);
    g_test_add_func("/own/rotations", test_rotations);
    return g_test_run();
}
