/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* People whose keys are in software may have larger ones than a TPM makes: to them and from them, in each
 * form. */

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/export.h"
#include "libhmsg/wire/jwe.h"
#include "libhmsg/wire/stream.h"
#include "tests/integration/mail.h"
#include "tests/lib/person.h"

#define TEXT "What one may read"
#define STREAM_ROOM 65536u

typedef struct Fixture {
    Scene *scene;
    SceneUser *user;
    TestPerson *dora;
    TestPerson us; /* the user's public key */
} Fixture;

static void set_up(Fixture *f, gconstpointer bits)
{
    g_autofree char *pem = NULL;

    f->scene = scene_new();
    f->user = scene_user_new(f->scene, "bob");
    f->dora = test_person_new_of(GPOINTER_TO_UINT(bits));
    scene_ctl_expect(f->user, 0, "identity", "create", NULL);
    g_assert_cmpint(scene_ctl(f->user, NULL, &pem, NULL, "identity", "export", "--format=pem", NULL), ==, 0);
    g_assert_cmpint(rsa_key_from_pem(pem, strlen(pem), &f->us.decrypt), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void)rsa_key_free(f->us.decrypt);
    test_person_free(f->dora);
    scene_free(f->scene);
}

/* A file of the scene; its path, to be freed. */
static char *file_of(Fixture *f, const char *name, const Buf *b)
{
    char *path = scene_path(f->scene, name);

    g_assert_true(g_file_set_contents(path, buf_text(b), (gssize)b->size, NULL));
    return path;
}

/* What the user encrypts with these options; to be freed. */
static char *encrypted(Fixture *f, const char *recipient, const char *format, gsize *ret_size)
{
    g_autofree char *path = scene_path(f->scene, "sealed");
    g_autofree char *in = scene_path(f->scene, "plain");
    char *sealed = NULL;

    g_assert_true(g_file_set_contents(in, TEXT, -1, NULL));
    scene_ctl_expect(f->user, 0, "encrypt", "-r", recipient, "--format", format, "-o", path, in, NULL);
    g_assert_true(g_file_get_contents(path, &sealed, ret_size, NULL));
    return sealed;
}

static void check_package(const TestPerson *p, const void *text, gsize n)
{
    const uint8_t(*kids)[KID_SIZE] = p->kids;
    _cleanup_(buf_done) Buf plain = BUF_MAX(1000);
    _cleanup_(package_freep) Package *package = NULL;
    _cleanup_(secret_freep) Secret *keys = NULL;
    size_t kid = 0;

    g_assert_cmpint(package_find(text, n, PACKAGE_MESSAGE, kids, 1, &package, &kid), ==, 0);
    g_assert_cmpint(package_check_sender(package, NULL, NULL), ==, 0);
    keys = test_person_unwrap(p, package);
    g_assert_cmpint(package_open(package, keys, &plain), ==, 0);
    g_assert_cmpmem(plain.data, plain.size, TEXT, strlen(TEXT));
}

static void check_stream(const TestPerson *p, const uint8_t *data, gsize n)
{
    const uint8_t(*kids)[KID_SIZE] = p->kids;
    _cleanup_(package_freep) Package *package = NULL;
    _cleanup_(stream_reader_freep) StreamReader *reader = NULL;
    _cleanup_(secret_freep) Secret *keys = NULL;
    g_autofree uint8_t *out = g_malloc(n);
    size_t header = 0, kid = 0, made = 0;

    g_assert_cmpint(stream_header_size(data, &header), ==, 0);
    g_assert_cmpint(stream_header_parse(data, header, kids, 1, &package, &kid), ==, 0);
    g_assert_cmpint(package_check_sender(package, NULL, NULL), ==, 0);
    keys = test_person_unwrap(p, package);
    g_assert_cmpint(stream_reader_new(data, header, package, keys, data + header, &reader), ==, 0);
    header += STREAM_PREFIX_SIZE;
    g_assert_cmpint(stream_open(reader, data + header, n - header, true, out, &made), ==, 0);
    g_assert_cmpmem(out, made, TEXT, strlen(TEXT));
    g_assert_true(stream_reader_verified(reader));
}

/* By a key file, and by a contact that was made of the exported identity. */
static void test_to(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX), exported = BUF_MAX(KEY_FILE_SIZE_MAX);
    g_autofree char *statement = test_person_statement(f->dora, "");

    g_assert_cmpint(rsa_key_to_pem(f->dora->decrypt, &pem), ==, 0);
    g_assert_cmpint(export_write(statement, strlen(statement), &exported), ==, 0);
    g_autofree char *pem_path = file_of(f, "dora.pem", &pem), *path = file_of(f, "dora", &exported);
    scene_ctl_expect(f->user, 0, "contact", "add", "--key", path, "--name=Dora", NULL);
    g_autofree char *by_pem = g_strconcat("key:", pem_path, NULL), *by_file = g_strconcat("key:", path, NULL);
    const char *const recipients[] = {by_pem, by_file, "Dora"};
    for (size_t i = 0; i < G_N_ELEMENTS(recipients); i++) {
        _cleanup_(buf_done) Buf native = BUF_MAX(PACKAGE_SIZE_MAX);
        gsize n = 0, n_stream = 0, n_jwe = 0;
        g_autofree char *package = encrypted(f, recipients[i], "hmsg", &n);
        g_autofree char *stream = encrypted(f, recipients[i], "stream", &n_stream);
        g_autofree char *jwe = encrypted(f, recipients[i], "jwe", &n_jwe);

        check_package(f->dora, package, n);
        check_stream(f->dora, (const uint8_t *)stream, n_stream);
        g_assert_cmpint(jwe_to_package(jwe, n_jwe, &native), ==, 0);
        check_package(f->dora, buf_text(&native), native.size);
    }
}

/* decrypt must give the text, and say that it is hers. */
static void expect_opened(Fixture *f, const char *path)
{
    g_autofree char *got = scene_path(f->scene, "got");
    g_autofree char *text = NULL;
    json_t *facts = scene_ctl_json(f->user, "decrypt", "-o", got, path, NULL);

    g_assert_true(json_is_true(json_object_get(facts, "verified")));
    g_assert_cmpstr(mail_fact(facts, "sender_kid"), ==, f->dora->skid);
    json_decref(facts);
    g_assert_true(g_file_get_contents(got, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, TEXT);
}

static void test_from(Fixture *f, gconstpointer data)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(f->dora, &f->us, clock_realtime());
    _cleanup_(buf_done) Buf exported = BUF_MAX(KEY_FILE_SIZE_MAX), package = BUF_MAX(PACKAGE_SIZE_MAX),
                            jwe = BUF_MAX(JWE_SIZE_MAX), stream = BUF_MAX(STREAM_ROOM);
    _cleanup_(stream_writer_freep) StreamWriter *w = NULL;
    g_autofree char *statement = test_person_statement(f->dora, "");
    const StreamRecipient to = {s, 1};
    uint8_t sealed[STREAM_SEALED_SIZE(sizeof(TEXT))];
    size_t made = 0;

    g_assert_cmpint(export_write(statement, strlen(statement), &exported), ==, 0);
    g_assert_cmpint(package_build(s, 0, clock_realtime(), 0, TEXT, strlen(TEXT), &package), ==, 0);
    g_assert_cmpint(jwe_convert(buf_text(&package), package.size, FORMAT_JWE, &jwe), ==, 0);
    g_assert_cmpint(stream_writer_new(&to, 1, clock_realtime(), 0, &w, &stream), ==, 0);
    g_assert_cmpint(stream_seal(w, TEXT, strlen(TEXT), true, sealed, &made), ==, 0);
    g_assert_cmpint(buf_append(&stream, sealed, made), ==, 0);

    g_autofree char *path = file_of(f, "dora", &exported), *one = file_of(f, "package", &package),
                    *two = file_of(f, "jwe", &jwe), *three = file_of(f, "stream", &stream);
    scene_ctl_expect(f->user, 8, "decrypt", one, NULL); /* nobody knows her yet */
    scene_ctl_expect(f->user, 0, "contact", "add", "--key", path, "--name=Dora", NULL);
    expect_opened(f, one);
    expect_opened(f, two);
    expect_opened(f, three);
}

int main(int argc, char **argv)
{
    static const unsigned bits[] = {3072, 4096};

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++) {
        g_autofree char *to = g_strdup_printf("/large-keys/%u/to", bits[i]);
        g_autofree char *from = g_strdup_printf("/large-keys/%u/from", bits[i]);

        g_test_add(to, Fixture, GUINT_TO_POINTER(bits[i]), set_up, test_to, tear_down);
        g_test_add(from, Fixture, GUINT_TO_POINTER(bits[i]), set_up, test_from, tear_down);
    }
    return g_test_run();
}
