/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* make-corpus FOLDER: writes the inputs from which fuzzing begins, those that need keys. Run by hand when a
 * format changes; what it writes is kept in corpus/. */

#include <glib.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/cms.h"
#include "libhmsg/wire/export.h"
#include "libhmsg/wire/jwe-message.h"
#include "libhmsg/wire/jwe.h"
#include "libhmsg/wire/rotation.h"
#include "libhmsg/wire/seed.h"
#include "libhmsg/wire/stream.h"
#include "tests/lib/person.h"

static const char *root;

static void save(const char *target, const char *name, const void *data, size_t n)
{
    g_autofree char *folder = g_build_filename(root, target, NULL);
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autoptr(GError) error = NULL;

    if (g_mkdir_with_parents(folder, 0755) < 0 || !g_file_set_contents(path, data, (gssize)n, &error))
        g_error("%s: %s", path, error ? error->message : "no folder");
}

static Buf package(const TestPerson *from, const TestPerson *to, int64_t exp)
{
    int64_t now = clock_realtime();
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(from, to, now);
    Buf text = BUF_MAX(PACKAGE_SIZE_MAX);

    g_assert_cmpint(package_build(s, 3, now, exp ? now + exp : 0, "hello", 5, &text), ==, 0);
    return text;
}

static void save_packages(const TestPerson *a, const TestPerson *b)
{
    _cleanup_(buf_done) Buf signed_one = package(a, b, 60), anonymous = package(NULL, b, 0),
                            other = package(a, a, 0);
    g_autofree char *both = g_strdup_printf("[%s,%s]", buf_text(&other), buf_text(&signed_one));

    save("package", "signed.json", signed_one.data, signed_one.size);
    save("package", "anonymous.json", anonymous.data, anonymous.size);
    save("package", "array.json", both, strlen(both));

    _cleanup_(buf_done) Buf jwe = BUF_MAX(JWE_SIZE_MAX);
    g_assert_cmpint(jwe_from_package(buf_text(&signed_one), signed_one.size, &jwe), ==, 0);
    save("package", "signed-jwe.json", jwe.data, jwe.size);
}

static void save_jwe(const TestPerson *reader, const char *name, const char *text)
{
    g_autofree char *input = g_strdup_printf("%s\n%s", reader->kid, text);

    save("jwe", name, input, strlen(input));
}

/* Ours in all forms, and what others write. */
static void save_jwes(const TestPerson *a, const TestPerson *b)
{
    RsaKey *to[] = {a->decrypt, b->decrypt};
    _cleanup_(jwe_writer_freep) JweWriter *w = NULL, *anonymous = NULL;
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX), signed_one = BUF_MAX(JWE_MESSAGE_SIZE_MAX),
                            other = BUF_MAX(JWE_MESSAGE_SIZE_MAX), line = BUF_MAX(JWE_MESSAGE_SIZE_MAX);

    g_assert_cmpint(jwe_writer_new(to, 2, a->sign, clock_realtime(), "hello", 5, &w), ==, 0);
    g_assert_cmpint(jwe_writer_prepare(w, &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, a->sign_private, &jws), ==, 0);
    g_assert_cmpint(jwe_writer_finish(w, buf_text(&jws), &signed_one), ==, 0);
    save_jwe(b, "shared.json", buf_text(&signed_one));
    g_assert_cmpint(jwe_writer_new(to, 2, NULL, clock_realtime(), "hello", 5, &anonymous), ==, 0);
    g_assert_cmpint(jwe_writer_finish(anonymous, NULL, &other), ==, 0);
    save_jwe(b, "anonymous.json", buf_text(&other));
    g_assert_cmpint(jwe_build_compact(b->decrypt, "hello", 5, &line), ==, 0);
    save_jwe(b, "compact.txt", buf_text(&line));
    g_auto(GStrv) parts = g_strsplit(buf_text(&line), ".", 5);
    g_autofree char *flat =
        g_strdup_printf("{\"unprotected\":{\"cty\":\"x\"},\"header\":{\"y\":[1]},\"aad\":\"QUFE\","
                        "\"protected\":\"%s\",\"encrypted_key\":\"%s\",\"iv\":\"%s\","
                        "\"ciphertext\":\"%s\",\"tag\":\"%s\"}",
                        parts[0], parts[1], parts[2], parts[3], parts[4]);
    save_jwe(b, "flattened.json", flat);
    g_autofree char *gcm =
        g_strdup_printf("eyJhbGciOiJSU0EtT0FFUC0yNTYiLCJlbmMiOiJBMjU2R0NNIn0.%s.AAAAAAAAAAAAAAAA.AAAA."
                        "AAAAAAAAAAAAAAAAAAAAAA",
                        parts[1]);
    save_jwe(b, "gcm.txt", gcm);
}

static void save_stream(const TestPerson *a, const TestPerson *b)
{
    int64_t now = clock_realtime();
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(a, b, now),
                                              *t = test_session_new(a, a, now);
    const StreamRecipient to[] = {{s, 0}, {t, 1}};

    for (size_t n = 1; n <= 2; n++) {
        _cleanup_(stream_writer_freep) StreamWriter *w = NULL;
        _cleanup_(buf_done) Buf head = BUF_MAX(1u << 20);
        g_autofree char *name = g_strdup_printf("%zu.bin", n);

        g_assert_cmpint(stream_writer_new(to, n, now, 0, &w, &head), ==, 0);
        save("stream", name, head.data, head.size);
        g_autofree char *packages = g_strdup_printf("%zu-packages.json", n);
        save("package", packages, head.data + STREAM_PREAMBLE_SIZE,
             head.size - STREAM_PREAMBLE_SIZE - STREAM_PREFIX_SIZE);
    }
    save("stream", "cut.bin", "\x11", 1);
    save("stream", "edit.bin", "\x04\x00\x01", 3);
}

static void save_recovery(const TestPerson *a)
{
    g_autoptr(TestPerson) offline = test_person_new();
    _cleanup_(recovery_keys_done) RecoveryKeys recovery = {0};

    g_assert_cmpint(recovery_keys_add(&recovery, offline->decrypt, offline->sign), ==, 0);
    g_autofree char *statement = test_person_statement_with(a, "alice@relay.example", 1, NULL, &recovery);
    save("statement", "recovery.json", statement, strlen(statement));

    Devices devices = {.n = 0};
    Device d;
    memset(&d.kid, 1, KID_SIZE);
    memset(&d.skid, 2, KID_SIZE);
    g_assert_cmpint(devices_add(&devices, &d), ==, 0);
    g_autofree char *with =
        test_person_statement_devices(a, "alice@relay.example", &devices, clock_realtime());
    save("statement", "devices.json", with, strlen(with));
}

static void save_keys(const TestPerson *a)
{
    g_autofree char *statement = test_person_statement(a, "alice@relay.example");
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX), jwk = BUF_MAX(KEY_FILE_SIZE_MAX),
                            identity = BUF_MAX(KEY_FILE_SIZE_MAX);
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(a->decrypt, &n);

    g_assert_cmpint(rsa_key_to_pem(a->decrypt, &pem), ==, 0);
    g_assert_cmpint(rsa_key_to_jwk(a->decrypt, false, &jwk), ==, 0);
    g_assert_cmpint(export_write(statement, strlen(statement), &identity), ==, 0);
    save("key", "key.pem", pem.data, pem.size);
    save("key", "jwk.json", jwk.data, jwk.size);
    save("key", "identity.json", identity.data, identity.size);
    save("key", "spki.der", spki, n);
    save("statement", "identity.json", statement, strlen(statement));
    save_recovery(a);
}

/* j is taken. */
static void save_members_as(const char *name, json_t *j)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);

    g_assert_cmpint(json_write(j, &text), ==, 0);
    save("members", name, text.data, text.size);
    json_decref(j);
}

static char *succession(const TestPerson *from, const TestPerson *to)
{
    Succession s = {.identity = from->sign, .iat = clock_realtime()};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    g_assert_cmpint(rsa_key_pin(to->sign, s.next_pin), ==, 0);
    g_assert_cmpint(succession_prepare(&s, &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, from->sign_private, &jws), ==, 0);
    return g_strdup(buf_text(&jws));
}

static void save_members(const TestPerson *a, const TestPerson *b)
{
    g_autofree char *first = succession(a, b), *second = succession(b, a);
    _cleanup_(recovery_keys_done) RecoveryKeys recovery = {0};
    json_t *j = json_object(), *ticks = json_object();
    Devices devices = {.n = 0};
    Ticks t = {.n = 0};
    Device d;

    memcpy(d.kid, rsa_key_thumbprint(a->decrypt), KID_SIZE);
    memcpy(d.skid, rsa_key_thumbprint(a->sign), KID_SIZE);
    g_assert_cmpint(devices_add(&devices, &d), ==, 0);
    memset(&d.kid, 1, KID_SIZE);
    memset(&d.skid, 2, KID_SIZE);
    g_assert_cmpint(devices_add(&devices, &d), ==, 0);
    g_assert_cmpint(devices_put(&devices, j), ==, 0);
    save_members_as("devices.json", j);
    j = json_object();
    g_assert_cmpint(recovery_keys_add(&recovery, a->decrypt, a->sign), ==, 0);
    g_assert_cmpint(recovery_keys_add(&recovery, b->decrypt, NULL), ==, 0);
    g_assert_cmpint(recovery_keys_put(&recovery, j), ==, 0);
    save_members_as("recovery.json", j);
    for (unsigned i = 0; i < 3; i++)
        g_assert_cmpint(ticks_next(&t), ==, 0);
    g_assert_cmpint(ticks_put(ticks, &t), ==, 0);
    save_members_as("ticks.json", ticks);
    save_members_as("successions.json", json_pack("{s[ss]}", "successions", first, second));
}

/* A body for the target of this number in fuzz-bodies.c; takes over j. */
static void save_body(unsigned target, const char *name, json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT);
    g_autofree char *input = g_strdup_printf("%c%s", '0' + (int)target, text);

    save("bodies", name, input, strlen(input));
    free(text);
    json_decref(j);
}

static char *request(const TestPerson *a, RegisterMethod method, const char *name)
{
    RegisterRequest q = {.method = method, .iat = clock_realtime(), .exp = clock_realtime() + 60};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    g_strlcpy(q.name, name, sizeof(q.name));
    g_assert_cmpint(register_request_prepare(&q, rsa_key_thumbprint(a->sign), &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, a->sign_private, &jws), ==, 0);
    return g_strdup(buf_text(&jws));
}

static char *login(const TestPerson *a)
{
    LoginRequest q = {.iat = clock_realtime(), .exp = clock_realtime() + 60};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    g_assert_cmpint(login_request_prepare(&q, rsa_key_thumbprint(a->sign), &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, a->sign_private, &jws), ==, 0);
    return g_strdup(buf_text(&jws));
}

static void save_bodies(const TestPerson *a, const TestPerson *b)
{
    static const char hash[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    g_autofree char *statement = test_person_statement(a, "alice@relay.example"),
                    *next = test_person_statement_after(b, "alice@relay.example", 1, statement),
                    *rotate = test_person_rotate(a, b, 1), *member = request(a, REGISTER_MEMBER, "alice"),
                    *end = request(a, REGISTER_UNREGISTER, "alice"), *in = login(a);
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(a->decrypt, &n);
    json_t *challenge = json_object(), *steps = json_array();

    g_assert_cmpint(json_put_bytes(challenge, "decrypt_spki", spki, n), ==, 0);
    spki = rsa_key_spki(a->sign, &n);
    g_assert_cmpint(rotation_step_put(steps, rotate, spki, n), ==, 0);
    save_body(0, "nonce.txt", json_object());
    save_body(1, "challenge.txt", challenge);
    save_body(
        2, "register.txt",
        json_pack("{ss ss ss ss}", "statement", statement, "request", member, "answer", hash, "invite", "x"));
    save_body(3, "unregister.txt", json_pack("{ss}", "request", end));
    save_body(4, "login.txt", json_pack("{ss}", "request", in));
    save_body(
        5, "rotate.txt",
        json_pack("{ss ss ss so}", "statement", next, "request", member, "answer", hash, "steps", steps));
    save_body(6, "acknowledge.txt", json_pack("{s[ss] ss}", "ids", hash, hash, "mac", hash));
}

static void save_seed(const TestPerson *a, const TestPerson *b)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(SEED_SIZE_MAX);

    g_assert_cmpint(seed_build(b->decrypt, a->sign, "hello", 5, &text), ==, 0);
    save("seed", "mac.json", text.data, text.size);
    g_autofree char *bare = g_strdup(buf_text(&text));
    char *mac = strstr(bare, ",\"hmac\"");
    memcpy(mac, "}", 2);
    save("seed", "bare.json", bare, strlen(bare));
}

/* One link, from a to b. */
static void save_chain(const TestPerson *a, const TestPerson *b)
{
    g_autofree char *from = test_person_statement(a, "alice@relay.example");
    g_autofree char *to = test_person_statement_after(b, "alice@relay.example", 1, from);
    g_autofree char *rotate = test_person_rotate(a, b, 1);
    _cleanup_(json_decrefp) json_t *chain = json_array(), *link = json_object(), *steps = json_array();
    _cleanup_(buf_done) Buf text = BUF_MAX(ROTATION_ANSWER_SIZE_MAX);
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(a->sign, &n);

    g_assert_cmpint(rotation_step_put(steps, rotate, spki, n), ==, 0);
    g_assert_cmpint(json_put_text(link, "from", from), ==, 0);
    g_assert_cmpint(json_put(link, "steps", json_incref(steps)), ==, 0);
    g_assert_cmpint(json_put_text(link, "to", to), ==, 0);
    g_assert_cmpint(json_array_append(chain, link), ==, 0);
    g_assert_cmpint(json_write(chain, &text), ==, 0);
    save("rotation", "chain.json", text.data, text.size);
}

static void save_cms_of(const char *name, const CmsRecipient *to, size_t n, const Buf *content, bool pem)
{
    _cleanup_(buf_done) Buf b = BUF_MAX(CMS_TEXT_SIZE_MAX);

    g_assert_cmpint(cms_build(to, n, content->data, content->size, pem, &b), ==, 0);
    save("cms", name, b.data, b.size);
}

static void sign_cms(const TestPerson *from, const CmsRecipient *to, size_t n, const Buf *content, Buf *ret)
{
    _cleanup_(cms_draft_freep) CmsDraft *d = NULL;
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);

    g_assert_cmpint(cms_draft_new(from->sign, to, n, clock_realtime(), content->data, content->size, &d), ==,
                    0);
    g_assert_cmpint(rsa_private_sign_ps256(from->sign_private, cms_draft_digest(d), &signature), ==, 0);
    g_assert_cmpint(cms_draft_finish(d, content->data, content->size, signature.data, signature.size, ret),
                    ==, 0);
}

/* What only others write, EnvelopedData in SignedData with a certificate, is cbc.der: openssl made it. */
static void save_cms(const TestPerson *a, const TestPerson *b)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(16), inner = BUF_MAX(CMS_SIZE_MAX), outer = BUF_MAX(CMS_SIZE_MAX),
                            enveloped = BUF_MAX(CMS_SIZE_MAX);
    g_autoptr(GByteArray) cert = test_certificate_new(b->decrypt_private, -60, 3600, "keyEncipherment", true);
    _cleanup_(cert_freep) Cert *c = NULL;

    g_assert_cmpint(cert_read(cert->data, cert->len, &c), ==, 0);
    g_assert_cmpint(buf_append(&text, "hello", 5), ==, 0);
    const CmsRecipient to[] = {
        {.key = a->decrypt},
        {c->key, c->issuer_serial.data, c->issuer_serial.size},
    };
    save_cms_of("key.der", to, 1, &text, false);
    save_cms_of("two.pem", to, 2, &text, true);
    sign_cms(a, to, 2, &text, &inner);
    save("cms", "signed.der", inner.data, inner.size);
    g_assert_cmpint(cms_build(to, 2, "hello", 5, false, &enveloped), ==, 0);
    sign_cms(a, to, 2, &enveloped, &outer);
    save("cms", "outer.der", outer.data, outer.size);
    save("cms", "cert.der", cert->data, cert->len);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        g_error("usage: make-corpus FOLDER");
    root = argv[1];
    g_autoptr(TestPerson) alice = test_person_new(), bob = test_person_new();
    save_packages(alice, bob);
    save_jwes(alice, bob);
    save_stream(alice, bob);
    save_keys(alice);
    save_members(alice, bob);
    save_seed(alice, bob);
    save_cms(alice, bob);
    save_chain(alice, bob);
    save_bodies(alice, bob);
    return 0;
}
