/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/cipher-fd.h"
#include "agent/cipher.h"
#include "agent/session-in.h"
#include "agent/session-out.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "tests/unit/agent/double.h"

#define TEXT "What Alice wrote"

typedef struct Scene {
    Double *d;
    Manager *m;
    SealKey us;
} Scene;

static void scene_open(Scene *s)
{
    const IdentityPublic *own;
    size_t n = 0;

    s->d = double_new();
    s->m = double_manager(s->d);
    g_assert_cmpint(session_in_new(s->m, &s->m->session_in), ==, 0);
    g_assert_cmpint(session_out_new(s->m, &s->m->session_out), ==, 0);
    g_assert_cmpint(cipher_new(s->m, &s->m->cipher), ==, 0);
    own = identity_public(s->m->identity);
    s->us.kid = own->kid;
    s->us.spki = rsa_key_spki(own->decrypt, &n);
    s->us.spki_size = n;
    double_know(s->d, CONTACT_PINNED, CONTACT_NONE, "alice@relay");
}

static void scene_close(Scene *s)
{
    s->m->cipher = cipher_free(s->m->cipher);
    s->m->session_out = session_out_free(s->m->session_out);
    s->m->session_in = session_in_free(s->m->session_in);
    double_free(s->d);
}

typedef struct Result {
    bool done;
    int r;
    char *detail;
    GByteArray *bytes; /* the first package, or the plaintext */
    size_t n;
    OpenInfo info;
    char *sender;
    CipherJob *job;
    unsigned progress;
} Result;

static void result_clear(Result *x)
{
    cipher_job_free(x->job);
    g_free(x->detail);
    g_free(x->sender);
    if (x->bytes)
        g_byte_array_unref(x->bytes);
    *x = (Result){0};
}

static void take(Result *x, int r, const char *detail, const Buf *b)
{
    g_assert_false(x->done);
    g_assert_nonnull(detail);
    x->done = true;
    x->r = r;
    x->detail = g_strdup(detail);
    x->bytes = g_byte_array_new();
    if (b)
        g_byte_array_append(x->bytes, b->data ? b->data : (const uint8_t *)"", (guint)b->size);
}

static void on_sealed(int r, const char *detail, const Buf *packages, size_t n, void *userdata)
{
    Result *x = userdata;

    g_assert_true((r == 0) == (packages != NULL));
    take(x, r, detail, packages);
    x->n = n;
}

static void on_opened(int r, const char *detail, const Buf *plaintext, const OpenInfo *info, void *userdata)
{
    Result *x = userdata;

    g_assert_true((r == 0) == (plaintext != NULL));
    take(x, r, detail, plaintext);
    if (info) {
        x->info = *info;
        x->sender = g_strdup(info->sender);
    }
}

static void seal(Scene *s, const SealOptions *o, Result *x)
{
    *x = (Result){0};
    g_assert_cmpint(cipher_seal(s->m->cipher, &s->us, 1, TEXT, strlen(TEXT), o, on_sealed, x, &x->job), ==,
                    0);
    g_assert_false(x->done);
    double_run(s->d, &x->done);
}

static GByteArray *sealed(Scene *s, const SealOptions *o)
{
    GByteArray *bytes;
    Result x;

    seal(s, o, &x);
    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpuint(x.n, ==, 1);
    bytes = g_byte_array_ref(x.bytes);
    result_clear(&x);
    return bytes;
}

static void open_begin(Scene *s, const void *data, size_t n, const OpenOptions *o, Result *x)
{
    *x = (Result){0};
    g_assert_cmpint(cipher_open(s->m->cipher, data, n, o, on_opened, x, &x->job), ==, 0);
    g_assert_false(x->done);
}

static void open_it(Scene *s, const GByteArray *p, const OpenOptions *o, Result *x)
{
    open_begin(s, p->data, p->len, o, x);
    double_run(s->d, &x->done);
}

static void expect_text(const Result *x)
{
    g_assert_cmpint(x->r, ==, 0);
    g_assert_cmpmem(x->bytes->data, x->bytes->len, TEXT, strlen(TEXT));
}

static void expect_error(Scene *s, const GByteArray *p, const OpenOptions *o, int error)
{
    _cleanup_(buf_done) Buf plaintext = BUF_MAX(PLAINTEXT_SIZE_MAX);
    OpenInfo info;
    Result x;

    open_it(s, p, o, &x);
    g_assert_cmpint(x.r, ==, error);
    result_clear(&x);
    int r = cipher_open_now(s->m->cipher, p->data, p->len, o, &plaintext, &info);
    g_assert_true(r == error || r == -EAGAIN);
    g_assert_cmpuint(plaintext.size, ==, 0);
}

static const SealOptions plain = {0};
static const OpenOptions strict = {0};
static const OpenOptions unknown = {.allow_unknown = true};

static void test_round_trip(void)
{
    _cleanup_(buf_done) Buf plaintext = BUF_MAX(PLAINTEXT_SIZE_MAX);
    OpenInfo info;
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    g_autoptr(GByteArray) q = sealed(&s, &plain);
    g_assert_cmpuint(double_count_sign(s.d), ==, 1);
    g_assert_cmpint(cipher_open_now(s.m->cipher, p->data, p->len, &strict, &plaintext, &info), ==, -EAGAIN);
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    g_assert_cmpstr(x.sender, ==, "alice@relay");
    g_assert_true(x.info.verified && !x.info.trusted && !x.info.cached && !x.info.replayed &&
                  x.info.authenticated && !x.info.expired);
    g_assert_cmpint(x.info.timestamp, >, 0);
    result_clear(&x);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 1);

    /* the next one of the session, at once */
    unsigned asked = double_count_known(s.d);
    g_assert_cmpint(cipher_open_now(s.m->cipher, q->data, q->len, &strict, &plaintext, &info), ==, 0);
    g_assert_cmpstr(buf_text(&plaintext), ==, TEXT);
    g_assert_true(info.cached && !info.replayed && info.verified);
    g_assert_cmpstr(info.sender, ==, "alice@relay");
    g_assert_cmpuint(double_count_known(s.d), ==, asked); /* nor a database */
    /* and the first again, from the loop */
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    g_assert_true(x.info.cached && x.info.replayed);
    result_clear(&x);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 1);
    scene_close(&s);
}

static void test_several(void)
{
    SealKey keys[RECIPIENTS_MAX + 1];
    Result x;
    Scene s;

    scene_open(&s);
    for (size_t i = 0; i < ELEMENTSOF(keys); i++)
        keys[i] = s.us;
    x = (Result){0};
    g_assert_cmpint(cipher_seal(s.m->cipher, keys, 3, TEXT, strlen(TEXT), &plain, on_sealed, &x, &x.job), ==,
                    0);
    double_run(s.d, &x.done);
    g_assert_cmpuint(x.n, ==, 3);
    result_clear(&x);
    g_assert_cmpint(cipher_seal(s.m->cipher, keys, ELEMENTSOF(keys), "", 0, &plain, on_sealed, &x, &x.job),
                    ==, HMSG_ERROR_TOO_LARGE);
    g_autofree char *large = g_malloc0(PLAINTEXT_SIZE_MAX + 1);
    g_assert_cmpint(
        cipher_seal(s.m->cipher, keys, 1, large, PLAINTEXT_SIZE_MAX + 1, &plain, on_sealed, &x, &x.job), ==,
        HMSG_ERROR_TOO_LARGE);
    /* an array, of which one is ours */
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    g_autoptr(GByteArray) array = g_byte_array_new();
    g_byte_array_append(array, (const uint8_t *)"[", 1);
    g_byte_array_append(array, p->data, p->len);
    g_byte_array_append(array, (const uint8_t *)"]", 1);
    open_it(&s, array, &strict, &x);
    expect_text(&x);
    result_clear(&x);
    scene_close(&s);
}

static void test_seal_now(void)
{
    Buf package = BUF_MAX(PACKAGE_SIZE_MAX);
    SealOptions anonymous = {.anonymous = true};
    Scene s;

    scene_open(&s);
    g_assert_cmpint(cipher_seal_now(s.m->cipher, &s.us, 1, TEXT, strlen(TEXT), &plain, &package), ==,
                    -EAGAIN);
    g_assert_cmpint(cipher_seal_now(s.m->cipher, &s.us, 1, TEXT, strlen(TEXT), &anonymous, &package), ==, 0);
    g_assert_cmpuint(package.size, >, 0);
    g_assert_cmpuint(double_count_sign(s.d), ==, 0);
    g_autoptr(GByteArray) first = sealed(&s, &plain);
    buf_clear(&package);
    g_assert_cmpint(cipher_seal_now(s.m->cipher, &s.us, 1, TEXT, strlen(TEXT), &plain, &package), ==, 0);
    g_assert_cmpuint(double_count_sign(s.d), ==, 1);
    buf_done(&package);
    scene_close(&s);
}

/* Who may send, before the TPM is asked. */
static void test_senders(void)
{
    const SealOptions no_sign = {.anonymous = true};
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    g_autoptr(GByteArray) anonymous = sealed(&s, &no_sign);

    expect_error(&s, anonymous, &strict, HMSG_ERROR_UNTRUSTED);
    double_know(s.d, CONTACT_BLOCKED, CONTACT_NONE, "m@relay");
    expect_error(&s, p, &strict, HMSG_ERROR_UNTRUSTED);
    expect_error(&s, p, &unknown, HMSG_ERROR_UNTRUSTED);
    double_know(s.d, CONTACT_CHANGED, CONTACT_NONE, "m@relay");
    expect_error(&s, p, &unknown, HMSG_ERROR_UNTRUSTED);
    double_know(s.d, CONTACT_NONE, CONTACT_NONE, "");
    expect_error(&s, p, &strict, HMSG_ERROR_UNTRUSTED);
    double_directory_fail(s.d, HMSG_ERROR_RELAY_UNAVAILABLE);
    expect_error(&s, p, &strict, HMSG_ERROR_RELAY_UNAVAILABLE);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 0);

    open_it(&s, p, &unknown, &x); /* also while nobody can be asked */
    expect_text(&x);
    g_assert_true(!x.info.verified && !x.info.trusted);
    g_assert_cmpstr(x.sender, ==, identity_public(s.m->identity)->skid);
    result_clear(&x);
    double_directory_fail(s.d, 0);
    double_know(s.d, CONTACT_NONE, CONTACT_PINNED, "late@relay");
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    g_assert_true(x.info.verified && x.info.cached);
    g_assert_cmpstr(x.sender, ==, "late@relay");
    result_clear(&x);
    double_know(s.d, CONTACT_VERIFIED, CONTACT_NONE, "late@relay");
    open_it(&s, p, &strict, &x);
    g_assert_true(x.info.trusted);
    result_clear(&x);
    open_it(&s, anonymous, &unknown, &x);
    expect_text(&x);
    g_assert_cmpstr(x.sender, ==, "");
    g_assert_false(x.info.verified);
    result_clear(&x);
    /* blocked meanwhile: the cached answer is not good any more */
    double_know(s.d, CONTACT_BLOCKED, CONTACT_NONE, "late@relay");
    expect_error(&s, p, &strict, HMSG_ERROR_UNTRUSTED);
    scene_close(&s);
}

/* Keys of the wrong commitment, or none: remembered, and each the same error. */
static void test_failed_keys(void)
{
    Result x, y;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    double_fail(s.d, HMSG_ERROR_AUTHENTICATION_FAILED); /* as OAEP would say */
    open_it(&s, p, &strict, &x);
    g_assert_cmpint(x.r, ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 1);
    open_it(&s, p, &strict, &y);
    g_assert_cmpint(y.r, ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpstr(x.detail, ==, y.detail);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 1); /* remembered */
    result_clear(&x);
    result_clear(&y);
    /* the TPM itself is away: that says nothing of the package */
    double_fail(s.d, HMSG_ERROR_TPM_UNAVAILABLE);
    g_autoptr(GByteArray) q = NULL;
    double_fail(s.d, 0);
    session_out_flush(s.m->session_out, NULL);
    q = sealed(&s, &plain);
    double_fail(s.d, HMSG_ERROR_TPM_UNAVAILABLE);
    expect_error(&s, q, &strict, HMSG_ERROR_TPM_UNAVAILABLE);
    double_fail(s.d, 0);
    open_it(&s, q, &strict, &x);
    expect_text(&x);
    result_clear(&x);
    scene_close(&s);
}

static void is_refused(Scene *s, const GByteArray *p)
{
    _cleanup_(buf_done) Buf plaintext = BUF_MAX(PLAINTEXT_SIZE_MAX);
    OpenInfo info;
    int r = cipher_open_now(s->m->cipher, p->data, p->len, &strict, &plaintext, &info);

    if (r == -EAGAIN) {
        Result x;

        open_it(s, p, &strict, &x);
        r = x.r;
        g_assert_cmpuint(x.bytes->len, ==, 0);
        result_clear(&x);
    }
    g_assert_cmpuint(plaintext.size, ==, 0);
    g_assert_true(r == HMSG_ERROR_BAD_PACKAGE || r == HMSG_ERROR_AUTHENTICATION_FAILED ||
                  r == HMSG_ERROR_NOT_FOR_US || r == HMSG_ERROR_UNTRUSTED || r == HMSG_ERROR_TOO_LARGE);
}

/* Every byte changed, and every shorter text; with the session cached and so at once where it can be. */
static void test_mutations(void)
{
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    result_clear(&x);
    for (guint n = 0; n < p->len; n++) {
        g_autoptr(GByteArray) cut = g_byte_array_new();
        g_byte_array_append(cut, p->data, n);
        is_refused(&s, cut);
    }
    for (guint i = 0; i < p->len; i++) {
        p->data[i] ^= 0x01;
        is_refused(&s, p);
        p->data[i] ^= 0x01;
    }
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    result_clear(&x);
    scene_close(&s);
}

static void test_seed(void)
{
    const OpenOptions careless = {.allow_unauthenticated = true};
    const SealOptions seed = {.seed = true};
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &seed);
    expect_error(&s, p, &strict, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 0);
    open_it(&s, p, &unknown, &x);
    expect_text(&x);
    g_assert_true(x.info.authenticated && !x.info.verified);
    result_clear(&x);
    /* without its MAC */
    const char *mac = g_strrstr_len((const char *)p->data, p->len, ",\"hmac\"");
    g_assert_nonnull(mac);
    g_byte_array_set_size(p, (guint)((const uint8_t *)mac - p->data));
    g_byte_array_append(p, (const uint8_t *)"}", 1);
    expect_error(&s, p, &strict, HMSG_ERROR_AUTHENTICATION_FAILED);
    expect_error(&s, p, &unknown, HMSG_ERROR_AUTHENTICATION_FAILED);
    open_it(&s, p, &careless, &x);
    expect_text(&x);
    g_assert_false(x.info.authenticated);
    result_clear(&x);
    double_fail(s.d, HMSG_ERROR_AUTHENTICATION_FAILED);
    unsigned n = double_count_decrypt(s.d);
    expect_error(&s, p, &careless, HMSG_ERROR_AUTHENTICATION_FAILED);
    expect_error(&s, p, &careless, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, n + 1);
    scene_close(&s);
}

static void test_lock(void)
{
    _cleanup_(buf_done) Buf plaintext = BUF_MAX(PLAINTEXT_SIZE_MAX);
    OpenInfo info;
    Result x, y;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    double_hold(s.d, true);
    open_begin(&s, p->data, p->len, &strict, &x);
    double_turn(s.d);
    y = (Result){0};
    session_out_flush(s.m->session_out, NULL);
    g_assert_cmpint(cipher_seal(s.m->cipher, &s.us, 1, TEXT, 1, &plain, on_sealed, &y, &y.job), ==, 0);
    double_lock(s.d);
    g_assert_true(x.done && y.done);
    g_assert_cmpint(x.r, ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(y.r, ==, HMSG_ERROR_LOCKED);
    double_hold(s.d, false);
    for (unsigned i = 0; i < 5; i++)
        double_turn(s.d);
    result_clear(&x);
    result_clear(&y);
    g_assert_cmpuint(session_in_count(s.m->session_in) + session_out_count(s.m->session_out), ==, 0);
    expect_error(&s, p, &strict, HMSG_ERROR_LOCKED);
    double_unlock(s.d);
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    result_clear(&x);
    g_assert_cmpint(cipher_open_now(s.m->cipher, p->data, p->len, &strict, &plaintext, &info), ==, 0);
    double_lock(s.d);
    buf_clear(&plaintext);
    g_assert_cmpint(cipher_open_now(s.m->cipher, p->data, p->len, &strict, &plaintext, &info), ==, -EAGAIN);
    scene_close(&s);
}

static void test_cancel(void)
{
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    open_begin(&s, p->data, p->len, &strict, &x);
    x.job = cipher_job_free(x.job);
    for (unsigned i = 0; i < 5; i++)
        double_turn(s.d);
    g_assert_false(x.done);
    result_clear(&x);
    scene_close(&s);
}

static void on_fd(int r, const char *detail, const OpenInfo *info, void *userdata)
{
    Result *x = userdata;

    take(x, r, detail, NULL);
    if (info) {
        x->info = *info;
        x->sender = g_strdup(info->sender);
    }
}

static void on_progress(uint64_t done, uint64_t total, void *userdata)
{
    ((Result *)userdata)->progress++;
}

static int temporary(const void *data, size_t n)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("hmsg-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    unlink(path);
    g_assert_cmpint(file_write_fd(fd, data, n), ==, 0);
    g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
    return fd;
}

static GByteArray *contents(int fd)
{
    GByteArray *all = g_byte_array_new();
    uint8_t piece[4096];
    ssize_t n;

    g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
    while ((n = read(fd, piece, sizeof(piece))) > 0)
        g_byte_array_append(all, piece, (guint)n);
    close(fd);
    return all;
}

static GByteArray *seal_fd(Scene *s, size_t n_keys, const GByteArray *data, const SealOptions *o)
{
    int in = temporary(data->data, data->len), out = temporary("", 0);
    SealKey keys[] = {s->us, s->us, s->us};
    Result x = {0};

    g_assert_cmpint(cipher_seal_fd(s->m->cipher, keys, n_keys, in, out, o, 0, on_progress, on_fd, &x, &x.job),
                    ==, 0);
    double_run(s->d, &x.done);
    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpuint(x.info.bytes_in, ==, data->len);
    GByteArray *all = contents(out);
    g_assert_cmpuint(x.info.bytes_out, ==, all->len);
    result_clear(&x);
    close(in);
    return all;
}

static GByteArray *open_fd(Scene *s, const GByteArray *data, const OpenOptions *o, Result *x)
{
    int in = temporary(data->data, data->len), out = temporary("", 0);

    *x = (Result){0};
    g_assert_cmpint(cipher_open_fd(s->m->cipher, in, out, o, 0, on_progress, on_fd, x, &x->job), ==, 0);
    double_run(s->d, &x->done);
    close(in);
    return contents(out);
}

static GByteArray *random_bytes(size_t n)
{
    GByteArray *b = g_byte_array_new();

    g_byte_array_set_size(b, (guint)n);
    g_assert_cmpint(crypto_random(b->data, n), ==, 0);
    return b;
}

static void test_files(void)
{
    static const size_t sizes[] = {0, 1, 16383, 16384, 16385, 262144, 262145, 1000000, 3 * 262144};
    Result x;
    Scene s;

    scene_open(&s);
    for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
        g_autoptr(GByteArray) data = random_bytes(sizes[i]);

        for (size_t n = 1; n <= 3; n += 2) {
            g_autoptr(GByteArray) stream = seal_fd(&s, n, data, &plain);
            g_autoptr(GByteArray) back = open_fd(&s, stream, &strict, &x);

            g_assert_cmpint(x.r, ==, 0);
            g_assert_cmpmem(back->data, back->len, data->data, data->len);
            g_assert_true(x.info.verified);
            g_assert_cmpstr(x.info.format, ==, "stream");
            g_assert_cmpuint(x.info.bytes_in, ==, stream->len);
            g_assert_cmpuint(x.info.bytes_out, ==, data->len);
            result_clear(&x);
        }
    }
    /* a package, too */
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    g_autoptr(GByteArray) back = open_fd(&s, p, &strict, &x);
    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpmem(back->data, back->len, TEXT, strlen(TEXT));
    g_assert_cmpstr(x.info.format, ==, "hmsg");
    result_clear(&x);
    scene_close(&s);
}

/* What comes out of a changed or cut stream is the beginning of what went in, and an error. */
static void test_bad_streams(void)
{
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) data = random_bytes(40000);
    g_autoptr(GByteArray) stream = seal_fd(&s, 2, data, &plain);
    for (guint i = 0; i < stream->len; i += i < 300 || i > stream->len - 1200 ? 13 : 997) {
        stream->data[i] ^= 0x10;
        g_autoptr(GByteArray) back = open_fd(&s, stream, &strict, &x);
        stream->data[i] ^= 0x10;
        g_assert_cmpint(x.r, !=, 0);
        g_assert_cmpuint(back->len, <=, data->len);
        g_assert_cmpmem(back->data, back->len, data->data, back->len);
        result_clear(&x);
    }
    for (guint n = 0; n < stream->len; n += 991) {
        g_autoptr(GByteArray) cut = g_byte_array_new();
        g_byte_array_append(cut, stream->data, n);
        g_autoptr(GByteArray) back = open_fd(&s, cut, &strict, &x);
        g_assert_true(x.r == HMSG_ERROR_AUTHENTICATION_FAILED || x.r == HMSG_ERROR_BAD_PACKAGE);
        g_assert_cmpmem(back->data, back->len, data->data, back->len);
        result_clear(&x);
    }
    scene_close(&s);
}

/* Without its signature a stream for several is of nobody that we know. */
static void test_no_trailer(void)
{
    const SealOptions anonymous = {.anonymous = true};
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) data = random_bytes(100);
    g_autoptr(GByteArray) nobody = seal_fd(&s, 2, data, &anonymous);
    g_autoptr(GByteArray) out = open_fd(&s, nobody, &strict, &x);
    g_assert_cmpint(x.r, ==, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpuint(out->len, ==, 0);
    result_clear(&x);
    g_autoptr(GByteArray) allowed = open_fd(&s, nobody, &unknown, &x);
    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpmem(allowed->data, allowed->len, data->data, data->len);
    g_assert_false(x.info.verified);
    result_clear(&x);

    g_autoptr(GByteArray) stream = seal_fd(&s, 2, data, &plain);
    memset(stream->data + 12, 0, 4); /* says that there is none */
    g_autoptr(GByteArray) refused = open_fd(&s, stream, &strict, &x);
    g_assert_cmpint(x.r, ==, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpuint(refused->len, ==, 0);
    result_clear(&x);
    scene_close(&s);
}

/* Both ends pipes or sockets that nobody serves: cancelling must not wait for them. */
static void test_stuck(void)
{
    static char much[1024 * 1024];
    int in[2], out[2];
    Result x = {0}, y = {0};
    Scene s;

    scene_open(&s);
    for (unsigned round = 0; round < 2; round++) {
        if (round == 0)
            g_assert_true(pipe(in) == 0 && pipe(out) == 0);
        else
            g_assert_true(socketpair(AF_UNIX, SOCK_STREAM, 0, in) == 0 &&
                          socketpair(AF_UNIX, SOCK_STREAM, 0, out) == 0);
        int file = temporary(much, sizeof(much));
        g_assert_cmpint(
            cipher_seal_fd(s.m->cipher, &s.us, 1, in[0], out[1], &plain, 0, on_progress, on_fd, &x, &x.job),
            ==, 0);
        g_assert_cmpint(
            cipher_seal_fd(s.m->cipher, &s.us, 1, file, out[1], &plain, 0, NULL, on_fd, &y, &y.job), ==, 0);
        for (unsigned i = 0; i < 20; i++) {
            double_turn(s.d);
            g_usleep(1000);
        }
        g_assert_true(!x.done && !y.done);
        result_clear(&x);
        result_clear(&y);
        for (unsigned i = 0; i < 2; i++) {
            close(in[i]);
            close(out[i]);
        }
        close(file);
    }
    scene_close(&s); /* waits for the threads */
}

static void test_fd_errors(void)
{
    int in = temporary("abc", 3), out[2];
    Result x = {0};
    Scene s;

    scene_open(&s);
    /* nobody reads: an error, and no signal */
    g_assert_cmpint(pipe(out), ==, 0);
    close(out[0]);
    g_assert_cmpint(cipher_seal_fd(s.m->cipher, &s.us, 1, in, out[1], &plain, 0, NULL, on_fd, &x, &x.job), ==,
                    0);
    double_run(s.d, &x.done);
    g_assert_cmpint(x.r, ==, -EPIPE);
    result_clear(&x);
    int folder = open("/", O_RDONLY | O_DIRECTORY);
    g_assert_cmpint(cipher_seal_fd(s.m->cipher, &s.us, 1, folder, out[1], &plain, 0, NULL, on_fd, &x, &x.job),
                    ==, -EINVAL);
    g_assert_cmpint(cipher_open_fd(s.m->cipher, -1, out[1], &strict, 0, NULL, on_fd, &x, &x.job), ==, -EBADF);
    close(folder);
    close(out[1]);
    close(in);
    /* locked in the middle: nothing more comes out */
    int source[2], sink[2];
    g_assert_true(pipe(source) == 0 && pipe(sink) == 0);
    g_assert_cmpint(cipher_open_fd(s.m->cipher, source[0], sink[1], &strict, 0, NULL, on_fd, &x, &x.job), ==,
                    0);
    double_lock(s.d);
    g_assert_true(x.done);
    g_assert_cmpint(x.r, ==, HMSG_ERROR_LOCKED);
    result_clear(&x);
    for (unsigned i = 0; i < 2; i++) {
        close(source[i]);
        close(sink[i]);
    }
    scene_close(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cipher/round-trip", test_round_trip);
    g_test_add_func("/cipher/several", test_several);
    g_test_add_func("/cipher/seal-now", test_seal_now);
    g_test_add_func("/cipher/senders", test_senders);
    g_test_add_func("/cipher/failed-keys", test_failed_keys);
    g_test_add_func("/cipher/mutations", test_mutations);
    g_test_add_func("/cipher/seed", test_seed);
    g_test_add_func("/cipher/lock", test_lock);
    g_test_add_func("/cipher/cancel", test_cancel);
    g_test_add_func("/cipher/files", test_files);
    g_test_add_func("/cipher/bad-streams", test_bad_streams);
    g_test_add_func("/cipher/no-trailer", test_no_trailer);
    g_test_add_func("/cipher/stuck", test_stuck);
    g_test_add_func("/cipher/fd-errors", test_fd_errors);
    return g_test_run();
}
