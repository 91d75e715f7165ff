/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Statements of all types, and what is derived from keys without a text of its own. */

#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "tests/vectors/make.h"

/* Filled with one byte, so that payloads can be read. */
static void fill(uint8_t *bytes, size_t n, uint8_t value)
{
    memset(bytes, value, n);
}

static json_t *spki_of(const RsaKey *key)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(key, &n);

    return vector_bytes(spki, n);
}

static json_t *spki_of_ec(const EcKey *key)
{
    size_t n = 0;
    const uint8_t *spki = ec_key_spki(key, &n);

    return vector_bytes(spki, n);
}

static json_t *payload_of(const char *jws)
{
    g_auto(GStrv) parts = g_strsplit(jws, ".", 3);
    _cleanup_(buf_done) Buf payload = BUF_MAX(JWS_PAYLOAD_SIZE_MAX);
    json_t *j = NULL;

    g_assert_cmpint(base64url_decode(parts[1], strlen(parts[1]), &payload), ==, 0);
    g_assert_cmpint(json_parse_object(buf_text(&payload), payload.size, &j), ==, 0);
    return j;
}

static void add(json_t *list, const char *name, const char *result, const char *type, const char *jws,
                json_t *key)
{
    json_t *v = json_pack("{ss ss so}", "type", type, "jws", jws, "key", key);

    if (strcmp(result, "valid") == 0)
        json_object_set_new(v, "payload", payload_of(jws));
    vector_add(list, name, result, v);
}

/* Signs and adds; clears the draft. */
static void add_signed(json_t *list, const char *type, JwsDraft *draft, EVP_PKEY *signer, const RsaKey *key)
{
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    g_assert_cmpint(jws_sign_rsa(draft, signer, &jws), ==, 0);
    add(list, type, "valid", type, buf_text(&jws), spki_of(key));
    jws_draft_done(draft);
    *draft = (JwsDraft){.alg = JWS_PS256};
}

static void add_online(json_t *list, const char *type, JwsDraft *draft, const EcKey *online)
{
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    g_assert_cmpint(jws_sign_ec(draft, online, &jws), ==, 0);
    add(list, type, "valid", type, buf_text(&jws), spki_of_ec(online));
    jws_draft_done(draft);
    *draft = (JwsDraft){.alg = JWS_PS256};
}

/* What is wrong with a good one. */
static void add_refused(json_t *list, const Cast *c, const char *jws)
{
    static const char type[] = "hmsg-identity+jwt", bad[] = "BadPackage", forged[] = "AuthenticationFailed";
    g_autofree char *spoilt = g_strdup(jws), *padded = g_strconcat(jws, "=", NULL),
                    *more = g_strconcat(jws, ".", NULL);
    char *last = strrchr(spoilt, '.') + 1;

    *last = *last == 'A' ? 'B' : 'A';
    add(list, "another signature", forged, type, spoilt, spki_of(c->alice->sign));
    add(list, "another's key", forged, type, jws, spki_of(c->bob->sign));
    add(list, "padding", bad, type, padded, spki_of(c->alice->sign));
    add(list, "a fourth part", bad, type, more, spki_of(c->alice->sign));
    add(list, "another type than is asked for", bad, "hmsg-session+jwt", jws, spki_of(c->alice->sign));
    g_auto(GStrv) parts = g_strsplit(jws, ".", 3);
    g_autofree char *header =
        g_strdup_printf("{\"alg\":\"none\",\"typ\":\"%s\",\"kid\":\"%s\"}", type, c->alice->skid);
    g_autofree char *encoded = g_malloc(BASE64URL_SIZE(strlen(header)) + 1);
    base64url_encode(header, strlen(header), encoded);
    g_autofree char *none = g_strdup_printf("%s.%s.", encoded, parts[1]);
    add(list, "alg none", bad, type, none, spki_of(c->alice->sign));
}

static void add_of_users(json_t *list, const Cast *c, const char *identity)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(c->alice, c->bob, VECTORS_NOW);
    g_autofree char *next = test_person_statement_after(c->carol, "alice@relay.example", 1, identity),
                    *rotate = test_person_rotate(c->alice, c->carol, 1);
    JwsDraft draft = {0};
    RegisterRequest q = {
        .method = REGISTER_MEMBER, .name = "alice", .iat = VECTORS_NOW, .exp = VECTORS_NOW + 60};
    LoginRequest l = {.iat = VECTORS_NOW, .exp = VECTORS_NOW + 60};

    fill(q.binding.pin, PIN_SIZE, 1);
    fill(q.binding.nonce, NONCE_SIZE, 2);
    fill(q.binding.exporter, EXPORTER_SIZE, 3);
    l.binding = q.binding;
    fill(l.epk, X25519_SIZE, 9);
    g_assert_cmpint(crypto_sha256(identity, strlen(identity), q.statement_sha256), ==, 0);
    add(list, "hmsg-session+jwt", "valid", "hmsg-session+jwt", buf_text(&s->jws), spki_of(c->alice->sign));
    add(list, "hmsg-identity+jwt", "valid", "hmsg-identity+jwt", identity, spki_of(c->alice->sign));
    add(list, "hmsg-identity+jwt that follows it", "valid", "hmsg-identity+jwt", next,
        spki_of(c->carol->sign));
    add(list, "hmsg-rotate+jwt between the two", "valid", "hmsg-rotate+jwt", rotate, spki_of(c->alice->sign));
    g_assert_cmpint(register_request_prepare(&q, rsa_key_thumbprint(c->alice->sign), &draft), ==, 0);
    add_signed(list, "hmsg-register+jwt", &draft, c->alice->sign_private, c->alice->sign);
    g_assert_cmpint(login_request_prepare(&l, rsa_key_thumbprint(c->alice->sign), &draft), ==, 0);
    add_signed(list, "hmsg-login+jwt", &draft, c->alice->sign_private, c->alice->sign);
}

static void add_of_relay(json_t *list, const Cast *c, const char *identity, EVP_PKEY *relay, EcKey *online)
{
    _cleanup_(rsa_key_freep) RsaKey *public = NULL;
    JwsDraft draft = {0};
    g_assert_cmpint(rsa_key_from_evp(relay, &public), ==, 0);
    RelayStatement statement = {
        .identity = public, .online = online, .nbf = VECTORS_NOW, .exp = VECTORS_NOW + 3600};
    Binding b = {.name = "alice", .iat = VECTORS_NOW, .exp = VECTORS_NOW + 600};
    Receipt r = {.durability = DURABILITY_DISK, .iat = VECTORS_NOW};
    LoginResponse l = {.iat = VECTORS_NOW, .exp = VECTORS_NOW + 60};

    g_assert_cmpint(rsa_key_pin(public, b.pin), ==, 0);
    memcpy(b.skid, rsa_key_thumbprint(c->alice->sign), KID_SIZE);
    memcpy(b.kid, rsa_key_thumbprint(c->alice->decrypt), KID_SIZE);
    g_assert_cmpint(crypto_sha256(identity, strlen(identity), b.statement_sha256), ==, 0);
    memcpy(r.pin, b.pin, PIN_SIZE);
    memcpy(r.recipient, rsa_key_thumbprint(c->bob->decrypt), KID_SIZE);
    memcpy(r.submitter, b.skid, KID_SIZE);
    g_assert_cmpint(crypto_sha256("body", 4, r.body_sha256), ==, 0);
    g_assert_cmpint(message_id(r.recipient, "body", 4, r.id), ==, 0);
    memcpy(l.pin, b.pin, PIN_SIZE);
    memcpy(l.skid, b.skid, KID_SIZE);
    fill(l.nonce, NONCE_SIZE, 2);
    fill(l.epk, X25519_SIZE, 9);

    g_assert_cmpint(relay_statement_prepare(&statement, &draft), ==, 0);
    add_signed(list, "hmsg-relay+jwt", &draft, relay, public);
    g_assert_cmpint(binding_prepare(&b, online, &draft), ==, 0);
    add_online(list, "hmsg-binding+jwt", &draft, online);
    g_assert_cmpint(receipt_prepare(&r, online, &draft), ==, 0);
    add_online(list, "hmsg-receipt+jwt", &draft, online);
    g_assert_cmpint(login_response_prepare(&l, online, &draft), ==, 0);
    add_online(list, "hmsg-login+jwt", &draft, online);
}

json_t *make_statements(const Cast *c, EVP_PKEY *relay, EcKey *online)
{
    json_t *list = json_array();
    g_autofree char *identity = test_person_statement(c->alice, "alice@relay.example");

    add_of_users(list, c, identity);
    add_of_relay(list, c, identity, relay, online);
    add_refused(list, c, identity);
    return list;
}

/* Both sides of a login get the same key. */
static void add_acknowledgement(json_t *list, const Cast *c)
{
    _cleanup_(secret_freep) Secret *mine = NULL, *theirs = NULL, *key = NULL;
    uint8_t my_public[X25519_SIZE], their_public[X25519_SIZE], nonce[NONCE_SIZE], pin[PIN_SIZE],
        mac[SHA256_SIZE];
    uint8_t ids[2 * ID_SIZE];
    const uint8_t *skid = rsa_key_thumbprint(c->alice->sign);

    fill(nonce, sizeof(nonce), 2);
    fill(pin, sizeof(pin), 1);
    fill(ids, ID_SIZE, 7);
    fill(ids + ID_SIZE, ID_SIZE, 8);
    g_assert_cmpint(x25519_generate(&mine, my_public), ==, 0);
    g_assert_cmpint(x25519_generate(&theirs, their_public), ==, 0);
    g_assert_cmpint(ack_key_derive(mine, their_public, nonce, pin, skid, &key), ==, 0);
    g_assert_cmpint(ack_mac(key, pin, ids, 2, mac), ==, 0);
    vector_add(
        list, "acknowledgement", "valid",
        json_pack("{so so so so so so so so}", "private", vector_bytes(secret_bytes(mine), secret_size(mine)),
                  "peer", vector_bytes(their_public, sizeof(their_public)), "nonce",
                  vector_bytes(nonce, sizeof(nonce)), "pin", vector_bytes(pin, sizeof(pin)), "skid",
                  vector_bytes(skid, KID_SIZE), "key", vector_bytes(secret_bytes(key), secret_size(key)),
                  "ids", vector_bytes(ids, sizeof(ids)), "mac", vector_bytes(mac, sizeof(mac))));
}

json_t *make_derived(const Cast *c)
{
    json_t *list = json_array();
    const uint8_t *kid = rsa_key_thumbprint(c->bob->decrypt);
    _cleanup_(secret_freep) Secret *secret = NULL;
    _cleanup_(buf_done) Buf challenge = BUF_MAX(RSA_SIZE_MAX);
    uint8_t id[ID_SIZE], pin[PIN_SIZE], answer[SHA256_SIZE];

    fill(pin, sizeof(pin), 1);
    g_assert_cmpint(message_id(kid, "body", 4, id), ==, 0);
    vector_add(list, "message id", "valid",
               json_pack("{so ss so}", "kid", vector_bytes(kid, KID_SIZE), "body", "body", "id",
                         vector_bytes(id, sizeof(id))));
    g_assert_cmpint(pop_make(c->bob->decrypt, pin, &secret, &challenge), ==, 0);
    g_assert_cmpint(pop_answer(secret, "request", 7, answer), ==, 0);
    vector_add(list, "proof of possession", "valid",
               json_pack("{ss so so ss so}", "recipient", "bob", "pin", vector_bytes(pin, sizeof(pin)),
                         "challenge", vector_bytes(challenge.data, challenge.size), "request", "request",
                         "answer", vector_bytes(answer, sizeof(answer))));
    add_acknowledgement(list, c);
    return list;
}
