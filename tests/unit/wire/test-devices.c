/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Devices in identity statements: named strictly, and signed by the keys that name them. */

#include "libhmsg/wire/devices.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "tests/lib/person.h"

#define ADDRESS "alice@relay.example"

static TestPerson *alice, *laptop;

static Device device(uint8_t n)
{
    Device d;
    memset(d.kid, n, KID_SIZE);
    memset(d.skid, n + 100, KID_SIZE);
    return d;
}

static char *sign(const Devices *d, const char *address)
{
    IdentityStatement s = {.sign = alice->sign,
                           .decrypt = alice->decrypt,
                           .generation = 1,
                           .devices = *d,
                           .iat = clock_realtime()};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);

    g_strlcpy(s.address, address, sizeof(s.address));
    g_assert_cmpint(identity_statement_prepare(&s, &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, alice->sign_private, &text), ==, 0);
    return g_strdup(buf_text(&text));
}

static void test_add(void)
{
    Device other = device(1), two = device(2);
    Devices d = {0};

    g_assert_cmpint(devices_add(&d, &other), ==, 0);
    g_assert_cmpint(devices_add(&d, &other), ==, HMSG_ERROR_BAD_PACKAGE);
    memcpy(other.kid, two.kid, KID_SIZE); /* with a sign key that is there already */
    g_assert_cmpint(devices_add(&d, &other), ==, HMSG_ERROR_BAD_PACKAGE);
    memcpy(other.skid, two.kid, KID_SIZE); /* one key for both */
    g_assert_cmpint(devices_add(&d, &other), ==, HMSG_ERROR_BAD_PACKAGE);
    memcpy(other.kid, two.skid, KID_SIZE);
    memcpy(other.skid, d.list[0].kid, KID_SIZE); /* in the other role */
    g_assert_cmpint(devices_add(&d, &other), ==, HMSG_ERROR_BAD_PACKAGE);
    for (uint8_t i = 2; i <= DEVICES_MAX; i++) {
        other = device(i);
        g_assert_cmpint(devices_add(&d, &other), ==, 0);
    }
    other = device(50);
    g_assert_cmpint(devices_add(&d, &other), ==, -ENOSPC);
    g_assert_true(devices_have(&d, two.kid));
    g_assert_true(devices_have(&d, two.skid));
    g_assert_false(devices_have(&d, other.kid));
}

/* The most, with the longest address. */
static void test_statement(void)
{
    g_autofree char *host = g_strnfill(61, 'h'), *name = g_strnfill(64, 'n');
    g_autofree char *address = g_strdup_printf("%s@%s.%s.%s.example:65535", name, host, host, host);
    _cleanup_(identity_statement_done) IdentityStatement s = {0}, none = {0};
    Devices d = {0}, told = {0};
    int64_t iat = 0;

    for (uint8_t i = 1; i <= DEVICES_MAX; i++) {
        Device one = device(i);
        g_assert_cmpint(devices_add(&d, &one), ==, 0);
    }
    g_autofree char *text = sign(&d, address);
    g_assert_cmpint(identity_statement_parse(text, strlen(text), clock_realtime(), &s), ==, 0);
    g_assert_cmpmem(&s.devices, sizeof(s.devices), &d, sizeof(d));
    g_assert_cmpint(identity_statement_devices(text, strlen(text), &told, &iat), ==, 0);
    g_assert_cmpmem(&told, sizeof(told), &d, sizeof(d));
    g_assert_cmpint(iat, ==, s.iat);
    g_autofree char *plain = test_person_statement(alice, ADDRESS);
    g_assert_cmpint(identity_statement_parse(plain, strlen(plain), clock_realtime(), &none), ==, 0);
    g_assert_cmpuint(none.devices.n, ==, 0);
    g_assert_cmpint(identity_statement_devices(plain, strlen(plain), &told, &iat), ==, 0);
    g_assert_cmpuint(told.n, ==, 0);
}

/* None is one of the keys that sign the statement or that it is for. */
static void test_own(void)
{
    const RsaKey *const own[] = {alice->sign, alice->decrypt};

    for (size_t i = 0; i < 2 * G_N_ELEMENTS(own); i++) {
        _cleanup_(identity_statement_done) IdentityStatement s = {0};
        Devices d = {.n = 1, .list = {device(1)}};

        memcpy(i % 2 ? d.list[0].kid : d.list[0].skid, rsa_key_thumbprint(own[i / 2]), KID_SIZE);
        g_autofree char *text = sign(&d, ADDRESS);
        g_assert_cmpint(identity_statement_parse(text, strlen(text), clock_realtime(), &s), ==,
                        HMSG_ERROR_BAD_PACKAGE);
    }
    /* and what somebody else has signed counts for nothing */
    _cleanup_(identity_statement_done) IdentityStatement s = {0};
    Devices d = {.n = 1, .list = {device(1)}};
    g_autofree char *text = sign(&d, ADDRESS), *other = test_person_statement(laptop, ADDRESS);
    g_autofree char *body = g_strndup(text, (gsize)(strrchr(text, '.') - text));
    g_autofree char *forged = g_strconcat(body, strrchr(other, '.'), NULL);
    g_assert_cmpint(identity_statement_parse(forged, strlen(forged), clock_realtime(), &s), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

static void test_form(void)
{
#define K1 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define K2 "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
    static const char *const bad[] = {
        "{}",
        "{\"devices\":{}}",
        "{\"devices\":[1]}",
        "{\"devices\":[{\"kid\":\"" K1 "\"}]}",
        "{\"devices\":[{\"kid\":\"" K1 "\",\"skid\":\"" K1 "\"}]}",
        "{\"devices\":[{\"kid\":\"" K1 "\",\"skid\":\"" K2 "A\"}]}",
        "{\"devices\":[{\"kid\":\"" K1 "\",\"skid\":\"" K2 "\",\"name\":\"x\"}]}",
        "{\"devices\":[{\"kid\":\"" K1 "\",\"skid\":\"" K2 "\"},{\"kid\":\"" K1 "\",\"skid\":\"" K2 "\"}]}",
    };
    static const char good[] = "{\"devices\":[{\"kid\":\"" K1 "\",\"skid\":\"" K2 "\"}]}";
    _cleanup_(json_decrefp) json_t *j = NULL;
    Devices d = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        _cleanup_(json_decrefp) json_t *wrong = NULL;
        g_assert_cmpint(json_parse_object(bad[i], strlen(bad[i]), &wrong), ==, 0);
        g_assert_cmpint(devices_get(wrong, &d), ==, HMSG_ERROR_BAD_PACKAGE);
    }
    g_assert_cmpuint(d.n, ==, 0);
    g_assert_cmpint(json_parse_object(good, strlen(good), &j), ==, 0);
    g_assert_cmpint(devices_get(j, &d), ==, 0);
    g_assert_cmpuint(d.n, ==, 1);
    /* one too many */
    g_autoptr(GString) many = g_string_new("{\"devices\":[");
    for (unsigned i = 0; i <= DEVICES_MAX; i++)
        g_string_append_printf(many,
                               "%s{\"kid\":\"A%uAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
                               "\"skid\":\"B%uAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
                               i > 0 ? "," : "", i, i);
    g_string_append(many, "]}");
    _cleanup_(json_decrefp) json_t *large = NULL;
    g_assert_cmpint(json_parse_object(many->str, many->len, &large), ==, 0);
    g_assert_cmpint(devices_get(large, &d), ==, HMSG_ERROR_BAD_PACKAGE);
    json_t *list = json_object_get(large, "devices");
    g_assert_cmpint(json_array_remove(list, DEVICES_MAX), ==, 0);
    g_assert_cmpint(devices_get(large, &d), ==, 0);
    g_assert_cmpuint(d.n, ==, DEVICES_MAX);
}

int main(int argc, char **argv)
{
    int r;

    g_test_init(&argc, &argv, NULL);
    alice = test_person_new();
    laptop = test_person_new();
    g_test_add_func("/devices/add", test_add);
    g_test_add_func("/devices/statement", test_statement);
    g_test_add_func("/devices/own", test_own);
    g_test_add_func("/devices/form", test_form);
    r = g_test_run();
    test_person_free(alice);
    test_person_free(laptop);
    return r;
}
