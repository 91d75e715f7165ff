/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* By JWE's names and back: test-rename.c has another implementation open what comes out. */

#include "libhmsg/wire/jwe.h"

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "tests/lib/person.h"

#define TEXT "Dear Bob, here are the plans."

/* Keys take long to make: all tests have the same. */
typedef struct Case {
    TestPerson *alice, *bob;
    bool is_signed;
} Case;

typedef struct Pair {
    const TestPerson *alice, *bob;
    bool is_signed;
    Buf package, jwe;
} Pair;

static void set_up(Pair *p, gconstpointer data)
{
    const Case *c = data;
    int64_t now = clock_realtime();

    p->alice = c->alice;
    p->bob = c->bob;
    p->is_signed = c->is_signed;
    p->package = BUF_MAX(PACKAGE_SIZE_MAX);
    p->jwe = BUF_MAX(JWE_SIZE_MAX);
    _cleanup_(wire_session_freep) WireSession *s =
        test_session_new(p->is_signed ? p->alice : NULL, p->bob, now);
    g_assert_cmpint(package_build(s, 7, now, now + 60, TEXT, strlen(TEXT), &p->package), ==, 0);
    g_assert_cmpint(jwe_from_package(buf_text(&p->package), p->package.size, &p->jwe), ==, 0);
}

static void tear_down(Pair *p, gconstpointer data)
{
    buf_done(&p->package);
    buf_done(&p->jwe);
}

/* Nothing is written then. */
static void expect(int expected, const char *jwe)
{
    _cleanup_(buf_done) Buf out = BUF_MAX(PACKAGE_SIZE_MAX);
    _cleanup_(buf_done) Buf kept = BUF_MAX(JWE_SIZE_MAX);

    g_assert_cmpint(jwe_to_package(jwe, strlen(jwe), &out), ==, expected);
    g_assert_cmpuint(out.size == 0, ==, expected != 0);
    g_assert_cmpint(jwe_convert(jwe, strlen(jwe), FORMAT_JWE, &kept), ==, expected);
    g_assert_cmpuint(kept.size == 0, ==, expected != 0);
}

/* The JWE with another text in place of one. */
static void expect_with(const Pair *p, int expected, const char *old, const char *new)
{
    g_autoptr(GString) text = g_string_new(buf_text(&p->jwe));

    g_assert_cmpuint(g_string_replace(text, old, new, 0), ==, 1);
    expect(expected, text->str);
}

static void test_lossless(Pair *p, gconstpointer data)
{
    _cleanup_(buf_done) Buf back = BUF_MAX(PACKAGE_SIZE_MAX);
    _cleanup_(buf_done) Buf text = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(package_freep) Package *package = NULL;

    g_assert_cmpuint(p->is_signed, ==, strstr(buf_text(&p->jwe), "unprotected") != NULL);
    g_assert_null(strstr(buf_text(&p->jwe), "\"hmsg\""));
    g_assert_cmpint(jwe_to_package(buf_text(&p->jwe), p->jwe.size, &back), ==, 0);
    g_assert_cmpmem(back.data, back.size, p->package.data, p->package.size);

    g_assert_cmpint(package_parse(buf_text(&back), back.size, PACKAGE_MESSAGE, &package), ==, 0);
    g_assert_cmpuint(package->seq, ==, 7);
    g_assert_cmpint(package_check_recipient(package, p->bob->kids[0]), ==, 0);
    SessionStatement statement;
    g_assert_cmpint(package_check_sender(package, NULL, &statement), ==, 0);
    _cleanup_(secret_freep) Secret *keys = test_person_unwrap(p->bob, package);
    g_assert_cmpint(package_open(package, keys, &text), ==, 0);
    g_assert_cmpstr(buf_text(&text), ==, TEXT);
}

/* What others make of it: members in another order, white space, escapes. */
static void test_rewritten(Pair *p, gconstpointer data)
{
    _cleanup_(buf_done) Buf back = BUF_MAX(PACKAGE_SIZE_MAX);
    g_autoptr(GString) text = g_string_new(buf_text(&p->jwe));

    g_assert_cmpuint(g_string_replace(text, "{\"protected\"", " {\n \"\\u0070rotected\" ", 1), ==, 1);
    g_assert_cmpint(jwe_to_package(text->str, text->len, &back), ==, 0);
    g_assert_cmpmem(back.data, back.size, p->package.data, p->package.size);
}

static void test_convert(Pair *p, gconstpointer data)
{
    static const struct {
        bool from_jwe;
        WireFormat to;
        bool to_jwe;
    } cases[] = {
        {true, FORMAT_UNKNOWN, false}, {false, FORMAT_UNKNOWN, true}, {true, FORMAT_JWE, true},
        {true, FORMAT_PACKAGE, false}, {false, FORMAT_JWE, true},     {false, FORMAT_PACKAGE, false},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        _cleanup_(buf_done) Buf out = BUF_MAX(JWE_SIZE_MAX);
        const Buf *from = cases[i].from_jwe ? &p->jwe : &p->package;
        const Buf *to = cases[i].to_jwe ? &p->jwe : &p->package;

        g_assert_cmpint(jwe_convert(buf_text(from), from->size, cases[i].to, &out), ==, 0);
        g_assert_cmpmem(out.data, out.size, to->data, to->size);
    }
    g_autofree char *array = g_strdup_printf("[%s]", buf_text(&p->package));
    const char *const others[] = {"", "hmsgstr1", "{}", "{\"encrypted_aes_key\":\"\"}", array};
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        _cleanup_(buf_done) Buf out = BUF_MAX(JWE_SIZE_MAX);

        g_assert_cmpint(jwe_convert(others[i], strlen(others[i]), FORMAT_UNKNOWN, &out), ==,
                        HMSG_ERROR_BAD_PACKAGE);
        g_assert_cmpuint(out.size, ==, 0);
    }
}

/* The JWE whose protected header has new in place of old. */
static char *with_header(const Pair *p, const char *old, const char *new)
{
    g_autoptr(GString) text = g_string_new(buf_text(&p->jwe));
    g_auto(GStrv) parts = g_strsplit(text->str, "\"", 5);
    g_autofree char *standard = g_strdup(parts[3]);
    g_autofree guchar *bytes = NULL;
    gsize n = 0;

    g_assert_cmpstr(parts[1], ==, "protected");
    g_strdelimit(standard, "-", '+');
    g_strdelimit(standard, "_", '/');
    g_autofree char *padded =
        g_strdup_printf("%s%.*s", standard, (int)((4 - strlen(standard) % 4) % 4), "==");
    bytes = g_base64_decode(padded, &n);
    g_autoptr(GString) header = g_string_new_len((const char *)bytes, (gssize)n);
    g_assert_cmpuint(g_string_replace(header, old, new, 0), ==, 1);
    g_autofree char *encoded = g_base64_encode((const guchar *)header->str, header->len);
    g_strdelimit(encoded, "+", '-');
    g_strdelimit(encoded, "/", '_');
    *strchrnul(encoded, '=') = 0;
    g_string_replace(text, parts[3], encoded, 0);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* Another JWE than ours is none that can be renamed, though it may be a good one. */
static void test_headers(Pair *p, gconstpointer data)
{
    static const struct {
        const char *old, *new;
    } cases[] = {
        {"RSA-OAEP-256", "RSA1_5"},
        {"RSA-OAEP-256", "RSA-OAEP"},
        {"A256CBC-HS512", "A256GCM"},
        {"hmsg+json", "hmsg-stream+json"},
        {"hmsg+json", "JWT"},
        {"\"enc\"", "\"zip\":\"DEF\",\"enc\""},
        {"\"enc\"", "\"crit\":[\"exp\"],\"enc\""},
        {"\"v\":1", "\"v\":2"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *jwe = with_header(p, cases[i].old, cases[i].new);
        expect(HMSG_ERROR_BAD_PACKAGE, jwe);
    }
    g_autofree char *same = with_header(p, "\"v\":1", "\"v\":1");
    expect(0, same);
}

static void test_refused(Pair *p, gconstpointer data)
{
    static const char *const additions[] = {
        "{\"aad\":\"QQ\",",
        "{\"header\":{},",
        "{\"header\":{\"alg\":\"RSA-OAEP-256\"},",
        "{\"recipients\":[],",
        "{\"hmsg\":1,",
        "{\"mac\":\"QQ\",",
        "{\"iv\":\"QQ\",",
        "{\"unprotected\":{},",
        "{\"unprotected\":{\"alg\":\"dir\"},",
        "{\"encrypted_key\":\"QQ\",",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(additions); i++) {
        g_autofree char *jwe = g_strconcat(additions[i], buf_text(&p->jwe) + 1, NULL);
        expect(HMSG_ERROR_BAD_PACKAGE, jwe);
    }
    static const char *const names[] = {"\"protected\"", "\"encrypted_key\"", "\"iv\"", "\"ciphertext\"",
                                        "\"tag\""};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        expect_with(p, HMSG_ERROR_BAD_PACKAGE, names[i], "\"other\"");
    expect_with(p, HMSG_ERROR_BAD_PACKAGE, "\"tag\":\"", "\"tag\":\"=");
    g_autofree char *behind = g_strconcat(buf_text(&p->jwe), "x", NULL);
    expect(HMSG_ERROR_BAD_PACKAGE, behind);
    expect(HMSG_ERROR_BAD_PACKAGE, "");
    _cleanup_(buf_done) Buf out = BUF_MAX(JWE_SIZE_MAX);
    g_assert_cmpint(jwe_to_package(buf_text(&p->package), p->package.size, &out), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(jwe_from_package(buf_text(&p->jwe), p->jwe.size, &out), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpuint(out.size, ==, 0);
    expect(0, buf_text(&p->jwe));
}

/* The sender is there with all that belongs to it, or not at all. */
static void test_sender(Pair *p, gconstpointer data)
{
    expect_with(p, HMSG_ERROR_BAD_PACKAGE, "\"hmsg-sender\"", "\"hmsg-other\"");
    expect_with(p, HMSG_ERROR_BAD_PACKAGE, "\"hmsg-signature\"", "\"hmsg-other\"");
    expect_with(p, HMSG_ERROR_BAD_PACKAGE, "{\"hmsg-sender\"", "{\"kid\":\"\",\"hmsg-sender\"");
    g_auto(GStrv) parts = g_strsplit(buf_text(&p->jwe), "\"unprotected\":{", 2);
    g_autofree char *stripped = g_strconcat(parts[0], strstr(parts[1], "\"encrypted_key\""), NULL);
    expect(HMSG_ERROR_BAD_PACKAGE, stripped);
}

static void test_sizes(Pair *p, gconstpointer data)
{
    g_autofree char *large = g_strnfill(JWE_SIZE_MAX + 1, ' ');
    _cleanup_(buf_done) Buf out = BUF_MAX(PACKAGE_SIZE_MAX);
    _cleanup_(buf_done) Buf small = BUF_MAX(100);

    g_assert_cmpint(jwe_to_package(large, JWE_SIZE_MAX + 1, &out), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(jwe_from_package(large, JWE_SIZE_MAX + 1, &out), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(jwe_to_package(buf_text(&p->jwe), p->jwe.size, &small), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(jwe_from_package(buf_text(&p->package), p->package.size, &small), ==,
                    HMSG_ERROR_TOO_LARGE);
    g_assert_cmpuint(out.size + small.size, ==, 0);

    /* as much as one package holds */
    _cleanup_(buf_done) Buf largest = BUF_MAX(PACKAGE_SIZE_MAX);
    _cleanup_(buf_done) Buf jwe = BUF_MAX(JWE_SIZE_MAX);
    int64_t now = clock_realtime();
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(p->alice, p->bob, now);
    g_autofree char *content = g_strnfill(PLAINTEXT_SIZE_MAX, 'x');
    g_assert_cmpint(package_build(s, 0, now, 0, content, PLAINTEXT_SIZE_MAX, &largest), ==, 0);
    g_assert_cmpint(jwe_from_package(buf_text(&largest), largest.size, &jwe), ==, 0);
    g_assert_cmpint(jwe_to_package(buf_text(&jwe), jwe.size, &out), ==, 0);
    g_assert_cmpmem(out.data, out.size, largest.data, largest.size);
}

#define BOTH(name, function)                                                                                 \
    g_test_add("/jwe/" name "/anonymous", Pair, &anonymous, set_up, function, tear_down);                    \
    g_test_add("/jwe/" name "/signed", Pair, &with_sender, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autoptr(TestPerson) alice = test_person_new(), bob = test_person_new();
    const Case anonymous = {alice, bob, false}, with_sender = {alice, bob, true};
    BOTH("lossless", test_lossless);
    BOTH("rewritten", test_rewritten);
    BOTH("convert", test_convert);
    BOTH("headers", test_headers);
    BOTH("refused", test_refused);
    g_test_add("/jwe/sender", Pair, &with_sender, set_up, test_sender, tear_down);
    g_test_add("/jwe/sizes", Pair, &with_sender, set_up, test_sizes, tear_down);
    return g_test_run();
}
