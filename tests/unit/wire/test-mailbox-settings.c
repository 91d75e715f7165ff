/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/mailbox-settings.h"

#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "tests/unit/wire/hex-util.h"

static const uint8_t pin[PIN_SIZE] = {1, 2, 3};

static MailboxSettings make(uint64_t revision, uint64_t lifetime, size_t n)
{
    MailboxSettings s = {.revision = revision, .lifetime = lifetime, .n_senders = n};
    s.senders = calloc(n + 1, sizeof(*s.senders));
    for (size_t i = 0; i < n; i++) {
        s.senders[i].allowed = i % 2 == 0;
        s.senders[i].skid[0] = (uint8_t)((n - i) >> 8); /* not in their order */
        s.senders[i].skid[1] = (uint8_t)(n - i);
    }
    return s;
}

/* Made with the hashlib and hmac modules of Python, from the description in docs/protocol.md. */
static void test_values(void)
{
    _cleanup_(mailbox_settings_done) MailboxSettings s = make(0x0102030405, 86400, 2), none = {};
    _cleanup_(secret_freep) Secret *key = NULL;
    uint8_t result[SHA256_SIZE];
    g_assert_cmpint(secret_new_copy("0123456789abcdef0123456789abcdef", 32, &key), ==, 0);
    g_assert_cmpint(mailbox_settings_check(&s), ==, 0);
    g_assert_cmpint(mailbox_settings_digest(&s, result), ==, 0);
    expect_hex(result, "ba23e1470d3be4ddfd0383426b527ed1b07393f893c7317001e5bbe6c77e8e1b");
    g_assert_cmpint(mailbox_settings_mac(key, pin, &s, result), ==, 0);
    expect_hex(result, "61e6779172a19807d559742c63cd2b441ce463cf0c56593ddf4d67cef56dfddc");
    g_assert_cmpint(mailbox_settings_digest(&none, result), ==, 0);
    expect_hex(result, "0f9236bb4c2b9ed1770afb4a51c461b165d3b8dbc6ee3c170c49dbfe417e91f8");
}

/* Whatever changes, the MAC is another; the order of the senders says nothing. */
static void test_bound(void)
{
    _cleanup_(mailbox_settings_done) MailboxSettings s = make(1, 3600, 3);
    _cleanup_(secret_freep) Secret *key = NULL, *other_key = NULL;
    uint8_t other_pin[PIN_SIZE] = {1, 2, 4}, macs[7][SHA256_SIZE], again[SHA256_SIZE];
    g_assert_cmpint(secret_new_random(32, &key), ==, 0);
    g_assert_cmpint(secret_new_random(32, &other_key), ==, 0);
    g_assert_cmpint(mailbox_settings_check(&s), ==, 0);
    g_assert_cmpint(mailbox_settings_mac(key, pin, &s, macs[0]), ==, 0);
    g_assert_cmpint(mailbox_settings_mac(other_key, pin, &s, macs[1]), ==, 0);
    g_assert_cmpint(mailbox_settings_mac(key, other_pin, &s, macs[2]), ==, 0);
    s.revision = 2;
    g_assert_cmpint(mailbox_settings_mac(key, pin, &s, macs[3]), ==, 0);
    s.revision = 1;
    s.lifetime = 0;
    g_assert_cmpint(mailbox_settings_mac(key, pin, &s, macs[4]), ==, 0);
    s.lifetime = 3600;
    s.senders[1].allowed = !s.senders[1].allowed;
    g_assert_cmpint(mailbox_settings_mac(key, pin, &s, macs[5]), ==, 0);
    s.senders[1].allowed = !s.senders[1].allowed;
    s.n_senders = 2;
    g_assert_cmpint(mailbox_settings_mac(key, pin, &s, macs[6]), ==, 0);
    s.n_senders = 3;
    for (size_t i = 0; i < G_N_ELEMENTS(macs); i++)
        for (size_t k = 0; k < i; k++)
            g_assert_false(bytes_equal(macs[i], macs[k], SHA256_SIZE));
    const SenderRule first = s.senders[0];
    s.senders[0] = s.senders[2];
    s.senders[2] = first;
    g_assert_cmpint(mailbox_settings_check(&s), ==, 0);
    g_assert_cmpint(mailbox_settings_mac(key, pin, &s, again), ==, 0);
    g_assert_true(bytes_equal(macs[0], again, SHA256_SIZE));
}

static void test_check(void)
{
    _cleanup_(mailbox_settings_done) MailboxSettings s =
        make(GENERATION_MAX, MESSAGE_EXPIRY_MAX, SENDER_RULES_MAX);
    g_assert_cmpint(mailbox_settings_check(&s), ==, 0);
    s.revision++;
    g_assert_cmpint(mailbox_settings_check(&s), ==, HMSG_ERROR_INVALID_ARGS);
    s.revision = 0;
    s.lifetime = MESSAGE_EXPIRY_MAX + 1;
    g_assert_cmpint(mailbox_settings_check(&s), ==, HMSG_ERROR_INVALID_ARGS);
    s.lifetime = MAILBOX_LIFETIME_MIN - 1;
    g_assert_cmpint(mailbox_settings_check(&s), ==, HMSG_ERROR_INVALID_ARGS);
    s.lifetime = MAILBOX_LIFETIME_MIN;
    g_assert_cmpint(mailbox_settings_check(&s), ==, 0);
    s.senders[7] = s.senders[900];
    s.senders[7].allowed = !s.senders[900].allowed;
    g_assert_cmpint(mailbox_settings_check(&s), ==, HMSG_ERROR_INVALID_ARGS);
}

/* What is written is read as it was, and is a body that a relay takes however many there are. */
static void test_json(void)
{
    static const size_t sizes[] = {0, 1, 2, SENDER_RULES_MAX};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        _cleanup_(mailbox_settings_done) MailboxSettings s = make(GENERATION_MAX, i * 3600, sizes[i]),
                                                         read = {};
        _cleanup_(json_decrefp) json_t *j = json_object();
        _cleanup_(buf_done) Buf text = BUF_MAX(RELAY_BODY_SIZE_MAX - 256u);
        g_assert_cmpint(mailbox_settings_check(&s), ==, 0);
        g_assert_cmpint(mailbox_settings_put(&s, j), ==, 0);
        g_assert_cmpint(json_write(j, &text), ==, 0);
        g_assert_cmpint(mailbox_settings_get(j, &read), ==, 0);
        g_assert_cmpuint(read.revision, ==, s.revision);
        g_assert_cmpuint(read.lifetime, ==, s.lifetime);
        g_assert_cmpuint(read.n_senders, ==, s.n_senders);
        for (size_t k = 0; k < sizes[i]; k++) {
            g_assert_cmpmem(read.senders[k].skid, KID_SIZE, s.senders[k].skid, KID_SIZE);
            g_assert_cmpint(read.senders[k].allowed, ==, s.senders[k].allowed);
        }
    }
}

#define KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static void test_refused(void)
{
    static const char *const texts[] = {
        "{\"revision\":0,\"lifetime\":0,\"allowed\":[],\"blocked\":[]}",
        "{\"revision\":9007199254740992,\"lifetime\":0,\"allowed\":[],\"blocked\":[]}",
        "{\"revision\":1,\"lifetime\":3599,\"allowed\":[],\"blocked\":[]}",
        "{\"revision\":1,\"lifetime\":2592001,\"allowed\":[],\"blocked\":[]}",
        "{\"revision\":1,\"lifetime\":-1,\"allowed\":[],\"blocked\":[]}",
        "{\"revision\":1,\"lifetime\":0,\"allowed\":[]}",
        "{\"revision\":1,\"lifetime\":0,\"blocked\":[]}",
        "{\"revision\":1,\"allowed\":[],\"blocked\":[]}",
        "{\"revision\":1,\"lifetime\":0,\"allowed\":{},\"blocked\":[]}",
        "{\"revision\":1,\"lifetime\":0,\"allowed\":[1],\"blocked\":[]}",
        "{\"revision\":1,\"lifetime\":0,\"allowed\":[\"\"],\"blocked\":[]}",
        "{\"revision\":1,\"lifetime\":0,\"allowed\":[\"" KEY "\",\"" KEY "\"],\"blocked\":[]}",
        "{\"revision\":1,\"lifetime\":0,\"allowed\":[\"" KEY "\"],\"blocked\":[\"" KEY "\"]}",
        "{\"revision\":1,\"lifetime\":0,\"allowed\":[\"" KEY "A\"],\"blocked\":[]}",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        _cleanup_(mailbox_settings_done) MailboxSettings read = {};
        _cleanup_(json_decrefp) json_t *j = NULL;
        g_assert_cmpint(json_parse_object(texts[i], strlen(texts[i]), &j), ==, 0);
        g_assert_cmpint(mailbox_settings_get(j, &read), ==, HMSG_ERROR_BAD_PACKAGE);
    }
    _cleanup_(mailbox_settings_done) MailboxSettings many = make(1, 0, SENDER_RULES_MAX + 1), read = {};
    _cleanup_(json_decrefp) json_t *j = json_object();
    g_assert_cmpint(mailbox_settings_put(&many, j), ==, 0);
    g_assert_cmpint(mailbox_settings_get(j, &read), ==, HMSG_ERROR_BAD_PACKAGE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/mailbox-settings/values", test_values);
    g_test_add_func("/mailbox-settings/bound", test_bound);
    g_test_add_func("/mailbox-settings/check", test_check);
    g_test_add_func("/mailbox-settings/json", test_json);
    g_test_add_func("/mailbox-settings/refused", test_refused);
    return g_test_run();
}
