/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JWS and what is signed with it: each statement round trip, each binding refused when it is another's, and
 * no statement taken for one of another type. */

#include "libhmsg/wire/statement.h"

#include <glib.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/jws.h"
#include "libhmsg/wire/statement-internal.h"
#include "tests/lib/person.h"

#define NOW INT64_C(1800000000)

static TestPerson *alice, *bob;
static EVP_PKEY *relay_private;
static RsaKey *relay_key;
static EcKey *online, *other_online;
static uint8_t pin[PIN_SIZE];

static char *sign_rsa(const JwsDraft *d, EVP_PKEY *key)
{
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    g_assert_cmpint(jws_sign_rsa(d, key, &jws), ==, 0);
    return g_strdup(buf_text(&jws));
}

static char *sign_ec(const JwsDraft *d)
{
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    g_assert_cmpint(jws_sign_ec(d, online, &jws), ==, 0);
    return g_strdup(buf_text(&jws));
}

static void fill(uint8_t *p, size_t n, uint8_t with)
{
    memset(p, with, n);
}

static RequestBinding binding_of_test(void)
{
    RequestBinding b;

    memcpy(b.pin, pin, PIN_SIZE);
    fill(b.nonce, NONCE_SIZE, 1);
    fill(b.exporter, EXPORTER_SIZE, 2);
    return b;
}

/* A statement of each kind, as text. */
static char *make_login(void)
{
    LoginRequest q = {.binding = binding_of_test(), .iat = NOW, .exp = NOW + 60};
    _cleanup_(jws_draft_done) JwsDraft d = {0};

    fill(q.epk, X25519_SIZE, 3);
    g_assert_cmpint(login_request_prepare(&q, rsa_key_thumbprint(alice->sign), &d), ==, 0);
    return sign_rsa(&d, alice->sign_private);
}

static char *make_register(RegisterMethod method)
{
    RegisterRequest q = {.binding = binding_of_test(), .method = method, .iat = NOW, .exp = NOW + 60};
    _cleanup_(jws_draft_done) JwsDraft d = {0};

    if (method == REGISTER_MEMBER || method == REGISTER_UNREGISTER)
        g_strlcpy(q.name, "alice", sizeof(q.name));
    fill(q.statement_sha256, SHA256_SIZE, 4);
    g_assert_cmpint(register_request_prepare(&q, rsa_key_thumbprint(alice->sign), &d), ==, 0);
    return sign_rsa(&d, alice->sign_private);
}

static char *make_relay(int64_t nbf, int64_t exp)
{
    RelayStatement s = {
        .identity = relay_key, .online = online, .nbf = nbf, .exp = exp, .has_next_pin = true};
    _cleanup_(jws_draft_done) JwsDraft d = {0};

    fill(s.next_pin, PIN_SIZE, 9);
    g_assert_cmpint(relay_statement_prepare(&s, &d), ==, 0);
    return sign_rsa(&d, relay_private);
}

static char *make_binding(void)
{
    Binding b = {.name = "alice", .iat = NOW, .exp = NOW + 600};
    _cleanup_(jws_draft_done) JwsDraft d = {0};

    memcpy(b.pin, pin, PIN_SIZE);
    fill(b.skid, KID_SIZE, 5);
    fill(b.kid, KID_SIZE, 6);
    fill(b.statement_sha256, SHA256_SIZE, 7);
    g_assert_cmpint(binding_prepare(&b, online, &d), ==, 0);
    return sign_ec(&d);
}

static char *make_receipt(void)
{
    Receipt q = {.durability = DURABILITY_DISK, .iat = NOW};
    _cleanup_(jws_draft_done) JwsDraft d = {0};

    memcpy(q.pin, pin, PIN_SIZE);
    fill(q.id, ID_SIZE, 1);
    fill(q.body_sha256, SHA256_SIZE, 2);
    fill(q.recipient, KID_SIZE, 3);
    fill(q.submitter, KID_SIZE, 4);
    g_assert_cmpint(receipt_prepare(&q, online, &d), ==, 0);
    return sign_ec(&d);
}

static char *make_response(void)
{
    LoginResponse a = {.iat = NOW, .exp = NOW + 60};
    _cleanup_(jws_draft_done) JwsDraft d = {0};

    memcpy(a.pin, pin, PIN_SIZE);
    fill(a.skid, KID_SIZE, 5);
    fill(a.nonce, NONCE_SIZE, 1);
    fill(a.epk, X25519_SIZE, 8);
    g_assert_cmpint(login_response_prepare(&a, online, &d), ==, 0);
    return sign_ec(&d);
}

static void test_identity(void)
{
    g_autofree char *text = test_person_statement(alice, "alice@relay.example");
    IdentityStatement s = {0};

    g_assert_cmpint(identity_statement_parse(text, strlen(text), NOW + 400000000, &s), ==, 0);
    g_assert_cmpstr(s.address, ==, "alice@relay.example");
    g_assert_true(rsa_key_equal(s.sign, alice->sign));
    g_assert_true(rsa_key_equal(s.decrypt, alice->decrypt));
    g_assert_cmpint(s.protection, ==, PROTECTION_TPM);
    identity_statement_done(&s);
    g_assert_cmpstr(identity_statement_protection(text, strlen(text)), ==, "tpm");
    g_assert_cmpstr(identity_statement_protection(text, strlen(text) / 2), ==, "");
    /* from the future */
    g_assert_cmpint(identity_statement_parse(text, strlen(text), 1000, &s), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

static void test_identity_refused(void)
{
    static const char *const addresses[] = {"alice@Relay.example", "alice@relay.example:7443", "alice",
                                            "Alice@relay.example"};
    IdentityStatement s = {.sign = alice->sign, .decrypt = alice->decrypt, .iat = NOW}, out = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(addresses); i++) {
        g_autofree char *text = test_person_statement(alice, addresses[i]);

        g_assert_cmpint(identity_statement_parse(text, strlen(text), NOW + 400000000, &out), ==,
                        HMSG_ERROR_BAD_PACKAGE);
    }
    /* one key for both */
    _cleanup_(jws_draft_done) JwsDraft d = {0}, stolen = {0};
    g_strlcpy(s.address, "alice@relay.example", sizeof(s.address));
    s.decrypt = alice->sign;
    g_assert_cmpint(identity_statement_prepare(&s, &d), ==, 0);
    g_autofree char *twice = sign_rsa(&d, alice->sign_private);
    g_assert_cmpint(identity_statement_parse(twice, strlen(twice), NOW, &out), ==, HMSG_ERROR_BAD_PACKAGE);
    /* somebody else signs for alice's keys */
    s.decrypt = alice->decrypt;
    g_assert_cmpint(identity_statement_prepare(&s, &stolen), ==, 0);
    g_autofree char *forged = sign_rsa(&stolen, bob->sign_private);
    g_assert_cmpint(identity_statement_parse(forged, strlen(forged), NOW, &out), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

static void test_login(void)
{
    g_autofree char *text = make_login();
    RequestBinding good = binding_of_test(), bad;
    LoginRequest q = {0};
    uint8_t skid[KID_SIZE];
    size_t n = strlen(text);

    g_assert_cmpint(login_request_peek(text, n, skid), ==, 0);
    g_assert_cmpmem(skid, KID_SIZE, rsa_key_thumbprint(alice->sign), KID_SIZE);
    g_assert_cmpint(login_request_parse(text, n, alice->sign, &good, NOW, &q), ==, 0);
    g_assert_cmpint(q.epk[0], ==, 3);
    g_assert_cmpint(login_request_parse(text, n, bob->sign, &good, NOW, &q), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    bad = good;
    bad.pin[0] ^= 1;
    g_assert_cmpint(login_request_parse(text, n, alice->sign, &bad, NOW, &q), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    bad = good;
    bad.nonce[31] ^= 1;
    g_assert_cmpint(login_request_parse(text, n, alice->sign, &bad, NOW, &q), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    bad = good;
    bad.exporter[7] ^= 1;
    g_assert_cmpint(login_request_parse(text, n, alice->sign, &bad, NOW, &q), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(login_request_parse(text, n, alice->sign, &good, NOW + 60 + CLOCK_SKEW_MAX, &q), ==, 0);
    g_assert_cmpint(login_request_parse(text, n, alice->sign, &good, NOW + 61 + CLOCK_SKEW_MAX, &q), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(login_request_parse(text, n, alice->sign, &good, NOW - 1 - CLOCK_SKEW_MAX, &q), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

static void test_register(void)
{
    for (RegisterMethod m = 0; m < REGISTER_METHOD_MAX_; m++) {
        g_autofree char *text = make_register(m);
        RequestBinding good = binding_of_test(), bad = good;
        RegisterRequest q = {0};
        uint8_t skid[KID_SIZE];

        g_assert_cmpint(register_request_parse(text, strlen(text), alice->sign, &good, NOW, &q), ==, 0);
        g_assert_cmpint(q.method, ==, m);
        g_assert_cmpstr(q.name, ==, m == REGISTER_GUEST || m == REGISTER_ROTATE ? "" : "alice");
        g_assert_cmpint(q.statement_sha256[0], ==, m == REGISTER_UNREGISTER ? 0 : 4);
        g_assert_cmpint(register_request_peek(text, strlen(text), skid), ==, 0);
        bad.exporter[0] ^= 1;
        g_assert_cmpint(register_request_parse(text, strlen(text), alice->sign, &bad, NOW, &q), ==,
                        HMSG_ERROR_AUTHENTICATION_FAILED);
    }
}

static void test_response(void)
{
    g_autofree char *text = make_response();
    uint8_t skid[KID_SIZE], nonce[NONCE_SIZE];
    LoginResponse a = {0};
    size_t n = strlen(text);

    fill(skid, sizeof(skid), 5);
    fill(nonce, sizeof(nonce), 1);
    g_assert_cmpint(login_response_parse(text, n, online, pin, skid, nonce, NOW, &a), ==, 0);
    g_assert_cmpint(a.epk[0], ==, 8);
    g_assert_cmpint(login_response_parse(text, n, other_online, pin, skid, nonce, NOW, &a), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    nonce[0] = 9;
    g_assert_cmpint(login_response_parse(text, n, online, pin, skid, nonce, NOW, &a), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    nonce[0] = 1;
    skid[0] = 9;
    g_assert_cmpint(login_response_parse(text, n, online, pin, skid, nonce, NOW, &a), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

static void test_relay(void)
{
    g_autofree char *text = make_relay(NOW, NOW + 86400), *late = make_relay(NOW, NOW + 86401);
    RelayStatement s = {0};
    uint8_t wrong[PIN_SIZE] = {0};

    g_assert_cmpint(relay_statement_parse(text, strlen(text), pin, NOW, &s), ==, 0);
    g_assert_true(s.has_next_pin);
    g_assert_cmpint(s.next_pin[0], ==, 9);
    relay_statement_done(&s);
    g_assert_cmpint(relay_statement_parse(text, strlen(text), wrong, NOW, &s), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(relay_statement_parse(text, strlen(text), pin, NOW + 86400 + 301, &s), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(relay_statement_parse(late, strlen(late), pin, NOW, &s), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

static void test_binding_and_receipt(void)
{
    g_autofree char *binding = make_binding(), *receipt = make_receipt();
    uint8_t wrong[PIN_SIZE] = {0};
    Binding b = {0};
    Receipt q = {0};

    g_assert_cmpint(binding_parse(binding, strlen(binding), online, pin, NOW, &b), ==, 0);
    g_assert_cmpstr(b.name, ==, "alice");
    g_assert_cmpint(binding_parse(binding, strlen(binding), online, wrong, NOW, &b), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(binding_parse(binding, strlen(binding), other_online, pin, NOW, &b), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(binding_parse(binding, strlen(binding), online, pin, NOW + 901, &b), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(receipt_parse(receipt, strlen(receipt), online, pin, NOW, &q), ==, 0);
    g_assert_cmpint(q.submitter[0], ==, 4);
    g_assert_cmpint(receipt_parse(receipt, strlen(receipt), online, wrong, NOW, &q), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(receipt_parse(receipt, strlen(receipt), other_online, pin, NOW, &q), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

/* No statement passes for one of another type, even by the right key. */
static void test_types(void)
{
    g_autofree char *login = make_login(), *registration = make_register(REGISTER_MEMBER);
    g_autofree char *identity = test_person_statement(alice, "alice@relay.example");
    RequestBinding binding = binding_of_test();
    SessionStatement session;
    IdentityStatement s = {0};
    RegisterRequest rq;
    LoginRequest lq;

    g_assert_cmpint(register_request_parse(login, strlen(login), alice->sign, &binding, NOW, &rq), ==,
                    HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(login_request_parse(registration, strlen(registration), alice->sign, &binding, NOW, &lq),
                    ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(session_statement_parse(login, strlen(login), alice->sign, &session), ==,
                    HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(session_statement_parse(identity, strlen(identity), alice->sign, &session), ==,
                    HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(identity_statement_parse(login, strlen(login), NOW, &s), ==, HMSG_ERROR_BAD_PACKAGE);
}

/* Each character of a JWS changed, and each of its beginnings. */
static void test_flipped(void)
{
    g_autofree char *text = make_receipt();
    size_t n = strlen(text);
    Receipt q;

    for (size_t i = 0; i < n; i++) {
        char kept = text[i];

        text[i] = kept == 'A' ? 'B' : 'A';
        int r = receipt_parse(text, n, online, pin, NOW, &q);
        g_assert_true(r == HMSG_ERROR_AUTHENTICATION_FAILED || r == HMSG_ERROR_BAD_PACKAGE);
        text[i] = kept;
        r = receipt_parse(text, i, online, pin, NOW, &q);
        g_assert_true(r == HMSG_ERROR_AUTHENTICATION_FAILED || r == HMSG_ERROR_BAD_PACKAGE);
    }
    g_assert_cmpint(receipt_parse(text, n, online, pin, NOW, &q), ==, 0);
    g_autofree char *huge = g_strnfill(JWS_SIZE_MAX + 1, 'A');
    g_assert_cmpint(receipt_parse(huge, JWS_SIZE_MAX + 1, online, pin, NOW, &q), ==, HMSG_ERROR_TOO_LARGE);
}

/* A header with anything but alg, typ and kid; alg none. */
static void test_headers(void)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\",\"typ\":\"hmsg-receipt+jwt\",\"kid\":\"%s\"}",
        "{\"alg\":\"HS256\",\"typ\":\"hmsg-receipt+jwt\",\"kid\":\"%s\"}",
        "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%s\"}",
        "{\"alg\":\"ES256\",\"typ\":\"hmsg-receipt+jwt\",\"kid\":\"%s\",\"crit\":[\"x\"],\"x\":1}",
        "{\"alg\":\"ES256\",\"typ\":\"hmsg-receipt+jwt\",\"kid\":\"%s\",\"jwk\":{}}",
        "{\"alg\":\"ES256\",\"typ\":\"hmsg-receipt+jwt\"}",
    };
    char kid[HASH_TEXT_SIZE];
    Receipt q;

    base64url_encode(ec_key_thumbprint(online), KID_SIZE, kid);
    for (size_t i = 0; i < G_N_ELEMENTS(headers); i++) {
        _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
        g_autofree char *header = g_strdup_printf(headers[i], kid);
#pragma GCC diagnostic pop
        uint8_t digest[SHA256_SIZE], signature[ES256_SIGNATURE_SIZE];

        g_assert_cmpint(base64url_append(&jws, header, strlen(header)), ==, 0);
        g_assert_cmpint(buf_append_string(&jws, ".e30"), ==, 0);
        g_assert_cmpint(crypto_sha256(jws.data, jws.size, digest), ==, 0);
        g_assert_cmpint(ec_key_sign_es256(online, digest, signature), ==, 0);
        g_assert_cmpint(buf_append_string(&jws, "."), ==, 0);
        g_assert_cmpint(base64url_append(&jws, signature, sizeof(signature)), ==, 0);
        g_assert_cmpint(receipt_parse(buf_text(&jws), jws.size, online, pin, NOW, &q), ==,
                        HMSG_ERROR_BAD_PACKAGE);
    }
}

/* Members that no statement has, signed by the right key. */
static void test_unknown_member(void)
{
    _cleanup_(jws_draft_done) JwsDraft d = {0};
    json_t *payload = json_pack("{s:s}", "surprise", "x");
    Receipt q;

    g_assert_cmpint(statement_draft(payload, JWS_ES256, JWS_RECEIPT, ec_key_thumbprint(online), &d), ==, 0);
    g_autofree char *text = sign_ec(&d);
    g_assert_cmpint(receipt_parse(text, strlen(text), online, pin, NOW, &q), ==, HMSG_ERROR_BAD_PACKAGE);
    json_decref(payload);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    alice = test_person_new();
    bob = test_person_new();
    relay_private = test_rsa_new(3072);
    g_assert_cmpint(rsa_key_from_evp(relay_private, &relay_key), ==, 0);
    g_assert_cmpint(rsa_key_pin(relay_key, pin), ==, 0);
    g_assert_cmpint(ec_key_generate(&online), ==, 0);
    g_assert_cmpint(ec_key_generate(&other_online), ==, 0);
    g_test_add_func("/statement/identity", test_identity);
    g_test_add_func("/statement/identity-refused", test_identity_refused);
    g_test_add_func("/statement/login", test_login);
    g_test_add_func("/statement/register", test_register);
    g_test_add_func("/statement/login-response", test_response);
    g_test_add_func("/statement/relay", test_relay);
    g_test_add_func("/statement/binding-and-receipt", test_binding_and_receipt);
    g_test_add_func("/statement/types", test_types);
    g_test_add_func("/statement/flipped", test_flipped);
    g_test_add_func("/statement/headers", test_headers);
    g_test_add_func("/statement/unknown-member", test_unknown_member);
    status = g_test_run();
    test_person_free(alice);
    test_person_free(bob);
    EVP_PKEY_free(relay_private);
    (void)rsa_key_free(relay_key);
    (void)ec_key_free(online);
    (void)ec_key_free(other_online);
    return status;
}
