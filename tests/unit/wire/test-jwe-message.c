/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JWE that are no packages: test-jwe-peers.c has other implementations write and read them. */

#include "libhmsg/wire/jwe-message.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "tests/lib/person.h"

#define TEXT "Dear Bob, here are the plans."
#define HEADER "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256CBC-HS512\"}"
#define GCM_HEADER "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\",\"cty\":\"text/plain\",\"x\":[1]}"

/* Keys take long to make: all tests have the same. */
typedef struct People {
    TestPerson *alice, *bob, *carol;
} People;

static char *encoded(const void *data, size_t n)
{
    char *text = g_malloc(BASE64URL_SIZE(n) + 1);

    base64url_encode(data, n, text);
    return text;
}

/* The parts of a JWE as texts, to be put together in whatever way. */
typedef struct Parts {
    char *protected_text, *key, *iv, *ciphertext, *tag;
} Parts;

static void parts_clear(Parts *p)
{
    g_free(p->protected_text);
    g_free(p->key);
    g_free(p->iv);
    g_free(p->ciphertext);
    g_free(p->tag);
}

/* As another program would: TEXT to one recipient. aad: base64url, or NULL. */
static void parts_make(Parts *p, const RsaKey *to, const char *header, const char *aad, size_t key_size)
{
    _cleanup_(buf_done) Buf ek = BUF_MAX(RSA_SIZE_MAX), ciphertext = BUF_MAX(1024);
    bool gcm = strstr(header, "GCM") != NULL;
    uint8_t key[64] = {1, 2, 3}, iv[16] = {4, 5, 6}, tag[32], out[1024];

    p->protected_text = encoded(header, strlen(header));
    g_autofree char *all = g_strconcat(p->protected_text, aad ? "." : NULL, aad, NULL);
    g_assert_cmpint(rsa_key_oaep_encrypt(to, key, key_size, &ek), ==, 0);
    if (gcm) {
        g_assert_cmpint(crypto_gcm_seal(key, iv, all, strlen(all), TEXT, strlen(TEXT), out), ==, 0);
        g_assert_cmpint(buf_append(&ciphertext, out, strlen(TEXT)), ==, 0);
        memcpy(tag, out + strlen(TEXT), 16);
    } else {
        g_assert_cmpint(
            crypto_cbc_hs512_seal(key, iv, all, strlen(all), TEXT, strlen(TEXT), &ciphertext, tag), ==, 0);
    }
    p->key = encoded(ek.data, ek.size);
    p->iv = encoded(iv, gcm ? 12 : 16);
    p->ciphertext = encoded(ciphertext.data, ciphertext.size);
    p->tag = encoded(tag, gcm ? 16 : 32);
}

static char *compact(const RsaKey *to, const char *header)
{
    Parts p;

    parts_make(&p, to, header, NULL, strstr(header, "GCM") ? 32 : 64);
    char *text = g_strdup_printf("%s.%s.%s.%s.%s", p.protected_text, p.key, p.iv, p.ciphertext, p.tag);
    parts_clear(&p);
    return text;
}

/* before: members that come first, each with a comma behind. */
static char *flattened(const RsaKey *to, const char *header, const char *before, const char *aad)
{
    Parts p;

    parts_make(&p, to, header, aad, strstr(header, "GCM") ? 32 : 64);
    char *text = g_strdup_printf(
        "{%s\"protected\":\"%s\",\"encrypted_key\":\"%s\",\"iv\":\"%s\",\"ciphertext\":\"%s\","
        "\"tag\":\"%s\"}",
        before, p.protected_text, p.key, p.iv, p.ciphertext, p.tag);
    parts_clear(&p);
    return text;
}

/* %s in recipients stands for the encrypted key. */
static char *general(const RsaKey *to, const char *header, const char *recipients)
{
    Parts p;

    parts_make(&p, to, header, NULL, 64);
    g_autoptr(GString) list = g_string_new(recipients);
    g_string_replace(list, "%s", p.key, 0);
    char *text =
        g_strdup_printf("{\"protected\":\"%s\",\"recipients\":[%s],\"iv\":\"%s\",\"ciphertext\":\"%s\","
                        "\"tag\":\"%s\"}",
                        p.protected_text, list->str, p.iv, p.ciphertext, p.tag);
    parts_clear(&p);
    return text;
}

static int parse(const char *text, const TestPerson *p, Jwe **ret, const char **ret_why)
{
    g_assert_cmpint(wire_format_detect(text, strlen(text)), ==, FORMAT_JWE);
    return jwe_parse(text, strlen(text), p->kids, 1, ret, ret_why);
}

/* All stages, with the key of p; 0: TEXT. */
static int open_all(const char *text, const TestPerson *p, bool *ret_signed)
{
    _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(secret_freep) Secret *key = NULL;
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;
    int r = parse(text, p, &j, &why);

    if (r != 0)
        return r;
    g_assert_cmpint(jwe_open(j, NULL, &out), ==, -EPERM);
    r = jwe_check_sender(j);
    if (r != 0)
        return r;
    (void)rsa_private_oaep_decrypt(p->decrypt_private, j->encrypted_key.data, j->encrypted_key.size, &key);
    r = jwe_open(j, key, &out);
    g_assert_cmpuint(out.size, ==, r == 0 ? strlen(TEXT) : 0);
    if (r == 0)
        g_assert_cmpstr(buf_text(&out), ==, TEXT);
    if (ret_signed)
        *ret_signed = j->has_sender;
    return r;
}

static void expect(int expected, const char *text, const TestPerson *p)
{
    int r = open_all(text, p, NULL);

    if (r != expected)
        g_error("%d in place of %d: %s", r, expected, text);
}

/* That why begins with words. */
static void expect_why(const char *words, const char *text, const TestPerson *p)
{
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;
    int r = parse(text, p, &j, &why);

    if (r != HMSG_ERROR_BAD_PACKAGE || !why || !g_str_has_prefix(why, words))
        g_error("%d (%s) in place of \"%s\": %s", r, why, words, text);
}

static void test_foreign(gconstpointer data)
{
    const People *who = data;
    const RsaKey *to = who->bob->decrypt;
    static const char *const headers[] = {
        HEADER,
        GCM_HEADER,
        "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\",\"typ\":\"JWE\",\"jku\":\"https://x\",\"p2c\":1}",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(headers); i++) {
        bool is_signed = true;
        g_autofree char *line = compact(to, headers[i]), *padded = g_strconcat(" \n", line, "\n", NULL);
        g_autofree char *flat = flattened(to, headers[i], "", NULL);
        g_autofree char *aad = flattened(to, headers[i], "\"aad\":\"QUFE\",", "QUFE");
        g_autofree char *no_aad = flattened(to, headers[i], "\"aad\":\"QUFE\",", NULL);
        g_autofree char *more =
            flattened(to, headers[i], "\"unprotected\":{\"a\":1},\"header\":{\"b\":2},\"z\":[],", NULL);
        g_assert_cmpint(open_all(line, who->bob, &is_signed), ==, 0);
        g_assert_false(is_signed);
        expect(0, padded, who->bob);
        expect(0, flat, who->bob);
        expect(0, aad, who->bob);
        expect(0, more, who->bob);
        expect(HMSG_ERROR_AUTHENTICATION_FAILED, no_aad, who->bob);
        expect(HMSG_ERROR_AUTHENTICATION_FAILED, line, who->carol); /* no kid: it is tried */
    }
}

/* One of several keys, as after a rotation. */
static void test_former(gconstpointer data)
{
    const People *who = data;
    uint8_t kids[2][KID_SIZE];
    static const char unnamed[] = "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\"}";
    g_autofree char *named =
        g_strdup_printf("{\"kid\":\"%s\",\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\"}", who->bob->kid);
    g_autofree char *of_former = compact(who->bob->decrypt, named),
                    *bare = compact(who->bob->decrypt, unnamed);
    g_autofree char *both =
        g_strdup_printf("{\"header\":{\"kid\":\"%s\"},\"encrypted_key\":\"%%s\"},{\"header\":{\"kid\":"
                        "\"%s\"},\"encrypted_key\":\"%%s\"}",
                        who->bob->kid, who->carol->kid);
    g_autofree char *two_of_ours = general(who->bob->decrypt, HEADER, both);
    const char *why = NULL;
    _cleanup_(jwe_freep) Jwe *a = NULL, *b = NULL, *c = NULL;

    memcpy(kids[0], who->carol->kids[0], KID_SIZE);
    memcpy(kids[1], who->bob->kids[0], KID_SIZE);
    g_assert_cmpint(jwe_parse(of_former, strlen(of_former), kids, 2, &a, &why), ==, 0);
    g_assert_cmpmem(a->kid, KID_SIZE, kids[1], KID_SIZE);
    g_assert_cmpint(jwe_parse(bare, strlen(bare), kids, 2, &b, &why), ==, 0);
    g_assert_cmpmem(b->kid, KID_SIZE, kids[0], KID_SIZE);
    g_assert_cmpint(jwe_parse(two_of_ours, strlen(two_of_ours), kids, 2, &c, &why), ==,
                    HMSG_ERROR_BAD_PACKAGE);
}

/* Which recipient is meant. */
static void test_recipients(gconstpointer data)
{
    const People *who = data;
    const RsaKey *to = who->bob->decrypt;
    const char *bob = who->bob->kid, *carol = who->carol->kid;
    g_autofree char *named =
        g_strdup_printf("{\"kid\":\"%s\",\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\"}", bob);
    g_autofree char *other =
        g_strdup_printf("{\"kid\":\"%s\",\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\"}", carol);
    g_autofree char *a = compact(to, named), *b = compact(to, other);
    g_autofree char *foreign =
        compact(to, "{\"kid\":\"bob 1\",\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\"}");
    expect(0, a, who->bob);
    expect(HMSG_ERROR_NOT_FOR_US, a, who->carol);
    expect(HMSG_ERROR_NOT_FOR_US, b, who->bob);
    expect(0, foreign, who->bob);

    const struct {
        char *recipients;
        int expected;
    } cases[] = {
        {g_strdup_printf("{\"header\":{\"kid\":\"%s\"},\"encrypted_key\":\"%%s\"}", bob), 0},
        {g_strdup("{\"encrypted_key\":\"%s\"}"), 0},
        {g_strdup_printf(
             "{\"header\":{\"kid\":\"%s\"},\"encrypted_key\":\"AAAA\"},{\"header\":{\"kid\":\"%s\"},"
             "\"encrypted_key\":\"%%s\"}",
             carol, bob),
         0},
        {g_strdup("{\"encrypted_key\":\"%s\"},{\"encrypted_key\":\"%s\"}"), HMSG_ERROR_NOT_FOR_US},
        {g_strdup_printf(
             "{\"header\":{\"kid\":\"%s\"},\"encrypted_key\":\"%%s\"},{\"header\":{\"kid\":\"%s\"},"
             "\"encrypted_key\":\"%%s\"}",
             bob, bob),
         HMSG_ERROR_BAD_PACKAGE},
        {g_strdup_printf("{\"header\":{\"kid\":\"%s\"},\"encrypted_key\":\"AAAA\"}", bob),
         HMSG_ERROR_BAD_PACKAGE},
        {g_strdup(""), HMSG_ERROR_BAD_PACKAGE},
        {g_strdup("\"x\""), HMSG_ERROR_BAD_PACKAGE},
        {g_strdup("{}"), HMSG_ERROR_BAD_PACKAGE},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = general(to, HEADER, cases[i].recipients);

        expect(cases[i].expected, text, who->bob);
        g_free(cases[i].recipients);
    }
    g_autoptr(GString) many = g_string_new("{\"encrypted_key\":\"AAAA\"}");
    for (unsigned i = 0; i < RECIPIENTS_MAX; i++)
        g_string_append(many, ",{\"encrypted_key\":\"AAAA\"}");
    g_autofree char *text = general(to, HEADER, many->str);
    expect(HMSG_ERROR_TOO_LARGE, text, who->bob);
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;
    g_assert_cmpint(jwe_parse(foreign, strlen(foreign), NULL, 0, &j, &why), ==, HMSG_ERROR_NOT_FOR_US);
}

static void test_headers(gconstpointer data)
{
    const People *who = data;
    static const struct {
        const char *header, *why;
    } cases[] = {
        {"{\"alg\":\"RSA1_5\",\"enc\":\"A256GCM\"}", "alg RSA1_5"},
        {"{\"alg\":\"RSA-OAEP\",\"enc\":\"A256GCM\"}", "alg RSA-OAEP uses SHA-1"},
        {"{\"alg\":\"RSA-OAEP-512\",\"enc\":\"A256GCM\"}", "alg of the JWE is not RSA-OAEP-256"},
        {"{\"alg\":\"dir\",\"enc\":\"A256GCM\"}", "alg dir"},
        {"{\"alg\":\"ECDH-ES+A256KW\",\"enc\":\"A256GCM\"}", "alg ECDH-ES"},
        {"{\"alg\":\"A256KW\",\"enc\":\"A256GCM\"}", "alg of the JWE is not"},
        {"{\"alg\":1,\"enc\":\"A256GCM\"}", "alg is missing in the protected"},
        {"{\"enc\":\"A256GCM\"}", "alg is missing in the protected"},
        {"{\"alg\":\"RSA-OAEP-256\"}", "enc is missing in the protected"},
        {"{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A128GCM\"}", "enc of the JWE is neither"},
        {"{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\",\"zip\":\"DEF\"}", "zip"},
        {"{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\",\"crit\":[\"exp\"],\"exp\":1}", "crit"},
        {"{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\",\"alg\":\"dir\"}",
         "A member of the JWE's protected header is there twice"},
        {"[\"A256GCM\"]", "The JWE's protected header is no JSON"},
        {"{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256CBC-HS512\",\"typ\":\"hmsg+json\"}",
         "The JWE is not of the form"},
        {"{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256CBC-HS512\",\"typ\":\"hmsg-shared+json\"}",
         "The JWE is not of the form"},
        {"{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256CBC-HS512\",\"typ\":\"hmsg-new+json\"}",
         "The JWE is not of the form"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *flat = flattened(who->bob->decrypt, cases[i].header, "", NULL);

        expect_why(cases[i].why, flat, who->bob);
        if (*cases[i].header != '{')
            continue;
        g_autofree char *line = compact(who->bob->decrypt, cases[i].header);
        expect_why(cases[i].why, line, who->bob);
    }
}

static void test_members(gconstpointer data)
{
    const People *who = data;
    static const struct {
        const char *before, *why;
    } cases[] = {
        {"\"unprotected\":{\"alg\":\"RSA-OAEP-256\"},", "alg is outside"},
        {"\"header\":{\"alg\":\"RSA-OAEP-256\"},", "alg is outside"},
        {"\"header\":{\"enc\":\"A256GCM\"},", "enc is outside"},
        {"\"header\":{\"zip\":\"DEF\"},", "zip"},
        {"\"unprotected\":{\"crit\":[]},", "crit is outside"},
        {"\"unprotected\":{\"cty\":\"x\"},", "A name is in two headers"},
        {"\"header\":{\"cty\":\"x\"},", "A name is in two headers"},
        {"\"unprotected\":{\"a\":1},\"header\":{\"a\":1},", "A name is in two headers"},
        {"\"unprotected\":1,", "unprotected of the JWE is no object"},
        {"\"header\":[],", "header of the JWE is no object"},
        {"\"recipients\":[],", "recipients of the JWE stands beside"},
        {"\"iv\":\"AA\",", "A member of the JWE is there twice"},
        {"\"aad\":1,", "aad of the JWE is no text"},
        {"\"aad\":\"Q\",", "aad of the JWE is not base64url"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = flattened(who->bob->decrypt, GCM_HEADER, cases[i].before, NULL);

        expect_why(cases[i].why, text, who->bob);
    }
    static const char *const names[] = {"\"protected\"", "\"encrypted_key\"", "\"iv\"", "\"ciphertext\"",
                                        "\"tag\""};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *flat = flattened(who->bob->decrypt, GCM_HEADER, "", NULL);
        g_autoptr(GString) without = g_string_new(flat), number = g_string_new(flat),
                           short_one = g_string_new(flat);
        g_autofree char *value = g_strconcat(names[i], ":\"", NULL);
        g_autofree char *cut = g_strconcat(names[i], ":\"A\",\"x\":\"", NULL);
        g_autofree char *one = g_strconcat(names[i], ":1,\"x\":\"", NULL);

        g_assert_cmpuint(g_string_replace(without, names[i], "\"other\"", 0), ==, 1);
        g_assert_cmpuint(g_string_replace(number, value, one, 0), ==, 1);
        g_assert_cmpuint(g_string_replace(short_one, value, cut, 0), ==, 1);
        expect(HMSG_ERROR_BAD_PACKAGE, without->str, who->bob);
        expect(HMSG_ERROR_BAD_PACKAGE, number->str, who->bob);
        expect(HMSG_ERROR_BAD_PACKAGE, short_one->str, who->bob);
    }
}

/* Keys of another size than enc takes, or none, end as a wrong tag does. */
static void test_keys(gconstpointer data)
{
    const People *who = data;
    for (int gcm = 0; gcm < 2; gcm++) {
        _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
        _cleanup_(secret_freep) Secret *short_one = NULL, *wrong = NULL;
        _cleanup_(jwe_freep) Jwe *j = NULL;
        const char *why = NULL;
        g_autofree char *text = compact(who->bob->decrypt, gcm ? GCM_HEADER : HEADER);

        g_assert_cmpint(parse(text, who->bob, &j, &why), ==, 0);
        g_assert_cmpint(jwe_check_sender(j), ==, 0);
        g_assert_cmpint(secret_new_random(16, &short_one), ==, 0);
        g_assert_cmpint(secret_new_random(jwe_key_size(j), &wrong), ==, 0);
        g_assert_cmpint(jwe_open(j, NULL, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
        g_assert_cmpint(jwe_open(j, short_one, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
        g_assert_cmpint(jwe_open(j, wrong, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
        g_assert_cmpuint(out.size, ==, 0);
    }
}

/* From sender (NULL: anonymous) to Bob and Carol. */
static char *shared(const People *who, const TestPerson *sender)
{
    RsaKey *to[] = {who->bob->decrypt, who->carol->decrypt, who->bob->decrypt};
    _cleanup_(jwe_writer_freep) JweWriter *w = NULL;
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX), out = BUF_MAX(JWE_MESSAGE_SIZE_MAX);

    g_assert_cmpint(jwe_writer_new(to, G_N_ELEMENTS(to), sender ? sender->sign : NULL, clock_realtime(), TEXT,
                                   strlen(TEXT), &w),
                    ==, 0);
    if (sender) {
        g_assert_cmpint(jwe_writer_prepare(w, &draft), ==, 0);
        g_assert_cmpint(jws_sign_rsa(&draft, sender->sign_private, &jws), ==, 0);
        g_assert_cmpint(jwe_writer_finish(w, NULL, &out), ==, -EINVAL);
        g_assert_cmpint(jwe_writer_finish(w, buf_text(&jws), &out), ==, 0);
    } else {
        g_assert_cmpint(jwe_writer_prepare(w, &draft), ==, -EINVAL);
        g_assert_cmpint(jwe_writer_finish(w, NULL, &out), ==, 0);
    }
    return g_strdup(buf_text(&out));
}

static void test_shared(gconstpointer data)
{
    const People *who = data;
    bool is_signed = false;
    g_autofree char *text = shared(who, who->alice), *anonymous = shared(who, NULL);

    g_assert_cmpint(open_all(text, who->bob, &is_signed), ==, 0);
    g_assert_true(is_signed);
    g_assert_cmpint(open_all(text, who->carol, &is_signed), ==, 0);
    expect(HMSG_ERROR_NOT_FOR_US, text, who->alice);
    g_assert_cmpint(open_all(anonymous, who->bob, &is_signed), ==, 0);
    g_assert_false(is_signed);
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;
    g_assert_cmpint(parse(text, who->bob, &j, &why), ==, 0);
    g_assert_cmpmem(j->skid, KID_SIZE, rsa_key_thumbprint(who->alice->sign), KID_SIZE);
    g_assert_cmpint(ABS(j->ts - clock_realtime()), <, 60);
}

/* Everything in it is signed or checked: no character can change and nobody notice. */
static void test_mutations(gconstpointer data)
{
    const People *who = data;
    g_autofree char *text = shared(who, who->alice);
    size_t n = strlen(text), refused = 0;

    for (size_t i = 0; i < n; i += 7) {
        g_autofree char *other = g_strdup(text);

        other[i] = other[i] == 'A' ? 'B' : 'A';
        if (wire_format_detect(other, n) != FORMAT_JWE)
            continue;
        int r = open_all(other, who->bob, NULL);
        if (r != HMSG_ERROR_BAD_PACKAGE && r != HMSG_ERROR_AUTHENTICATION_FAILED &&
            r != HMSG_ERROR_NOT_FOR_US)
            g_error("character %zu: %d", i, r);
        refused++;
    }
    g_assert_cmpuint(refused, >, n / 14);
}

/* The object without a member, or with another; to be freed. */
static char *with(const char *text, const char *path, const char *name, json_t *value)
{
    json_t *root = json_loads(text, 0, NULL);
    json_t *object = *path ? json_object_get(root, path) : root;

    g_assert_nonnull(object);
    if (value)
        json_object_set_new(object, name, value);
    else
        json_object_del(object, name);
    char *out = json_dumps(root, JSON_COMPACT), *copy = g_strdup(out);
    free(out);
    json_decref(root);
    return copy;
}

static const char *text_at(json_t *root, const char *path, const char *name)
{
    return json_string_value(json_object_get(*path ? json_object_get(root, path) : root, name));
}

/* Bob has the content key: he writes another content, adds recipients, and puts his own name to it. */
static void test_attacks(gconstpointer data)
{
    const People *who = data;
    g_autofree char *text = shared(who, who->alice), *second = shared(who, who->alice),
                    *of_carol = shared(who, who->carol);
    json_t *a = json_loads(text, 0, NULL), *b = json_loads(second, 0, NULL),
           *c = json_loads(of_carol, 0, NULL);
    _cleanup_(buf_done) Buf ciphertext = BUF_MAX(1024), ek = BUF_MAX(RSA_SIZE_MAX);
    _cleanup_(secret_freep) Secret *key = NULL;
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;
    uint8_t tag[32], sha256[SHA256_SIZE];

    /* a new content under the shared key, to Carol */
    g_assert_cmpint(parse(text, who->bob, &j, &why), ==, 0);
    g_assert_cmpint(rsa_private_oaep_decrypt(who->bob->decrypt_private, j->encrypted_key.data,
                                             j->encrypted_key.size, &key),
                    ==, 0);
    g_assert_cmpint(crypto_cbc_hs512_seal(secret_bytes(key), j->iv, j->aad.data, j->aad.size, "Forged", 6,
                                          &ciphertext, tag),
                    ==, 0);
    g_autofree char *forged_text = encoded(ciphertext.data, ciphertext.size), *forged_tag = encoded(tag, 32);
    g_autofree char *half = with(text, "", "ciphertext", json_string(forged_text));
    g_autofree char *forged = with(half, "", "tag", json_string(forged_tag));
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, forged, who->carol);

    /* the statement of another message of Alice's, or of another's message */
    g_autofree char *moved =
        with(text, "unprotected", "hmsg-signature", json_string(text_at(b, "unprotected", "hmsg-signature")));
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, moved, who->bob);
    g_autofree char *resigned =
        with(text, "", "unprotected", json_deep_copy(json_object_get(c, "unprotected")));
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, resigned, who->bob);
    g_autofree char *swapped =
        with(text, "unprotected", "hmsg-sender", json_string(text_at(c, "unprotected", "hmsg-sender")));
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, swapped, who->bob);
    g_autofree char *header = with(text, "", "protected", json_string(text_at(c, "", "protected")));
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, header, who->bob); /* skid is another's */

    /* without the signature, or half of it */
    g_autofree char *stripped = with(text, "", "unprotected", NULL);
    expect(HMSG_ERROR_BAD_PACKAGE, stripped, who->bob);
    g_autofree char *no_signature = with(text, "unprotected", "hmsg-signature", NULL);
    expect(HMSG_ERROR_BAD_PACKAGE, no_signature, who->bob);

    /* the same to a third, Alice herself: the list of recipients is signed */
    g_assert_cmpint(rsa_key_oaep_encrypt(who->alice->decrypt, secret_bytes(key), SESSION_KEYS_SIZE, &ek), ==,
                    0);
    g_autofree char *ek_text = encoded(ek.data, ek.size);
    json_t *list = json_deep_copy(json_object_get(a, "recipients"));
    json_array_append_new(list,
                          json_pack("{s{ss}ss}", "header", "kid", who->alice->kid, "encrypted_key", ek_text));
    g_autofree char *third = with(text, "", "recipients", list);
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, third, who->alice);
    list = json_deep_copy(json_object_get(a, "recipients"));
    json_array_remove(list, 1);
    g_autofree char *fewer = with(text, "", "recipients", list);
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, fewer, who->bob);

    /* it can be made into one that has no sender, and says so */
    g_autofree char *line = compact(who->carol->decrypt, HEADER);
    bool is_signed = true;
    g_assert_cmpint(open_all(line, who->carol, &is_signed), ==, 0);
    g_assert_false(is_signed);

    /* nor can a statement of another type stand for it */
    JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);
    g_assert_cmpint(crypto_sha256("", 0, sha256), ==, 0);
    g_assert_cmpint(jws_prepare(JWS_PS256, JWS_STREAM, rsa_key_thumbprint(who->alice->sign), "{}", 2, &draft),
                    ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, who->alice->sign_private, &jws), ==, 0);
    jws_draft_done(&draft);
    g_autofree char *other_type = with(text, "unprotected", "hmsg-signature", json_string(buf_text(&jws)));
    g_assert_cmpint(open_all(other_type, who->bob, NULL), !=, 0);
    json_decref(a);
    json_decref(b);
    json_decref(c);
}

static void test_compact(gconstpointer data)
{
    const People *who = data;
    _cleanup_(buf_done) Buf out = BUF_MAX(JWE_MESSAGE_SIZE_MAX), small = BUF_MAX(100);
    bool is_signed = true;

    g_assert_cmpint(jwe_build_compact(who->bob->decrypt, TEXT, strlen(TEXT), &out), ==, 0);
    g_assert_cmpint(open_all(buf_text(&out), who->bob, &is_signed), ==, 0);
    g_assert_false(is_signed);
    expect(HMSG_ERROR_NOT_FOR_US, buf_text(&out), who->carol);
    g_assert_cmpint(jwe_build_compact(who->bob->decrypt, TEXT, strlen(TEXT), &small), ==,
                    HMSG_ERROR_TOO_LARGE);
    g_assert_cmpuint(small.size, ==, 0);
    static const char *const broken[] = {"e.", "e....", "e...", "e.....", "e30.a.b.c.d", "e 0.a.b.c.d", ""};
    for (size_t i = 0; i < G_N_ELEMENTS(broken); i++) {
        _cleanup_(jwe_freep) Jwe *j = NULL;
        const char *why = NULL;

        g_assert_cmpint(jwe_parse(broken[i], strlen(broken[i]), who->bob->kids, 1, &j, &why), ==,
                        HMSG_ERROR_BAD_PACKAGE);
    }
    for (size_t i = 1; i < out.size; i++) {
        g_autofree char *other = g_strdup(buf_text(&out));

        if (other[i] == '.')
            continue;
        other[i] = other[i] == 'A' ? 'B' : 'A';
        g_assert_cmpint(open_all(other, who->bob, NULL), >, 0);
    }
}

static void test_sizes(gconstpointer data)
{
    const People *who = data;
    RsaKey *to[] = {who->bob->decrypt};
    _cleanup_(buf_done) Buf out = BUF_MAX(JWE_MESSAGE_SIZE_MAX), text = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(jwe_writer_freep) JweWriter *w = NULL;
    _cleanup_(secret_freep) Secret *key = NULL;
    _cleanup_(jwe_freep) Jwe *j = NULL;
    g_autofree char *large = g_strnfill(JWE_MESSAGE_SIZE_MAX + 1, 'e');
    const char *why = NULL;

    g_assert_cmpint(jwe_writer_new(to, 1, NULL, 0, large, PLAINTEXT_SIZE_MAX + 1, &w), ==,
                    HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(jwe_writer_new(to, RECIPIENTS_MAX + 1, NULL, 0, large, 1, &w), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(jwe_writer_new(to, 0, NULL, 0, large, 1, &w), ==, -EINVAL);
    g_assert_cmpint(jwe_build_compact(to[0], large, PLAINTEXT_SIZE_MAX + 1, &out), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(jwe_parse(large, JWE_MESSAGE_SIZE_MAX + 1, who->bob->kids, 1, &j, &why), ==,
                    HMSG_ERROR_TOO_LARGE);
    /* as much as one holds */
    g_assert_cmpint(jwe_writer_new(to, 1, NULL, 0, large, PLAINTEXT_SIZE_MAX, &w), ==, 0);
    g_assert_cmpint(jwe_writer_finish(w, NULL, &out), ==, 0);
    g_assert_cmpint(parse(buf_text(&out), who->bob, &j, &why), ==, 0);
    g_assert_cmpint(jwe_check_sender(j), ==, 0);
    g_assert_cmpint(rsa_private_oaep_decrypt(who->bob->decrypt_private, j->encrypted_key.data,
                                             j->encrypted_key.size, &key),
                    ==, 0);
    g_assert_cmpint(jwe_open(j, key, &text), ==, 0);
    g_assert_cmpmem(text.data, text.size, large, PLAINTEXT_SIZE_MAX);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autoptr(TestPerson) alice = test_person_new(), bob = test_person_new(), carol = test_person_new();
    const People who = {alice, bob, carol};
    g_test_add_data_func("/jwe-message/foreign", &who, test_foreign);
    g_test_add_data_func("/jwe-message/recipients", &who, test_recipients);
    g_test_add_data_func("/jwe-message/former", &who, test_former);
    g_test_add_data_func("/jwe-message/headers", &who, test_headers);
    g_test_add_data_func("/jwe-message/members", &who, test_members);
    g_test_add_data_func("/jwe-message/keys", &who, test_keys);
    g_test_add_data_func("/jwe-message/shared", &who, test_shared);
    g_test_add_data_func("/jwe-message/mutations", &who, test_mutations);
    g_test_add_data_func("/jwe-message/attacks", &who, test_attacks);
    g_test_add_data_func("/jwe-message/compact", &who, test_compact);
    g_test_add_data_func("/jwe-message/sizes", &who, test_sizes);
    return g_test_run();
}
