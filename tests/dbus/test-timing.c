/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The time of the answer does not tell why a package or a stream does not open. */

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/package-internal.h"
#include "libhmsg/wire/stream.h"
#include "tests/dbus/timing.h"

#define LATER_SAMPLES 600u
#define FIRST_SIZE 50u
#define LATER_SIZE 128000u /* so that the answer is not only the way through the bus */
#define BLOCK 16u

enum { LENGTH, OAEP, COMMITMENT, MAC, PADDING, FILE_KEY, PREFIX, EARLY, KINDS };
_Static_assert(KINDS <= TIMING_KINDS_MAX, "all are measured");

static const char *const names[] = {
    "OAEP of 63 bytes",         "OAEP",      "commitment", "MAC", "padding", "file key of 31 bytes",
    "commitment of the stream", "early end",
};

typedef struct Bench {
    Timing timing;
    WireSession *running; /* which the agent has cached */
    uint64_t seq;
    size_t size; /* of the plaintexts */
} Bench;

static WireSession *session_new(Bench *b)
{
    WireSession *s = NULL;

    g_assert_cmpint(wire_session_new(b->timing.recipient, NULL, clock_realtime(), SESSION_LIFETIME_MAX, &s),
                    ==, 0);
    return s;
}

static void set_member(json_t *package, const char *name, const void *data, size_t n)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(2 * LATER_SIZE);

    g_assert_cmpint(base64url_append(&text, data, n), ==, 0);
    g_assert_cmpint(json_object_set_new(package, name, json_string(buf_text(&text))), ==, 0);
}

/* Random blocks under a good MAC. One time in some hundred they end like a padding, then others are tried. */
static void spoil_padding(json_t *package, const Secret *keys, size_t size)
{
    const char *aad = json_string_value(json_object_get(package, "protected"));
    size_t n = strlen(aad), n_blocks = (size / BLOCK + 1) * BLOCK;
    uint8_t iv[BLOCK], mac[SHA512_SIZE], bits[8] = {0};
    g_autofree uint8_t *blocks = g_malloc(n_blocks);
    int r = 0;

    while (r == 0) {
        _cleanup_(buf_done) Buf plain = BUF_MAX(2 * LATER_SIZE);

        g_assert_cmpint(crypto_random(blocks, n_blocks), ==, 0);
        g_assert_cmpint(crypto_random(iv, sizeof(iv)), ==, 0);
        r = crypto_cbc_decrypt(secret_bytes(keys) + 32, iv, blocks, n_blocks, &plain);
    }
    for (size_t i = 0; i < 8; i++)
        bits[i] = (uint8_t)((uint64_t)n * 8 >> (56 - 8 * i));
    const Chunk chunks[] = {{aad, n}, {iv, sizeof(iv)}, {blocks, n_blocks}, {bits, sizeof(bits)}};
    g_assert_cmpint(crypto_hmac_sha512(secret_bytes(keys), 32, chunks, G_N_ELEMENTS(chunks), mac), ==, 0);
    set_member(package, "iv", iv, sizeof(iv));
    set_member(package, "ciphertext", blocks, n_blocks);
    set_member(package, "mac", mac, 32);
}

static char *build(Bench *b, WireSession *s, int kind)
{
    _cleanup_(buf_done) Buf package = BUF_MAX(PACKAGE_SIZE_MAX);
    g_autofree char *plain = g_strnfill(b->size, 'x');
    uint8_t mac[32];

    g_assert_cmpint(package_build(s, b->seq++, clock_realtime(), 0, plain, b->size, &package), ==, 0);
    json_t *json = json_loadb(buf_text(&package), package.size, 0, NULL);
    g_assert_nonnull(json);
    if (kind == MAC) {
        g_assert_cmpint(crypto_random(mac, sizeof(mac)), ==, 0);
        set_member(json, "mac", mac, sizeof(mac));
    }
    if (kind == PADDING)
        spoil_padding(json, s->keys, b->size);
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
}

/* In a session of its own: its keys must be asked of the TPM. */
static WireSession *first_session(Bench *b, int kind)
{
    WireSession *s = session_new(b);

    if (kind == LENGTH) {
        buf_clear(&s->encrypted_key);
        g_assert_cmpint(rsa_key_oaep_encrypt(b->timing.recipient, secret_bytes(s->keys),
                                             SESSION_KEYS_SIZE - 1, &s->encrypted_key),
                        ==, 0);
    }
    if (kind == OAEP) {
        g_assert_cmpint(crypto_random(s->encrypted_key.data, s->encrypted_key.size), ==, 0);
        s->encrypted_key.data[0] = 0; /* below the modulus */
    }
    if (kind == COMMITMENT)
        g_assert_cmpint(crypto_random(s->statement.kc, sizeof(s->statement.kc)), ==, 0);
    return s;
}

static char *first_package(Bench *b, int kind)
{
    _cleanup_(wire_session_freep) WireSession *s = first_session(b, kind);

    return build(b, s, kind);
}

/* A header with a file key that is too short; what should follow from it is random. */
static void short_head(const WireSession *s, Buf *ret)
{
    static const uint8_t key[FILE_KEY_SIZE];
    _cleanup_(buf_done) Buf package = BUF_MAX(PACKAGE_SIZE_MAX);
    uint8_t prefix[STREAM_PREFIX_SIZE];

    g_assert_cmpint(
        package_write(s, PACKAGE_STREAM, 1, 0, clock_realtime(), 0, key, sizeof(key) - 1, &package), ==, 0);
    g_assert_cmpint(crypto_random(prefix, sizeof(prefix)), ==, 0);
    g_assert_cmpint(buf_append_string(ret, STREAM_MAGIC), ==, 0);
    g_assert_cmpint(buf_append_u32(ret, (uint32_t)package.size), ==, 0);
    g_assert_cmpint(buf_append_u32(ret, 0), ==, 0);
    g_assert_cmpint(buf_append(ret, package.data, package.size), ==, 0);
    g_assert_cmpint(buf_append(ret, prefix, sizeof(prefix)), ==, 0);
}

/* Of one chunk. */
static void first_stream(Bench *b, int kind, Buf *ret)
{
    _cleanup_(wire_session_freep) WireSession *s = first_session(b, kind);
    const StreamRecipient to = {s, 0};
    _cleanup_(stream_writer_freep) StreamWriter *w = NULL;
    uint8_t content[FIRST_SIZE] = {0}, sealed[STREAM_SEALED_SIZE(FIRST_SIZE)];
    size_t n = sizeof(sealed);

    if (kind == FILE_KEY) {
        short_head(s, ret);
        g_assert_cmpint(crypto_random(sealed, sizeof(sealed)), ==, 0);
    } else {
        g_assert_cmpint(stream_writer_new(&to, 1, clock_realtime(), 0, &w, ret), ==, 0);
        g_assert_cmpint(stream_seal(w, content, sizeof(content), true, sealed, &n), ==, 0);
    }
    if (kind == MAC) {
        char *mac = memmem(ret->data, ret->size, "\"mac\":\"", 7);
        g_assert_nonnull(mac);
        mac[7] = mac[7] == 'A' ? 'B' : 'A';
    }
    if (kind == PREFIX)
        ret->data[ret->size - 1] ^= 1;
    g_assert_cmpint(buf_append(ret, sealed, n), ==, 0);
}

static double ask(Bench *b, const char *package, bool allow_unknown, const char *expected)
{
    return timing_ask(&b->timing, package, strlen(package), allow_unknown ? "allow_unknown" : NULL, expected);
}

static double sample_first(void *context, int kind)
{
    Bench *b = context;
    g_autofree char *package = first_package(b, kind);

    /* an anonymous sender is refused before the TPM, unless allowed */
    return kind == EARLY ? ask(b, package, false, ERROR("Untrusted"))
                         : ask(b, package, true, ERROR("AuthenticationFailed"));
}

static double sample_stream(void *context, int kind)
{
    Bench *b = context;
    const Timing *t = &b->timing;
    _cleanup_(buf_done) Buf stream = BUF_MAX(PACKAGE_SIZE_MAX);

    first_stream(b, kind, &stream);
    if (kind == EARLY)
        return timing_ask_fd(t, stream.data, stream.size, NULL, ERROR("Untrusted"));
    return timing_ask_fd(t, stream.data, stream.size, "allow_unknown",
                         kind == KINDS ? NULL : ERROR("AuthenticationFailed"));
}

static double sample_later(void *context, int kind)
{
    Bench *b = context;
    g_autofree char *package = build(b, b->running, kind);

    if (kind != EARLY)
        return ask(b, package, true, ERROR("AuthenticationFailed"));
    *package = '[';
    return ask(b, package, true, ERROR("BadPackage"));
}

static void test_first(TestAgent *a, gconstpointer data)
{
    static const int kinds[] = {LENGTH, OAEP, COMMITMENT, MAC, PADDING, EARLY};
    Bench b = {.size = FIRST_SIZE};

    timing_begin(&b.timing, a, data, names, TIMING_FIRST_SAMPLES);
    timing_expect_same(&b.timing, kinds, G_N_ELEMENTS(kinds), TIMING_FIRST_SAMPLES, sample_first, &b);
    timing_end(&b.timing);
}

static void test_stream(TestAgent *a, gconstpointer data)
{
    static const int kinds[] = {LENGTH, OAEP, COMMITMENT, MAC, FILE_KEY, PREFIX, EARLY};
    Bench b = {.size = FIRST_SIZE};

    timing_begin(&b.timing, a, data, names, TIMING_FIRST_SAMPLES);
    (void)sample_stream(&b, KINDS); /* which opens */
    timing_expect_same(&b.timing, kinds, G_N_ELEMENTS(kinds), TIMING_FIRST_SAMPLES, sample_stream, &b);
    timing_end(&b.timing);
}

/* The session is cached: no TPM hides what the agent does. The answer is its work alone, whose time does not
 * depend on what else the machine does. */
static void test_later(TestAgent *a, gconstpointer data)
{
    static const int kinds[] = {MAC, PADDING, EARLY};
    Bench b = {.size = LATER_SIZE};

    timing_begin(&b.timing, a, NULL, names, LATER_SAMPLES);
    g_assert_cmpint(clock_getcpuclockid(test_process_pid(a->process), &b.timing.clock), ==, 0);
    b.running = session_new(&b);
    g_autofree char *good = build(&b, b.running, KINDS);
    (void)ask(&b, good, true, NULL);
    timing_expect_same(&b.timing, kinds, G_N_ELEMENTS(kinds), LATER_SAMPLES, sample_later, &b);
    (void)wire_session_free(b.running);
    timing_end(&b.timing);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/timing/first", TestAgent, NULL, agent_set_up, test_first, agent_tear_down);
    g_test_add("/dbus/timing/first-in-software", TestAgent, "correct horse battery staple", agent_set_up,
               test_first, agent_tear_down);
    g_test_add("/dbus/timing/stream", TestAgent, NULL, agent_set_up, test_stream, agent_tear_down);
    g_test_add("/dbus/timing/later", TestAgent, NULL, agent_set_up, test_later, agent_tear_down);
    return g_test_run();
}
