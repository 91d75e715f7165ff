/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Does the time of the agent's answer tell why a package does not open? Answers of every kind of failure are
 * measured one after the other in random order, and each two kinds are compared by Welch's t-test, after
 * dudect. Machines that run tests are noisy: only a difference that is gross and comes again in each round
 * fails. That the same measurement would notice one is shown with answers that do end early. */

#include <math.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/package.h"
#include "tests/dbus/cipher.h"

#define ROUNDS 3
#define T_GROSS 10.0      /* dudect's bound for "certainly leaks" */
#define SHARE_GROSS 0.2   /* of the time */
#define KEEP 0.3          /* the quickest: what is slower waited for other programs */
#define FIRST_SAMPLES 30u /* each takes a step of CIPHER_FAILURE_STEP, or more */
#define LATER_SAMPLES 600u
#define FIRST_SIZE 50u
#define LATER_SIZE 128000u /* so that the answer is not only the way through the bus */
#define BLOCK 16u

enum { LENGTH, OAEP, COMMITMENT, MAC, PADDING, EARLY, KINDS };

static const char *const names[] = {"OAEP of 63 bytes", "OAEP", "commitment", "MAC", "padding", "early end"};

typedef struct Samples {
    double *values;
    size_t n;
} Samples;

typedef struct Bench {
    TestAgent *agent;
    RsaKey *recipient;
    WireSession *running; /* which the agent has cached */
    uint64_t seq;
    size_t size;     /* of the plaintexts */
    clockid_t clock; /* the time that counts */
    Samples samples[KINDS];
} Bench;

static WireSession *session_new(Bench *b)
{
    WireSession *s = NULL;

    g_assert_cmpint(wire_session_new(b->recipient, NULL, clock_realtime(), SESSION_LIFETIME_MAX, &s), ==, 0);
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
static char *first_package(Bench *b, int kind)
{
    _cleanup_(wire_session_freep) WireSession *s = session_new(b);

    if (kind == LENGTH) {
        buf_clear(&s->encrypted_key);
        g_assert_cmpint(rsa_key_oaep_encrypt(b->recipient, secret_bytes(s->keys), SESSION_KEYS_SIZE - 1,
                                             &s->encrypted_key),
                        ==, 0);
    }
    if (kind == OAEP) {
        g_assert_cmpint(crypto_random(s->encrypted_key.data, s->encrypted_key.size), ==, 0);
        s->encrypted_key.data[0] = 0; /* below the modulus */
    }
    if (kind == COMMITMENT)
        g_assert_cmpint(crypto_random(s->statement.kc, sizeof(s->statement.kc)), ==, 0);
    return build(b, s, kind);
}

static double now(const Bench *b)
{
    struct timespec t;

    g_assert_cmpint(clock_gettime(b->clock, &t), ==, 0);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* How long the answer takes, in microseconds; it must be the error. */
static double ask(Bench *b, const char *package, bool allow_unknown, const char *expected)
{
    GVariantDict options;
    g_autofree char *name = NULL;
    GVariant *arguments;
    double before, after;

    g_variant_dict_init(&options, NULL);
    if (allow_unknown)
        g_variant_dict_insert(&options, "allow_unknown", "b", TRUE);
    arguments = g_variant_ref_sink(
        g_variant_new("(@ay@a{sv})", cipher_bytes(package, strlen(package)), g_variant_dict_end(&options)));
    before = now(b);
    GVariant *reply = cipher_call(b->agent, "Decrypt", arguments, NULL, expected ? &name : NULL, NULL);
    after = now(b);
    g_variant_unref(arguments);
    g_assert_cmpstr(name, ==, expected);
    if (reply)
        g_variant_unref(reply);
    return after - before;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double typical(const Samples *s)
{
    return s->values[(size_t)((double)s->n * KEEP / 2)]; /* in the middle of what is kept */
}

/* Of what is kept. */
static void moments(const Samples *s, double *ret_mean, double *ret_variance, double *ret_n)
{
    size_t n = (size_t)((double)s->n * KEEP);
    double sum = 0, squares = 0;

    for (size_t i = 0; i < n; i++)
        sum += s->values[i];
    *ret_mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (s->values[i] - *ret_mean) * (s->values[i] - *ret_mean);
    *ret_variance = squares / (double)(n - 1);
    *ret_n = (double)n;
}

static double welch(const Samples *a, const Samples *b)
{
    double ma, mb, va, vb, na, nb;

    moments(a, &ma, &va, &na);
    moments(b, &mb, &vb, &nb);
    return (ma - mb) / sqrt(va / na + vb / nb);
}

/* Prints, and says whether the two differ grossly. */
static bool differ(const Bench *b, int i, int k)
{
    const Samples *x = &b->samples[i], *y = &b->samples[k];
    double t = welch(x, y), share = fabs(typical(x) - typical(y)) / fmin(typical(x), typical(y));

    g_test_message("%s, %.0f us, and %s, %.0f us: t = %.1f, %.1f %%", names[i], typical(x), names[k],
                   typical(y), t, 100 * share);
    return fabs(t) > T_GROSS && share > SHARE_GROSS;
}

static void shuffle(int *kinds, size_t n)
{
    for (size_t i = n - 1; i > 0; i--) {
        size_t k = (size_t)g_random_int_range(0, (gint32)i + 1);
        int x = kinds[i];

        kinds[i] = kinds[k];
        kinds[k] = x;
    }
}

/* n of each of the kinds that there are, in random order; one of each first that does not count. */
static void measure(Bench *b, const int *kinds, size_t n_kinds, size_t n,
                    double (*sample)(Bench *b, int kind))
{
    int order[KINDS];

    memcpy(order, kinds, n_kinds * sizeof(*kinds));
    for (size_t i = 0; i < n_kinds; i++) {
        b->samples[kinds[i]].n = 0;
        (void)sample(b, kinds[i]);
    }
    for (size_t i = 0; i < n; i++) {
        shuffle(order, n_kinds);
        for (size_t k = 0; k < n_kinds; k++) {
            Samples *s = &b->samples[order[k]];

            s->values[s->n++] = sample(b, order[k]);
        }
    }
    for (size_t i = 0; i < n_kinds; i++)
        qsort(b->samples[kinds[i]].values, n, sizeof(double), compare);
}

/* kinds: the last one ends early, and is the control. */
static void expect_same(Bench *b, const int *kinds, size_t n_kinds, size_t n,
                        double (*sample)(Bench *b, int kind))
{
    bool seen = false, all_rounds[KINDS][KINDS];
    unsigned suspects = 1, round;

    memset(all_rounds, true, sizeof(all_rounds));
    for (round = 0; round < ROUNDS && (suspects > 0 || !seen); round++) {
        suspects = 0;
        measure(b, kinds, n_kinds, n, sample);
        for (size_t i = 0; i + 1 < n_kinds; i++)
            for (size_t k = i + 1; k + 1 < n_kinds; k++) {
                bool *all = &all_rounds[kinds[i]][kinds[k]];

                *all = differ(b, kinds[i], kinds[k]) && *all;
                suspects += *all;
            }
        seen |= differ(b, kinds[n_kinds - 2], kinds[n_kinds - 1]);
    }
    g_assert_cmpuint(suspects, ==, 0);
    g_assert_true(seen); /* else nothing was measured */
}

static double sample_first(Bench *b, int kind)
{
    g_autofree char *package = first_package(b, kind);

    /* an anonymous sender is refused before the TPM, unless allowed */
    return kind == EARLY ? ask(b, package, false, ERROR("Untrusted"))
                         : ask(b, package, true, ERROR("AuthenticationFailed"));
}

static double sample_later(Bench *b, int kind)
{
    g_autofree char *package = build(b, b->running, kind);

    if (kind != EARLY)
        return ask(b, package, true, ERROR("AuthenticationFailed"));
    *package = '[';
    return ask(b, package, true, ERROR("BadPackage"));
}

/* password: of keys in software; NULL: they are in the TPM. */
static void begin(Bench *b, TestAgent *a, const char *password, size_t samples, size_t size)
{
    g_autofree char *config = g_build_filename(a->folder, "agent.conf", NULL);
    g_autoptr(GDBusConnection) bus = NULL;

    g_assert_true(g_file_set_contents(config, "[sessions]\nper-minute = 0\n", -1, NULL));
    agent_start(a, NULL);
    if (password)
        agent_expect_named(agent_create_software(a, password), NULL);
    else
        g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    g_autoptr(GByteArray) pem = cipher_public_key(a);
    *b = (Bench){.agent = a, .size = size, .clock = CLOCK_MONOTONIC};
    g_assert_cmpint(rsa_key_from_pem((const char *)pem->data, pem->len, &b->recipient), ==, 0);
    for (size_t i = 0; i < KINDS; i++)
        b->samples[i].values = g_new0(double, samples);
}

static void end(Bench *b)
{
    for (size_t i = 0; i < KINDS; i++)
        g_free(b->samples[i].values);
    (void)wire_session_free(b->running);
    (void)rsa_key_free(b->recipient);
    agent_stop(b->agent);
}

static void test_first(TestAgent *a, gconstpointer data)
{
    static const int kinds[] = {LENGTH, OAEP, COMMITMENT, MAC, PADDING, EARLY};
    Bench b;

    begin(&b, a, data, FIRST_SAMPLES, FIRST_SIZE);
    expect_same(&b, kinds, G_N_ELEMENTS(kinds), FIRST_SAMPLES, sample_first);
    end(&b);
}

/* The session is cached: no TPM hides what the agent does. The answer is its work alone, whose time does not
 * depend on what else the machine does. */
static void test_later(TestAgent *a, gconstpointer data)
{
    static const int kinds[] = {MAC, PADDING, EARLY};
    Bench b;

    begin(&b, a, NULL, LATER_SAMPLES, LATER_SIZE);
    g_assert_cmpint(clock_getcpuclockid(test_process_pid(a->process), &b.clock), ==, 0);
    b.running = session_new(&b);
    g_autofree char *good = build(&b, b.running, KINDS);
    (void)ask(&b, good, true, NULL);
    expect_same(&b, kinds, G_N_ELEMENTS(kinds), LATER_SAMPLES, sample_later);
    end(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/timing/first", TestAgent, NULL, agent_set_up, test_first, agent_tear_down);
    g_test_add("/dbus/timing/first-in-software", TestAgent, "correct horse battery staple", agent_set_up,
               test_first, agent_tear_down);
    g_test_add("/dbus/timing/later", TestAgent, NULL, agent_set_up, test_later, agent_tear_down);
    return g_test_run();
}
