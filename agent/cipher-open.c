/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/cipher-internal.h"
#include "libhmsg/base/error.h"

typedef struct OpenJob {
    CipherJob job;
    Opening opening;
    cipher_opened_t done;
    Buf plaintext;
} OpenJob;

static void open_fail(CipherJob *j, int r, const char *detail)
{
    OpenJob *o = (OpenJob *)j;

    o->done(r, detail, NULL, NULL, j->userdata);
}

static void open_succeed(CipherJob *j)
{
    OpenJob *o = (OpenJob *)j;
    OpenInfo info;

    opening_info(&o->opening, &info);
    o->done(0, "", &o->plaintext, &info, j->userdata);
}

static void open_free(CipherJob *j)
{
    OpenJob *o = (OpenJob *)j;

    opening_done(&o->opening);
    buf_done(&o->plaintext);
    cipher_job_done(j);
    free(o);
}

static const CipherJobType open_type = {.fail = open_fail, .succeed = open_succeed, .free = open_free};

static void on_ready(int r, const char *detail, void *userdata)
{
    OpenJob *o = userdata;

    if (r == 0 && !cipher_job_is_current(&o->job))
        r = HMSG_ERROR_LOCKED;
    if (r == 0) {
        r = opening_finish(&o->opening, &o->plaintext);
        detail = o->opening.detail;
    }
    if (r == 0)
        cipher_job_succeed(&o->job);
    else
        opening_fail(&o->opening, &o->job, r, detail);
}

int cipher_open(Cipher *c, const void *package, size_t size, const OpenOptions *options, cipher_opened_t done,
                void *userdata, CipherJob **ret)
{
    OpenJob *o = calloc(1, sizeof(*o));
    int r = 0;

    if (!o)
        return -ENOMEM;
    cipher_job_init(&o->job, &open_type, c, userdata);
    o->done = done;
    o->plaintext = BUF_MAX(PLAINTEXT_SIZE_MAX);
    opening_init(&o->opening, c, options);
    if (options->relay) {
        o->opening.relay = strdup(options->relay);
        if (!o->opening.relay)
            r = -ENOMEM;
    }
    if (r == 0)
        r = opening_parse(&o->opening, package, size);
    if (r == 0)
        r = opening_start(&o->opening, on_ready, o);
    if (r == 0)
        r = opening_finish(&o->opening, &o->plaintext);
    return cipher_job_begun(&o->job, r, o->opening.detail, ret);
}

/* The session of a package, for package_recall. */
typedef struct Recall {
    SessionIn *sessions;
    SessionInEntry *entry;
} Recall;

static const SessionStatement *remember(const uint8_t recall_id[static SHA256_SIZE], void *userdata)
{
    Recall *recall = userdata;

    recall->entry = session_in_recall(recall->sessions, recall_id);
    return recall->entry ? session_in_statement(recall->entry) : NULL;
}

/* -EAGAIN: it is of no session in the cache, or is not right; cipher_open says what. */
static int open_recalled(Opening *o, const void *package, size_t size, Buf *ret)
{
    Recall recall = {.sessions = o->c->m->session_in};
    int r;

    r = package_recall(package, size, remember, &recall, &o->package);
    if (r == 0)
        r = opening_check_sender(o, recall.entry);
    if (r == 0)
        r = session_in_keys(recall.sessions, recall.entry, o->keys);
    if (r == -ENOENT || r == -ENOKEY)
        return -EAGAIN;
    o->cached = o->had_keys = true;
    return r == 0 ? opening_finish_recalled(o, recall.entry, ret) : r;
}

int cipher_open_now(Cipher *c, const void *package, size_t size, const OpenOptions *options,
                    Buf *ret_plaintext, OpenInfo *ret_info)
{
    Opening *o = &c->now;
    int r;

    opening_done(o); /* of the call before, whose info is valid until now */
    opening_init(o, c, options);
    o->keys = c->keys;
    r = open_recalled(o, package, size, ret_plaintext);
    if (r == 0)
        opening_info(o, ret_info);
    bytes_wipe(secret_data(c->keys), secret_size(c->keys));
    o->keys = NULL;
    return r;
}

const char *cipher_open_now_detail(const Cipher *c)
{
    return c->now.detail;
}
