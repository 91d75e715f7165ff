/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Packages, JWE, the seed form and streams; right ones, and what must be refused. */

#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/jwe-message.h"
#include "libhmsg/wire/jwe.h"
#include "libhmsg/wire/seed.h"
#include "tests/unit/wire/stream-util.h"
#include "tests/vectors/make.h"

#define TEXT "Dear Bob, here are the plans."

static const char bad[] = "BadPackage", forged[] = "AuthenticationFailed";

/* To Bob, unless the name of another is given; takes over text. */
static void add(json_t *list, const char *name, const char *result, char *text)
{
    json_t *v = json_pack("{ss ss}", "recipient", "bob", "text", text);

    if (strcmp(result, "valid") == 0)
        json_object_set_new(v, "plaintext", json_string(TEXT));
    vector_add(list, name, result, v);
    g_free(text);
}

static char *package(const WireSession *s, uint64_t seq, int64_t exp, const char *text)
{
    _cleanup_(buf_done) Buf b = BUF_MAX(PACKAGE_SIZE_MAX);

    g_assert_cmpint(package_build(s, seq, VECTORS_NOW + 1, exp, text, strlen(text), &b), ==, 0);
    return g_strdup(buf_text(&b));
}

/* The text of a member. To be freed. */
static char *member(const char *text, const char *name)
{
    json_t *j = json_loads(text, 0, NULL);
    char *value = g_strdup(json_string_value(json_object_get(j, name)));

    g_assert_nonnull(value);
    json_decref(j);
    return value;
}

static char *exchange(const char *text, const char *other, const char *name)
{
    g_autofree char *mine = member(text, name), *theirs = member(other, name);

    return vector_replace(text, mine, theirs);
}

static void add_changed(json_t *list, const char *p)
{
    static const char *const spoilt[] = {"mac",       "ciphertext",        "iv",
                                         "protected", "encrypted_aes_key", "signature"};

    for (size_t i = 0; i < G_N_ELEMENTS(spoilt); i++) {
        g_autofree char *before = g_strdup_printf("\"%s\":\"", spoilt[i]);
        g_autofree char *name = g_strdup_printf("one character of %s is another", spoilt[i]);
        bool header = strcmp(spoilt[i], "protected") == 0 || strcmp(spoilt[i], "signature") == 0;

        /* the first character of these two is that of a JSON object, which then is none */
        add(list, name, header ? bad : forged, vector_spoil(p, before));
    }
}

static void add_malformed(json_t *list, const char *p)
{
    add(list, "a member is there twice", bad, vector_replace(p, "{\"hmsg\":1", "{\"hmsg\":1,\"hmsg\":1"));
    add(list, "an unknown member", bad, vector_replace(p, "{\"hmsg\":1", "{\"hmsg\":1,\"x\":1"));
    add(list, "another version", bad, vector_replace(p, "{\"hmsg\":1", "{\"hmsg\":2"));
    add(list, "without mac", bad, vector_replace(p, "\"mac\":", "\"mad\":"));
    add(list, "padding", bad, vector_replace(p, "\",\"ciphertext\"", "=\",\"ciphertext\""));
    add(list, "something behind it", bad, g_strconcat(p, "x", NULL));
    add(list, "no JSON", bad, g_strdup("hmsg"));
    add(list, "without signature", bad, vector_replace(p, "\"signature\":", "\"x\":"));
}

json_t *make_packages(const Cast *c)
{
    json_t *list = json_array();
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(c->alice, c->bob, VECTORS_NOW);
    _cleanup_(wire_session_freep) WireSession *t = test_session_new(c->alice, c->bob, VECTORS_NOW);
    _cleanup_(wire_session_freep) WireSession *of_carol = test_session_new(c->carol, c->bob, VECTORS_NOW);
    _cleanup_(wire_session_freep) WireSession *to_carol = test_session_new(c->alice, c->carol, VECTORS_NOW);
    _cleanup_(wire_session_freep) WireSession *anonymous = test_session_new(NULL, c->bob, VECTORS_NOW);
    _cleanup_(wire_session_freep) WireSession *other = test_session_new(NULL, c->bob, VECTORS_NOW);
    g_autofree char *p = package(s, 0, 0, TEXT), *q = package(t, 0, 0, TEXT),
                    *r = package(of_carol, 0, 0, TEXT), *elsewhere = package(to_carol, 0, 0, TEXT),
                    *a = package(anonymous, 0, 0, TEXT), *b = package(other, 0, 0, TEXT);

    add(list, "signed by Alice", "valid", g_strdup(p));
    add(list, "the second one of its session", "valid", package(s, 1, 0, TEXT));
    add(list, "with exp", "valid", package(s, 2, VECTORS_NOW + 3600, TEXT));
    add(list, "anonymous", "valid", g_strdup(a));
    add(list, "an array, the second is Bob's", "valid", g_strdup_printf("[%s,%s]", elsewhere, p));
    add(list, "for Carol", "NotForUs", g_strdup(elsewhere));
    add_changed(list, p);
    add(list, "the statement of another session", forged, exchange(p, q, "signature"));
    add(list, "the statement and the key of another sender", forged, ({
            g_autofree char *half = exchange(p, r, "signature");
            exchange(half, r, "sender_public_key");
        }));
    add(list, "the key of another sender", forged, exchange(p, r, "sender_public_key"));
    add(list, "the encrypted key of another session", forged, exchange(p, q, "encrypted_aes_key"));
    add(list, "the header of another session", forged, exchange(p, q, "protected"));
    add(list, "anonymous, with other keys than kc says", forged, exchange(a, b, "encrypted_aes_key"));
    add(list, "anonymous, with the ciphertext of another", forged, exchange(a, b, "ciphertext"));
    add_malformed(list, p);
    return list;
}

static char *shared(const Cast *c, const TestPerson *sender)
{
    RsaKey *to[] = {c->bob->decrypt, c->carol->decrypt};
    _cleanup_(jwe_writer_freep) JweWriter *w = NULL;
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX), out = BUF_MAX(JWE_MESSAGE_SIZE_MAX);

    g_assert_cmpint(jwe_writer_new(to, 2, sender ? sender->sign : NULL, VECTORS_NOW, TEXT, strlen(TEXT), &w),
                    ==, 0);
    if (sender) {
        g_assert_cmpint(jwe_writer_prepare(w, &draft), ==, 0);
        g_assert_cmpint(jws_sign_rsa(&draft, sender->sign_private, &jws), ==, 0);
    }
    g_assert_cmpint(jwe_writer_finish(w, sender ? buf_text(&jws) : NULL, &out), ==, 0);
    return g_strdup(buf_text(&out));
}

/* One member of the object taken from another, at the outside or in the unprotected header. */
static char *graft(const char *text, const char *other, const char *name)
{
    json_t *a = json_loads(text, 0, NULL), *b = json_loads(other, 0, NULL);

    json_object_set(a, name, json_object_get(b, name));
    char *out = json_dumps(a, JSON_COMPACT), *copy = g_strdup(out);
    free(out);
    json_decref(a);
    json_decref(b);
    return copy;
}

/* What only its header makes wrong. */
static char *headed(const char *header)
{
    g_autofree char *text = g_malloc(BASE64URL_SIZE(strlen(header)) + 1);

    base64url_encode(header, strlen(header), text);
    return g_strconcat(text, ".AAAA.AAAA.AAAA.AAAA", NULL);
}

json_t *make_jwe(const Cast *c)
{
    json_t *list = json_array();
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(c->alice, c->bob, VECTORS_NOW);
    _cleanup_(buf_done) Buf flat = BUF_MAX(JWE_SIZE_MAX), line = BUF_MAX(JWE_MESSAGE_SIZE_MAX);
    g_autofree char *p = package(s, 0, 0, TEXT), *both = shared(c, c->alice), *again = shared(c, c->alice),
                    *of_carol = shared(c, c->carol), *anonymous = shared(c, NULL);

    g_assert_cmpint(jwe_from_package(p, strlen(p), &flat), ==, 0);
    g_assert_cmpint(jwe_build_compact(c->bob->decrypt, TEXT, strlen(TEXT), &line), ==, 0);
    add(list, "a package by the names of JWE", "valid", g_strdup(buf_text(&flat)));
    add(list, "for two, signed", "valid", g_strdup(both));
    add(list, "for two, anonymous", "valid", g_strdup(anonymous));
    add(list, "compact", "valid", g_strdup(buf_text(&line)));
    add(list, "another content", forged, vector_spoil(both, "\"ciphertext\":\""));
    add(list, "another tag", forged, vector_spoil(both, "\"tag\":\""));
    add(list, "the signature of another message", forged, graft(both, again, "unprotected"));
    add(list, "signed by another", forged, graft(both, of_carol, "unprotected"));
    add(list, "the recipients of another message", forged, graft(both, again, "recipients"));
    add(list, "the header of another sender", forged, graft(both, of_carol, "protected"));
    add(list, "without signature", bad, vector_replace(both, "\"hmsg-signature\":", "\"x\":"));
    add(list, "anonymous, another content", forged, vector_spoil(anonymous, "\"ciphertext\":\""));
    add(list, "alg RSA1_5", bad, headed("{\"alg\":\"RSA1_5\",\"enc\":\"A256GCM\"}"));
    add(list, "alg RSA-OAEP, which is SHA-1", bad, headed("{\"alg\":\"RSA-OAEP\",\"enc\":\"A256GCM\"}"));
    add(list, "alg dir", bad, headed("{\"alg\":\"dir\",\"enc\":\"A256GCM\"}"));
    add(list, "zip", bad, headed("{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\",\"zip\":\"DEF\"}"));
    add(list, "crit", bad, headed("{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\",\"crit\":[\"x\"],\"x\":1}"));
    return list;
}

json_t *make_seeds(const Cast *c)
{
    json_t *list = json_array();
    _cleanup_(buf_done) Buf b = BUF_MAX(SEED_SIZE_MAX);

    g_assert_cmpint(seed_build(c->bob->decrypt, c->alice->sign, TEXT, strlen(TEXT), &b), ==, 0);
    const char *p = buf_text(&b), *mac = strstr(p, ",\"hmac\"");
    add(list, "with hmac", "valid", g_strdup(p));
    add(list, "without hmac: only when asked for", "valid", g_strdup_printf("%.*s}", (int)(mac - p), p));
    add(list, "another hmac", forged, vector_spoil(p, "\"hmac\":\""));
    add(list, "another iv", forged, vector_spoil(p, "\"iv\":\""));
    add(list, "another content", forged, vector_spoil(p, "\"ciphertext\":\""));
    add(list, "an unknown member", bad, vector_replace(p, "{\"sender", "{\"x\":1,\"sender"));
    return list;
}

/* Byte i of a stream's content is i mod 251. */
static uint8_t *content(size_t n)
{
    uint8_t *data = g_malloc(n + 1);

    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)(i % 251);
    return data;
}

static void add_stream(json_t *list, const char *name, const char *result, size_t size, bool verified,
                       const void *data, size_t n)
{
    json_t *v = json_pack("{ss so si sb}", "recipient", "bob", "stream", vector_bytes(data, n), "size",
                          (int)size, "verified", verified);

    vector_add(list, name, result, v);
}

/* Whole chunks, of three. */
static void add_moved(json_t *list, const Buf *s, size_t size, size_t trailer)
{
    g_autofree uint8_t *copy = g_memdup2(s->data, s->size);
    size_t chunks = s->size - trailer - size % STREAM_CHUNK_SIZE - STREAM_TAG_SIZE -
                    size / STREAM_CHUNK_SIZE * STREAM_SEALED_CHUNK_SIZE;
    uint8_t *first = copy + chunks, *second = first + STREAM_SEALED_CHUNK_SIZE;
    g_autofree uint8_t *kept = g_memdup2(first, STREAM_SEALED_CHUNK_SIZE);

    memcpy(first, second, STREAM_SEALED_CHUNK_SIZE);
    memcpy(second, kept, STREAM_SEALED_CHUNK_SIZE);
    add_stream(list, "two chunks change places", forged, size, false, copy, s->size);
    add_stream(list, "ends behind its second chunk", forged, size, false, s->data,
               chunks + 2 * STREAM_SEALED_CHUNK_SIZE);
}

/* Of one chunk of `size` bytes. */
static void add_damaged(json_t *list, const Buf *s, size_t size, size_t trailer)
{
    g_autofree uint8_t *copy = g_malloc0(s->size + 1);
    size_t chunk = s->size - trailer - size - STREAM_TAG_SIZE;
    const struct {
        const char *name;
        size_t at;
    } bits[] = {
        {"one bit of a chunk", chunk},
        {"one bit of the commitment", chunk - 1},
        {"one bit of the salt", chunk - STREAM_PREFIX_SIZE},
        {"one bit of the end", s->size - 1},
    };

    memcpy(copy, s->data, s->size);
    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++) {
        copy[bits[i].at] ^= 1;
        add_stream(list, bits[i].name, forged, size, false, copy, s->size);
        copy[bits[i].at] ^= 1;
    }
    add_stream(list, "a byte is missing", forged, size, false, copy, s->size - 1);
    add_stream(list, "a byte too many", forged, size, false, copy, s->size + 1);
}

static size_t trailer_of(const Buf *s)
{
    return (size_t)s->data[12] << 24 | (size_t)s->data[13] << 16 | (size_t)s->data[14] << 8 | s->data[15];
}

json_t *make_streams(const Cast *c)
{
    static const size_t sizes[] = {0, 1, STREAM_CHUNK_SIZE - 1, STREAM_CHUNK_SIZE, STREAM_CHUNK_SIZE + 1};
    const TestPerson *const to[] = {c->bob, c->carol};
    json_t *list = json_array();

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *name = g_strdup_printf("%zu bytes by Alice", sizes[i]);
        g_autofree uint8_t *plain = content(sizes[i]);
        _cleanup_(buf_done) Buf s = stream_make(c->alice, to, 1, plain, sizes[i]);

        add_stream(list, name, "valid", sizes[i], true, s.data, s.size);
    }
    size_t large = 2 * STREAM_CHUNK_SIZE + 7, small = 100;
    g_autofree uint8_t *plain = content(large);
    _cleanup_(buf_done) Buf nobody = stream_make(NULL, to, 1, plain, small),
                            three = stream_make(c->alice, to, 2, plain, large),
                            both = stream_make(c->alice, to, 2, plain, small),
                            other = stream_make(c->alice, to, 2, plain, small);
    size_t trailer = trailer_of(&both);
    add_stream(list, "anonymous", "valid", small, false, nobody.data, nobody.size);
    add_stream(list, "for two, with a trailer", "valid", small, true, both.data, both.size);
    add_stream(list, "for two, three chunks", "valid", large, true, three.data, three.size);
    add_moved(list, &three, large, trailer_of(&three));
    add_damaged(list, &both, small, trailer);
    memcpy(both.data + both.size - trailer, other.data + other.size - trailer, trailer);
    add_stream(list, "the trailer of another stream", forged, small, false, both.data, both.size);
    return list;
}
