/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/cipher-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/jwe.h"

typedef struct SealJob {
    CipherJob job;
    cipher_sealed_t done;
    SealOptions options;
    SealSessions *sessions;
    Buf plaintext;
    Buf *packages;
    size_t n;
} SealJob;

static void seal_fail(CipherJob *j, int r, const char *detail)
{
    SealJob *s = (SealJob *)j;

    s->done(r, detail, NULL, 0, j->userdata);
}

static void seal_succeed(CipherJob *j)
{
    SealJob *s = (SealJob *)j;

    s->done(0, "", s->packages, s->n, j->userdata);
}

static void seal_free(CipherJob *j)
{
    SealJob *s = (SealJob *)j;

    seal_sessions_free(s->sessions);
    buf_done(&s->plaintext);
    for (size_t i = 0; i < s->n; i++)
        buf_done(&s->packages[i]);
    free(s->packages);
    cipher_job_done(j);
    free(s);
}

static const CipherJobType seal_type = {.fail = seal_fail, .succeed = seal_succeed, .free = seal_free};

static int exp_of(const SealOptions *options, int64_t ts, int64_t *ret)
{
    if (options->expires_in > PACKAGE_EXPIRY_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    *ret = options->expires_in > 0 ? ts + (int64_t)options->expires_in : 0;
    return 0;
}

typedef struct Content {
    const void *data;
    size_t size;
    int64_t ts, exp;
    bool jwe;
} Content;

static int content_init(Content *c, const void *data, size_t size, const SealOptions *options)
{
    *c = (Content){.data = data, .size = size, .ts = clock_realtime(), .jwe = options->jwe};
    return exp_of(options, c->ts, &c->exp);
}

/* In the form that was asked for. */
static int build_package(const WireSession *s, uint64_t seq, const Content *c, Buf *ret)
{
    _cleanup_(buf_done) Buf package = BUF_MAX(PACKAGE_SIZE_MAX);
    int r;

    if (!c->jwe)
        return package_build(s, seq, c->ts, c->exp, c->data, c->size, ret);
    r = package_build(s, seq, c->ts, c->exp, c->data, c->size, &package);
    return r == 0 ? jwe_from_package(buf_text(&package), package.size, ret) : r;
}

/* All sessions are there. */
static int build_packages(SealJob *s)
{
    size_t n = 0;
    const StreamRecipient *to = seal_sessions_recipients(s->sessions, &n);
    Content content;
    int r;

    r = content_init(&content, s->plaintext.data, s->plaintext.size, &s->options);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = build_package(to[i].session, to[i].seq, &content, &s->packages[i]);
    return r;
}

/* The seed's form knows no sessions; the sender's key in it says nothing. */
static int build_seeds(SealJob *s, const SealKey *keys)
{
    const IdentityPublic *own = identity_public(s->job.cipher->m->identity);
    int r = 0;

    if (!own)
        return HMSG_ERROR_NO_IDENTITY;
    for (size_t i = 0; r == 0 && i < s->n; i++) {
        _cleanup_(rsa_key_freep) RsaKey *recipient = NULL;

        r = rsa_key_from_spki(keys[i].spki, keys[i].spki_size, &recipient);
        if (r == 0)
            r = seed_build(recipient, own->sign, s->plaintext.data, s->plaintext.size, &s->packages[i]);
    }
    return r;
}

static void on_sessions(int r, const char *detail, void *userdata)
{
    SealJob *s = userdata;

    if (r == 0)
        r = build_packages(s);
    if (r == 0)
        cipher_job_succeed(&s->job);
    else
        cipher_job_fail(&s->job, r, detail);
}

static int seal_start(SealJob *s, const SealKey *keys, size_t n)
{
    int r;

    s->packages = calloc(n > 0 ? n : 1, sizeof(*s->packages));
    if (!s->packages)
        return -ENOMEM;
    s->n = n;
    for (size_t i = 0; i < n; i++)
        s->packages[i] = BUF_MAX(PACKAGE_SIZE_MAX);
    if (s->options.seed)
        return n == 0 ? HMSG_ERROR_INVALID_ARGS : build_seeds(s, keys);
    r = seal_sessions_new(s->job.cipher, keys, n, &s->options, s->plaintext.size, on_sessions, s,
                          &s->sessions);
    if (r == 0)
        r = seal_sessions_start(s->sessions);
    return r == 0 ? build_packages(s) : r;
}

/* For one recipient a JWE is a package. */
static bool is_jwe_of_its_own(const SealOptions *options, size_t n)
{
    return options->compact || (options->jwe && n > 1);
}

int cipher_seal(Cipher *c, const SealKey *keys, size_t n, const void *plaintext, size_t size,
                const SealOptions *options, cipher_sealed_t done, void *userdata, CipherJob **ret)
{
    SealJob *s;
    int r;

    if (size > PLAINTEXT_SIZE_MAX || n > RECIPIENTS_MAX)
        return HMSG_ERROR_TOO_LARGE;
    if (is_jwe_of_its_own(options, n))
        return cipher_seal_jwe(c, keys, n, plaintext, size, options, done, userdata, ret);
    if (options->cms)
        return cipher_seal_cms(c, keys, n, plaintext, size, options, done, userdata, ret);
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    cipher_job_init(&s->job, &seal_type, c, userdata);
    s->done = done;
    s->options = *options;
    s->plaintext = BUF_MAX(PLAINTEXT_SIZE_MAX);
    r = buf_append(&s->plaintext, plaintext, size);
    if (r == 0)
        r = seal_start(s, keys, n);
    return cipher_job_begun(&s->job, r, NULL, ret);
}

/* One package for each key, or nothing. */
static int build_now(Cipher *c, const SealKey *keys, size_t n, const void *plaintext, size_t size,
                     const SealOptions *options, Buf *packages)
{
    Content content;
    int r;

    r = content_init(&content, plaintext, size, options);
    for (size_t i = 0; r == 0 && i < n; i++) {
        _cleanup_(out_session_unrefp) OutSession *o = NULL;
        const OutKey key = {.kid = keys[i].kid,
                            .spki = keys[i].spki,
                            .spki_size = keys[i].spki_size,
                            .anonymous = options->anonymous};
        uint64_t seq = 0;

        r = session_out_now(c->m->session_out, &key, &o);
        if (r == 0)
            r = out_session_use(o, size, &seq);
        if (r == 0)
            r = build_package(out_session_wire(o), seq, &content, &packages[i]);
    }
    return r;
}

int cipher_seal_now(Cipher *c, const SealKey *keys, size_t n, const void *plaintext, size_t size,
                    const SealOptions *options, Buf *ret)
{
    int r;

    if (size > PLAINTEXT_SIZE_MAX || n > RECIPIENTS_MAX)
        return HMSG_ERROR_TOO_LARGE;
    if (options->seed || options->cms || options->fresh || n == 0 || is_jwe_of_its_own(options, n))
        return -EAGAIN;
    r = build_now(c, keys, n, plaintext, size, options, ret);
    if (r != 0)
        for (size_t i = 0; i < n; i++)
            buf_clear(&ret[i]);
    return r;
}
