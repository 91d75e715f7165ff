/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/cipher-internal.h"
#include "libhmsg/base/error.h"

typedef struct SealTarget {
    char kid[HASH_TEXT_SIZE];
    Buf spki;
    OutSession *session;
} SealTarget;

struct SealSessions {
    Cipher *c;
    SealOptions options;
    uint64_t bytes;
    seal_sessions_t done;
    void *userdata;
    SessionOutRequest *request;
    sd_event_source *again;
    uint64_t epoch;            /* of the identity when it began */
    char skid[HASH_TEXT_SIZE]; /* whose the sessions are */
    size_t n, at;
    SealTarget *targets;
    StreamRecipient *recipients;
};

static void note_sender(SealSessions *s)
{
    const IdentityPublic *own = identity_public(s->c->m->identity);

    memcpy(s->skid, own ? own->skid : "", own ? sizeof(s->skid) : 1);
}

/* Not locked, but our keys are others now. */
static bool has_rotated(const SealSessions *s)
{
    const Identity *i = s->c->m->identity;
    const IdentityPublic *own = identity_public(i);

    return own && identity_check(i) == 0 && identity_epoch(i) == s->epoch && strcmp(own->skid, s->skid) != 0;
}

int seal_sessions_new(Cipher *c, const SealKey *keys, size_t n, const SealOptions *options, uint64_t bytes,
                      seal_sessions_t done, void *userdata, SealSessions **ret)
{
    _cleanup_(seal_sessions_freep) SealSessions *s = calloc(1, sizeof(*s));
    int r;

    if (n == 0)
        return HMSG_ERROR_INVALID_ARGS;
    if (n > RECIPIENTS_MAX)
        return HMSG_ERROR_TOO_LARGE;
    if (!s)
        return -ENOMEM;
    s->c = c;
    s->epoch = identity_epoch(c->m->identity);
    note_sender(s);
    s->options = *options;
    s->bytes = bytes;
    s->done = done;
    s->userdata = userdata;
    s->targets = calloc(n, sizeof(*s->targets));
    s->recipients = calloc(n, sizeof(*s->recipients));
    if (!s->targets || !s->recipients)
        return -ENOMEM;
    s->n = n;
    for (size_t i = 0; i < n; i++) {
        SealTarget *t = &s->targets[i];

        if (strlen(keys[i].kid) != sizeof(t->kid) - 1)
            return -EINVAL;
        memcpy(t->kid, keys[i].kid, sizeof(t->kid));
        t->spki = BUF_MAX(SPKI_SIZE_MAX);
        r = buf_append(&t->spki, keys[i].spki, keys[i].spki_size);
        if (r < 0)
            return r == -EMSGSIZE ? HMSG_ERROR_BAD_PACKAGE : r;
    }
    *ret = TAKE_PTR(s);
    return 0;
}

SealSessions *seal_sessions_free(SealSessions *s)
{
    if (!s)
        return NULL;
    session_out_request_free(s->request);
    sd_event_source_disable_unref(s->again);
    for (size_t i = 0; i < s->n; i++) {
        out_session_unref(s->targets[i].session);
        buf_done(&s->targets[i].spki);
    }
    free(s->targets);
    free(s->recipients);
    free(s);
    return NULL;
}

const StreamRecipient *seal_sessions_recipients(const SealSessions *s, size_t *ret_n)
{
    *ret_n = s->n;
    return s->recipients;
}

/* Takes over the reference. -EAGAIN: it is used up. */
static int take_session(SealSessions *s, OutSession *session)
{
    _cleanup_(out_session_unrefp) OutSession *o = session;
    StreamRecipient *recipient = &s->recipients[s->at];
    int r;

    r = out_session_use(o, s->bytes, &recipient->seq);
    if (r < 0)
        return r;
    recipient->session = out_session_wire(o);
    s->targets[s->at++].session = TAKE_PTR(o);
    return 0;
}

static int on_again(sd_event_source *source, void *userdata)
{
    SealSessions *s = userdata;
    int r;

    s->again = sd_event_source_disable_unref(s->again);
    r = seal_sessions_start(s);
    if (r != -EAGAIN)
        s->done(r, NULL, s->userdata);
    return 0;
}

/* With the new keys, all of them: a message has one sender. From the loop, for the old sessions are just
 * being dropped. */
static int start_again(SealSessions *s)
{
    int r;

    while (s->at > 0) {
        SealTarget *t = &s->targets[--s->at];

        t->session = out_session_unref(t->session);
    }
    note_sender(s);
    r = sd_event_add_defer(s->c->m->event, &s->again, on_again, s);
    return r < 0 ? r : -EAGAIN;
}

static void on_session(int r, const char *detail, OutSession *session, void *userdata)
{
    SealSessions *s = userdata;
    _cleanup_(session_out_request_freep) SessionOutRequest *request = TAKE_PTR(s->request);

    if (r == 0)
        r = take_session(s, out_session_ref(session));
    if (r == 0 || r == -EAGAIN)
        r = seal_sessions_start(s);
    else if (r == HMSG_ERROR_LOCKED && has_rotated(s))
        r = start_again(s);
    if (r != -EAGAIN)
        s->done(r, detail, s->userdata);
}

int seal_sessions_start(SealSessions *s)
{
    SessionOut *out = s->c->m->session_out;
    OutSession *o = NULL;
    int r;

    while (s->at < s->n) {
        const SealTarget *t = &s->targets[s->at];
        const OutKey key = {
            .kid = t->kid,
            .spki = t->spki.data,
            .spki_size = t->spki.size,
            .anonymous = s->options.anonymous,
            .fresh = s->options.fresh,
        };

        r = session_out_now(out, &key, &o);
        if (r == 0)
            r = take_session(s, o);
        if (r == 0)
            continue;
        if (r != -EAGAIN)
            return r;
        r = session_out_get(out, &key, on_session, s, &s->request);
        return r == 0 ? -EAGAIN : r;
    }
    return 0;
}
