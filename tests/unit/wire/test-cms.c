/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/cms.h"

#include <string.h>

#include "libhmsg/base/error.h"
#include "tests/lib/person.h"

#define TEXT "What Alice wrote"
#define NOW 1790000000

typedef struct People {
    TestPerson *alice, *bob, *carol;
} People;

static CmsRecipient recipient(const TestPerson *p)
{
    return (CmsRecipient){.key = p->decrypt};
}

static Buf build(const TestPerson *to, const void *content, size_t n, bool pem)
{
    const CmsRecipient r = recipient(to);
    Buf b = BUF_MAX(CMS_TEXT_SIZE_MAX);

    g_assert_cmpint(cms_build(&r, 1, content, n, pem, &b), ==, 0);
    return b;
}

/* Into out, as the agent does it. */
static int open_message(const TestPerson *p, const void *data, size_t n, Buf *out)
{
    _cleanup_(cms_freep) Cms *c = NULL;
    _cleanup_(secret_freep) Secret *key = NULL;
    const char *why = NULL;
    int r = cms_parse(data, n, &c, &why);

    if (r == 0 && c->outer)
        r = cms_signed_verify(c->outer);
    if (r == 0)
        r = cms_choose(c, p->decrypt, true);
    if (r != 0)
        return r;
    r = rsa_private_oaep_decrypt(p->decrypt_private, c->encrypted_key.data, c->encrypted_key.size, &key);
    g_assert_true(r == 0 || r == HMSG_ERROR_AUTHENTICATION_FAILED);
    return cms_open(c, r == 0 ? key : NULL, out);
}

static void test_round_trip(gconstpointer data)
{
    const People *p = data;
    for (int pem = 0; pem < 2; pem++) {
        _cleanup_(buf_done) Buf b = build(p->bob, TEXT, strlen(TEXT), pem), out = BUF_MAX(PLAINTEXT_SIZE_MAX),
                                empty = build(p->bob, NULL, 0, pem);

        g_assert_true(cms_is(b.data, b.size));
        g_assert_cmpint(open_message(p->bob, b.data, b.size, &out), ==, 0);
        g_assert_cmpstr(buf_text(&out), ==, TEXT);
        buf_clear(&out);
        g_assert_cmpint(open_message(p->bob, empty.data, empty.size, &out), ==, 0);
        g_assert_cmpuint(out.size, ==, 0);
        _cleanup_(cms_freep) Cms *c = NULL;
        const char *why = NULL;
        g_assert_cmpint(cms_parse(b.data, b.size, &c, &why), ==, 0);
        g_assert_cmpint(cms_choose(c, p->bob->decrypt, false), ==, 0);
        g_assert_cmpint(cms_choose(c, p->carol->decrypt, false), ==, HMSG_ERROR_NOT_FOR_US);
        /* a single recipient may be named in any way, but the key has to fit */
        g_assert_cmpint(open_message(p->carol, b.data, b.size, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
        g_assert_cmpuint(out.size, ==, 0);
    }
}

static void test_several(gconstpointer data)
{
    const People *p = data;
    CmsRecipient to[RECIPIENTS_MAX + 1];
    _cleanup_(buf_done) Buf b = BUF_MAX(CMS_TEXT_SIZE_MAX), out = BUF_MAX(PLAINTEXT_SIZE_MAX);

    for (size_t i = 0; i < G_N_ELEMENTS(to); i++)
        to[i] = recipient(i == 5 ? p->bob : p->carol);
    g_assert_cmpint(cms_build(to, 0, TEXT, 1, false, &b), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(cms_build(to, G_N_ELEMENTS(to), TEXT, 1, false, &b), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(cms_build(to, RECIPIENTS_MAX, TEXT, strlen(TEXT), false, &b), ==, 0);
    g_assert_cmpint(open_message(p->bob, b.data, b.size, &out), ==, 0);
    g_assert_cmpstr(buf_text(&out), ==, TEXT);
    buf_clear(&out);
    g_assert_cmpint(open_message(p->carol, b.data, b.size, &out), ==, 0);
    g_assert_cmpint(open_message(p->alice, b.data, b.size, &out), ==, HMSG_ERROR_NOT_FOR_US);
}

/* The largest that there is, to the largest number of recipients. */
static void test_large(gconstpointer data)
{
    const People *p = data;
    CmsRecipient to[RECIPIENTS_MAX];
    _cleanup_(buf_done) Buf b = BUF_MAX(CMS_TEXT_SIZE_MAX), out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    g_autofree char *large = g_malloc0(PLAINTEXT_SIZE_MAX + 1);

    for (size_t i = 0; i < G_N_ELEMENTS(to); i++)
        to[i] = recipient(p->bob);
    g_assert_cmpint(cms_build(to, G_N_ELEMENTS(to), large, PLAINTEXT_SIZE_MAX, true, &b), ==, 0);
    g_assert_cmpint(open_message(p->bob, b.data, b.size, &out), ==, 0);
    g_assert_cmpmem(out.data, out.size, large, PLAINTEXT_SIZE_MAX);
    buf_clear(&out);
    buf_clear(&b);
    g_assert_cmpint(cms_build(to, 1, large, PLAINTEXT_SIZE_MAX + 1, true, &b), ==, 0);
    g_assert_cmpint(open_message(p->bob, b.data, b.size, &out), ==, HMSG_ERROR_TOO_LARGE);
    g_autofree char *huge = g_malloc0(CMS_TEXT_SIZE_MAX + 1);
    g_assert_cmpint(open_message(p->bob, huge, CMS_TEXT_SIZE_MAX + 1, &out), ==, HMSG_ERROR_TOO_LARGE);
}

/* Where the recipient's identifier stands: it is there to find the key, and nothing else. */
static bool is_in_id(const Buf *b, const TestPerson *p, size_t at)
{
    _cleanup_(cms_freep) Cms *c = NULL;
    const char *why = NULL;

    g_assert_cmpint(cms_parse(b->data, b->size, &c, &why), ==, 0);
    size_t start = (size_t)(c->recipients[0].id.data - c->der.data);
    return at >= start && at < start + c->recipients[0].id.size;
}

static void expect_refusal(const TestPerson *p, const void *data, size_t n)
{
    _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    int r = open_message(p, data, n, &out);

    g_assert_true(r == HMSG_ERROR_BAD_PACKAGE || r == HMSG_ERROR_AUTHENTICATION_FAILED ||
                  r == HMSG_ERROR_NOT_FOR_US || r == HMSG_ERROR_TOO_LARGE);
    g_assert_cmpuint(out.size, ==, 0);
}

static void test_mutations(gconstpointer data)
{
    const People *p = data;
    _cleanup_(buf_done) Buf b = build(p->bob, TEXT, strlen(TEXT), false);
    static const uint8_t flips[] = {0x01, 0x80, 0x10};

    for (size_t i = 0; i < b.size; i++) {
        if (is_in_id(&b, p->bob, i))
            continue;
        for (size_t j = 0; j < G_N_ELEMENTS(flips); j++) {
            b.data[i] ^= flips[j];
            expect_refusal(p->bob, b.data, b.size);
            b.data[i] ^= flips[j];
        }
    }
    for (size_t n = 0; n < b.size; n++)
        expect_refusal(p->bob, b.data, n);
    g_assert_cmpint(buf_append(&b, "", 1), ==, 0);
    expect_refusal(p->bob, b.data, b.size);
}

static Buf sign(const TestPerson *from, const TestPerson *to, const void *content, size_t n)
{
    const CmsRecipient r[] = {recipient(from), recipient(to)};
    _cleanup_(cms_draft_freep) CmsDraft *d = NULL;
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    Buf b = BUF_MAX(CMS_SIZE_MAX);

    g_assert_cmpint(cms_draft_new(from->sign, r, 2, NOW, content, n, &d), ==, 0);
    g_assert_cmpint(cms_draft_finish(d, content, n, "", 0, &b), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(rsa_private_sign_ps256(from->sign_private, cms_draft_digest(d), &signature), ==, 0);
    g_assert_cmpint(cms_draft_finish(d, content, n, signature.data, signature.size, &b), ==, 0);
    return b;
}

static int check_signed(const void *data, size_t n)
{
    _cleanup_(cms_signed_freep) CmsSigned *s = NULL;
    const char *why = NULL;
    int r = cms_signed_parse(data, n, &s, &why);

    return r == 0 ? cms_signed_verify(s) : r;
}

static void test_signed(gconstpointer data)
{
    const People *p = data;
    _cleanup_(buf_done) Buf b = sign(p->alice, p->bob, TEXT, strlen(TEXT));
    _cleanup_(cms_signed_freep) CmsSigned *s = NULL;
    const char *why = NULL;

    g_assert_cmpint(cms_signed_parse(b.data, b.size, &s, &why), ==, 0);
    g_assert_cmpint(cms_signed_verify(s), ==, 0);
    g_assert_true(s->is_data && s->has_recipients && rsa_key_equal(s->key, p->alice->sign));
    g_assert_true(der_equal(&s->content, TEXT, strlen(TEXT)));
    g_assert_cmpint(s->time, ==, NOW);
    g_assert_true(cms_signed_is_for(s, p->bob->kids[0]) && cms_signed_is_for(s, p->alice->kids[0]));
    g_assert_false(cms_signed_is_for(s, p->carol->kids[0])); /* to whom Bob might hand it on */
    for (size_t i = 0; i < b.size; i++)
        for (unsigned bit = i % 4; bit < 8; bit += 4) {
            b.data[i] ^= (uint8_t)(1u << bit);
            int r = check_signed(b.data, b.size);
            g_assert_true(r == HMSG_ERROR_BAD_PACKAGE || r == HMSG_ERROR_AUTHENTICATION_FAILED ||
                          r == HMSG_ERROR_TOO_LARGE);
            b.data[i] ^= (uint8_t)(1u << bit);
        }
    for (size_t n = 0; n < b.size; n++)
        g_assert_cmpint(check_signed(b.data, n), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(buf_append(&b, "", 1), ==, 0);
    g_assert_cmpint(check_signed(b.data, b.size), ==, HMSG_ERROR_BAD_PACKAGE);
}

/* Both forms of time, at the border between them. */
static void test_times(gconstpointer data)
{
    const People *p = data;
    static const int64_t times[] = {1, NOW, 2524607999, 2524608000, TIME_MAX};

    for (size_t i = 0; i < G_N_ELEMENTS(times); i++) {
        const CmsRecipient to = recipient(p->bob);
        _cleanup_(cms_draft_freep) CmsDraft *d = NULL;
        _cleanup_(cms_signed_freep) CmsSigned *s = NULL;
        _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX), b = BUF_MAX(CMS_SIZE_MAX);
        const char *why = NULL;

        g_assert_cmpint(cms_draft_new(p->alice->sign, &to, 1, times[i], "", 0, &d), ==, 0);
        g_assert_cmpint(rsa_private_sign_ps256(p->alice->sign_private, cms_draft_digest(d), &signature), ==,
                        0);
        g_assert_cmpint(cms_draft_finish(d, "", 0, signature.data, signature.size, &b), ==, 0);
        g_assert_cmpint(cms_signed_parse(b.data, b.size, &s, &why), ==, 0);
        g_assert_cmpint(s->time, ==, times[i]);
    }
}

/* A signature around AuthEnvelopedData, by hmsg's own means. */
static void test_outer(gconstpointer data)
{
    const People *p = data;
    _cleanup_(buf_done) Buf inner = build(p->bob, TEXT, strlen(TEXT), false),
                            out = BUF_MAX(PLAINTEXT_SIZE_MAX),
                            b = sign(p->alice, p->bob, inner.data, inner.size),
                            bare = sign(p->alice, p->bob, TEXT, strlen(TEXT));
    _cleanup_(cms_freep) Cms *c = NULL, *none = NULL;
    const char *why = NULL;

    g_assert_cmpint(cms_parse(b.data, b.size, &c, &why), ==, 0);
    g_assert_true(c->outer && rsa_key_equal(c->outer->key, p->alice->sign) && !c->is_cbc);
    g_assert_cmpint(open_message(p->bob, b.data, b.size, &out), ==, 0);
    g_assert_cmpstr(buf_text(&out), ==, TEXT);
    b.data[b.size - 1] ^= 1;
    expect_refusal(p->bob, b.data, b.size);
    g_assert_cmpint(cms_parse(bare.data, bare.size, &none, &why), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpstr(why, ==, "It is signed, but not encrypted");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(gconstpointer data);
    } tests[] = {
        {"/cms/round-trip", test_round_trip}, {"/cms/several", test_several}, {"/cms/large", test_large},
        {"/cms/mutations", test_mutations},   {"/cms/signed", test_signed},   {"/cms/times", test_times},
        {"/cms/outer", test_outer},
    };

    g_test_init(&argc, &argv, NULL);
    g_autoptr(TestPerson) alice = test_person_new(), bob = test_person_new(), carol = test_person_new();
    const People people = {alice, bob, carol};
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add_data_func(tests[i].name, &people, tests[i].run);
    return g_test_run();
}
