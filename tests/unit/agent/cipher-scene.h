/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the tests of cipher share: one over doubles, and jobs that are waited for. */

#include <string.h>

#include "agent/cipher.h"
#include "agent/session-in.h"
#include "agent/session-out.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/double.h"

#define TEXT "What Alice wrote"

typedef struct Scene {
    Double *d;
    Manager *m;
    SealKey us;
} Scene;

static inline void scene_open(Scene *s)
{
    const IdentityPublic *own;
    size_t n = 0;

    *s = (Scene){0};
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

static inline void scene_close(Scene *s)
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

static inline void result_clear(Result *x)
{
    cipher_job_free(x->job);
    g_free(x->detail);
    g_free(x->sender);
    if (x->bytes)
        g_byte_array_unref(x->bytes);
    *x = (Result){0};
}

static inline void take(Result *x, int r, const char *detail, const Buf *b)
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

static inline void on_sealed(int r, const char *detail, const Buf *packages, size_t n, void *userdata)
{
    Result *x = userdata;

    g_assert_true((r == 0) == (packages != NULL));
    take(x, r, detail, packages);
    x->n = n;
}

static inline void on_opened(int r, const char *detail, const Buf *plaintext, const OpenInfo *info,
                             void *userdata)
{
    Result *x = userdata;

    g_assert_true((r == 0) == (plaintext != NULL));
    take(x, r, detail, plaintext);
    if (info) {
        x->info = *info;
        x->sender = g_strdup(info->sender);
    }
}

static inline void seal(Scene *s, const SealOptions *o, Result *x)
{
    *x = (Result){0};
    g_assert_cmpint(cipher_seal(s->m->cipher, &s->us, 1, TEXT, strlen(TEXT), o, on_sealed, x, &x->job), ==,
                    0);
    g_assert_false(x->done);
    double_run(s->d, &x->done);
}

static inline GByteArray *sealed(Scene *s, const SealOptions *o)
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

static inline void open_begin(Scene *s, const void *data, size_t n, const OpenOptions *o, Result *x)
{
    *x = (Result){0};
    g_assert_cmpint(cipher_open(s->m->cipher, data, n, o, on_opened, x, &x->job), ==, 0);
    g_assert_false(x->done);
}

static inline void open_it(Scene *s, const GByteArray *p, const OpenOptions *o, Result *x)
{
    open_begin(s, p->data, p->len, o, x);
    double_run(s->d, &x->done);
}

static inline void expect_text(const Result *x)
{
    g_assert_cmpint(x->r, ==, 0);
    g_assert_cmpmem(x->bytes->data, x->bytes->len, TEXT, strlen(TEXT));
}

static inline void expect_error(Scene *s, const GByteArray *p, const OpenOptions *o, int error)
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
