/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* make-corpus FOLDER: writes the inputs from which fuzzing begins, those that need keys. Run by hand when a
 * format changes; what it writes is kept in corpus/. */

#include <glib.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/export.h"
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

int main(int argc, char **argv)
{
    if (argc != 2)
        g_error("usage: make-corpus FOLDER");
    root = argv[1];
    g_autoptr(TestPerson) alice = test_person_new(), bob = test_person_new();
    save_packages(alice, bob);
    save_stream(alice, bob);
    save_keys(alice);
    save_seed(alice, bob);
    save_chain(alice, bob);
    return 0;
}
