/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/cipher-fd.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

typedef struct SealFdJob {
    FdJob fd;
    SealSessions *sessions;
    uint64_t expires_in;
    JwsDraft draft;
    IdentityWork *work;
} SealFdJob;

static void seal_fd_succeed(CipherJob *j)
{
    OpenInfo info = {.sender = "", .sender_kid = "", .format = "stream"};

    fd_job_answer((FdJob *)j, &info);
}

static void seal_fd_free(CipherJob *j)
{
    SealFdJob *s = (SealFdJob *)j;

    seal_sessions_free(s->sessions);
    identity_work_free(s->work);
    jws_draft_done(&s->draft);
    fd_job_done(&s->fd);
    free(s);
}

static const CipherJobType seal_fd_type = {
    .fail = fd_job_fail, .succeed = seal_fd_succeed, .free = seal_fd_free};

static int after_all(FdJob *f)
{
    cipher_job_succeed(&f->job);
    return 0;
}

static int write_trailer(SealFdJob *s, const char *jws)
{
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    const char *dot = strrchr(jws, '.');
    int r;

    r = dot ? base64url_decode(dot + 1, strlen(dot + 1), &signature) : -EBADMSG;
    if (r == 0)
        r = stream_writer_finish(s->fd.pump->writer, &s->draft, signature.data, signature.size,
                                 &s->fd.pump->head);
    return r == 0 ? fd_job_run(&s->fd, &fd_task_write_head, after_all) : r;
}

static void on_signed(int r, const char *detail, const char *jws, void *userdata)
{
    SealFdJob *s = userdata;
    _cleanup_(identity_work_freep) IdentityWork *work = TAKE_PTR(s->work);

    if (r == 0 && !cipher_job_is_current(&s->fd.job))
        r = HMSG_ERROR_LOCKED;
    if (r == 0) {
        r = write_trailer(s, jws);
        detail = NULL;
    }
    if (r != 0)
        cipher_job_fail(&s->fd.job, r, detail);
}

/* Content is written; of several recipients each could have made it, so we sign. */
static int after_content(FdJob *f)
{
    SealFdJob *s = (SealFdJob *)f;
    StreamWriter *w = f->pump->writer;
    int r;

    if (!stream_writer_needs_trailer(w))
        return after_all(f);
    r = stream_writer_prepare(w, &s->draft);
    if (r == 0)
        r = identity_sign_jws(f->job.cipher->m->identity, buf_text(&s->draft.input), on_signed, s, &s->work);
    return r;
}

static int begin_content(SealFdJob *s)
{
    size_t n = 0;
    const StreamRecipient *to = seal_sessions_recipients(s->sessions, &n);
    int64_t ts = clock_realtime();
    int64_t exp = s->expires_in > 0 ? ts + (int64_t)s->expires_in : 0;
    int r;

    r = stream_writer_new(to, n, ts, exp, &s->fd.pump->writer, &s->fd.pump->head);
    s->sessions = seal_sessions_free(s->sessions);
    return r == 0 ? fd_job_run(&s->fd, &fd_task_seal, after_content) : r;
}

static void on_sessions(int r, const char *detail, void *userdata)
{
    SealFdJob *s = userdata;

    if (r == 0 && !cipher_job_is_current(&s->fd.job))
        r = HMSG_ERROR_LOCKED;
    if (r == 0)
        r = begin_content(s);
    if (r != 0)
        cipher_job_fail(&s->fd.job, r, detail);
}

int cipher_seal_fd(Cipher *c, const SealKey *keys, size_t n, int source, int destination,
                   const SealOptions *options, uint64_t expected_size, cipher_progress_t progress,
                   cipher_fd_t done, void *userdata, CipherJob **ret)
{
    SealFdJob *s;
    int r;

    if (options->seed || options->expires_in > PACKAGE_EXPIRY_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->expires_in = options->expires_in;
    r = fd_job_init(&s->fd, &seal_fd_type, c, source, destination, expected_size, progress, done, userdata);
    if (r == 0)
        r = seal_sessions_new(c, keys, n, options, FILE_KEY_SIZE, on_sessions, s, &s->sessions);
    if (r == 0)
        r = seal_sessions_start(s->sessions);
    if (r == 0)
        r = begin_content(s);
    if (r != 0 && r != -EAGAIN) {
        seal_fd_free(&s->fd.job);
        return r;
    }
    *ret = &s->fd.job;
    return 0;
}
