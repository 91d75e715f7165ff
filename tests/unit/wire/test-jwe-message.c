/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JWE that are no packages: test-jwe-peers.c has other implementations write and read them, test-jwe-shared.c
 * is about those that have a sender. */

#include "libhmsg/wire/jwe-message.h"

#include "tests/unit/wire/jwe-util.h"

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

static int parse_legacy(const People *who, const char *header, Jwe **ret, const char **ret_why)
{
    g_autofree char *line = compact(who->bob->decrypt, header);
    return jwe_parse_legacy(line, strlen(line), who->bob->kids, 1, ret, ret_why);
}

/* Nothing but "RSA-OAEP" is read besides, and none of ours by it. */
static void test_legacy(gconstpointer data)
{
    static const struct {
        const char *header, *why; /* why NULL: read */
        bool sha1;
    } cases[] = {
        {"{\"alg\":\"RSA-OAEP\",\"enc\":\"A256GCM\"}", NULL, true},
        {"{\"alg\":\"RSA-OAEP\",\"enc\":\"A256CBC-HS512\"}", NULL, true},
        {"{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\"}", NULL, false},
        {"{\"alg\":\"RSA1_5\",\"enc\":\"A256GCM\"}", "alg RSA1_5", false},
        {"{\"alg\":\"RSA-OAEP-1\",\"enc\":\"A256GCM\"}", "alg RSA-OAEP uses SHA-1", false},
        {"{\"alg\":\"RSA-OAEP-512\",\"enc\":\"A256GCM\"}", "alg of the JWE is not RSA-OAEP-256", false},
        {"{\"alg\":\"RSA-OAEP\",\"enc\":\"A128GCM\"}", "enc of the JWE is neither", false},
        {"{\"alg\":\"RSA-OAEP\",\"enc\":\"A256GCM\",\"zip\":\"DEF\"}", "zip", false},
        {"{\"alg\":\"RSA-OAEP\",\"enc\":\"A256CBC-HS512\",\"typ\":\"hmsg-shared+json\"}",
         "The JWE is not of the form", false},
        {"{\"alg\":\"RSA-OAEP\",\"enc\":\"A256CBC-HS512\",\"typ\":\"hmsg+json\"}",
         "The JWE is not of the form", false},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        _cleanup_(jwe_freep) Jwe *j = NULL;
        const char *why = NULL;
        int r = parse_legacy(data, cases[i].header, &j, &why);

        g_assert_cmpint(r, ==, cases[i].why ? HMSG_ERROR_BAD_PACKAGE : 0);
        if (r == 0)
            g_assert_true(j->oaep_sha1 == cases[i].sha1);
        else
            g_assert_true(why && g_str_has_prefix(why, cases[i].why));
    }
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
    g_test_add_data_func("/jwe-message/legacy", &who, test_legacy);
    g_test_add_data_func("/jwe-message/members", &who, test_members);
    g_test_add_data_func("/jwe-message/keys", &who, test_keys);
    g_test_add_data_func("/jwe-message/compact", &who, test_compact);
    g_test_add_data_func("/jwe-message/sizes", &who, test_sizes);
    return g_test_run();
}
