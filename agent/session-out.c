/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "agent/identity.h"
#include "agent/session-in.h"
#include "agent/session-out.h"
#include "agent/sweep.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

#define USEC_PER_SEC UINT64_C(1000000)

/* What a session is found by; compared as bytes, so without padding. */
typedef struct OutIndex {
    char kid[HASH_TEXT_SIZE];
    char anonymous;
} OutIndex;

struct OutSession {
    UT_hash_handle hh;
    OutSession *prev, *next; /* the least recently used first */
    SessionOut *owner;       /* NULL: dropped, or fresh */
    unsigned references;
    OutIndex index;
    char name[SESSION_NAME_SIZE];
    WireSession *wire;
    uint64_t created, last_used; /* CLOCK_BOOTTIME */
    int64_t created_at;
    uint64_t messages, bytes;
    /* while it is not signed */
    SessionOutRequest *waiting;
    IdentityWork *work;
    JwsDraft draft;
    uint64_t epoch;
    Identity *identity;
};

struct SessionOutRequest {
    SessionOutRequest *prev, *next;
    OutSession *session; /* NULL: answered */
    session_out_done_t done;
    void *userdata;
};

struct SessionOut {
    Manager *m;
    OutSession *sessions;
    OutSession *by_use;
    sd_event_source *sweep;
};

int session_out_new(Manager *m, SessionOut **ret)
{
    SessionOut *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->m = m;
    *ret = s;
    return 0;
}

OutSession *out_session_ref(OutSession *o)
{
    o->references++;
    return o;
}

OutSession *out_session_unref(OutSession *o)
{
    if (!o || --o->references > 0)
        return NULL;
    identity_work_free(o->work);
    jws_draft_done(&o->draft);
    wire_session_free(o->wire);
    free(o);
    return NULL;
}

/* No new caller gets it; who has a reference keeps it. */
static void session_drop(OutSession *o)
{
    SessionOut *s = o->owner;

    if (!s)
        return;
    HASH_DEL(s->sessions, o);
    DL_DELETE(s->by_use, o);
    o->owner = NULL;
    out_session_unref(o);
}

/* Tells everybody who waits, once; they may free their requests and ask for others. */
static void session_answer(OutSession *o, int r, const char *detail)
{
    SessionOutRequest *q;

    out_session_ref(o);
    while (o->waiting) {
        q = o->waiting;
        DL_DELETE(o->waiting, q);
        q->session = NULL;
        q->done(r, detail && *detail ? detail : error_message(r), r == 0 ? o : NULL, q->userdata);
        out_session_unref(o); /* that of the request */
    }
    out_session_unref(o);
}

void session_out_lock(SessionOut *s)
{
    while (s->sessions) {
        OutSession *o = out_session_ref(s->sessions);

        session_drop(o);
        o->work = identity_work_free(o->work);
        session_answer(o, HMSG_ERROR_LOCKED, NULL);
        out_session_unref(o);
    }
}

unsigned session_out_flush(SessionOut *s, const char *name)
{
    OutSession *o, *next;
    unsigned n = 0;

    HASH_ITER (hh, s->sessions, o, next) {
        if (o->work || (name && strcmp(o->name, name) != 0))
            continue;
        session_drop(o);
        n++;
    }
    return n;
}

void session_out_drop(SessionOut *s, const char *kid)
{
    OutSession *o, *next;

    HASH_ITER (hh, s->sessions, o, next)
        if (!o->work && strcmp(o->index.kid, kid) == 0)
            session_drop(o);
}

SessionOut *session_out_free(SessionOut *s)
{
    if (!s)
        return NULL;
    session_out_lock(s);
    sd_event_source_disable_unref(s->sweep);
    free(s);
    return NULL;
}

/* The statement bounds it in calendar time, which may be set; the rest is counted in time that passes. */
static bool has_ended(const OutSession *o, uint64_t now, int64_t now_at)
{
    const SessionStatement *t = &o->wire->statement;

    return now - o->created >= SESSION_LIFETIME_MAX * USEC_PER_SEC ||
           now - o->last_used >= SESSION_IDLE_MAX * USEC_PER_SEC || now_at < t->created ||
           now_at >= t->expires || o->messages >= SESSION_MESSAGES_MAX || o->bytes >= SESSION_BYTES_MAX;
}

int out_session_use(OutSession *o, uint64_t bytes, uint64_t *ret_seq)
{
    uint64_t now = clock_boottime();

    if (has_ended(o, now, clock_realtime())) {
        session_drop(o);
        return -EAGAIN;
    }
    o->last_used = now;
    *ret_seq = o->messages++;
    o->bytes = bytes > SESSION_BYTES_MAX - o->bytes ? SESSION_BYTES_MAX : o->bytes + bytes;
    if (o->owner && o->next) {
        DL_DELETE(o->owner->by_use, o);
        DL_APPEND(o->owner->by_use, o);
    }
    return 0;
}

const WireSession *out_session_wire(const OutSession *o)
{
    return o->wire;
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *userdata)
{
    SessionOut *s = userdata;
    uint64_t now = clock_boottime();
    int64_t now_at = clock_realtime();
    OutSession *o, *next;

    HASH_ITER (hh, s->sessions, o, next)
        if (!o->work && has_ended(o, now, now_at))
            session_drop(o);
    return s->sessions ? sweep_arm(s->m->event, &s->sweep, on_sweep, s) : 0;
}

static int index_set(OutIndex *x, const OutKey *key)
{
    if (strlen(key->kid) != HASH_TEXT_SIZE - 1)
        return -EINVAL;
    *x = (OutIndex){.anonymous = key->anonymous ? 1 : 0};
    memcpy(x->kid, key->kid, HASH_TEXT_SIZE);
    return 0;
}

/* Random keys, encrypted to the recipient; still to be signed unless anonymous. */
static int session_new(SessionOut *s, const OutKey *key, RsaKey *sender, OutSession **ret)
{
    _cleanup_(out_session_unrefp) OutSession *o = calloc(1, sizeof(*o));
    _cleanup_(rsa_key_freep) RsaKey *recipient = NULL;
    char kid[HASH_TEXT_SIZE];
    uint8_t random[(SESSION_NAME_SIZE - 1) / 2];
    int r;

    if (!o)
        return -ENOMEM;
    o->references = 1;
    r = index_set(&o->index, key);
    if (r == 0)
        r = rsa_key_from_spki(key->spki, key->spki_size, &recipient);
    if (r != 0)
        return r;
    base64url_encode(rsa_key_thumbprint(recipient), KID_SIZE, kid);
    if (strcmp(kid, key->kid) != 0)
        return -EINVAL;
    r = wire_session_new(recipient, sender, clock_realtime(), SESSION_LIFETIME_MAX, &o->wire);
    if (r == 0)
        r = crypto_random(random, sizeof(random));
    if (r != 0)
        return r;
    hex_encode(random, sizeof(random), o->name);
    o->created = o->last_used = clock_boottime();
    o->created_at = clock_realtime();
    *ret = TAKE_PTR(o);
    return 0;
}

/* From now on others find it; the list holds a reference. */
static int session_keep(SessionOut *s, OutSession *o)
{
    if (HASH_COUNT(s->sessions) >= SESSION_OUT_MAX) {
        OutSession *old = s->by_use;

        while (old && old->work)
            old = old->next;
        if (!old)
            return HMSG_ERROR_QUOTA_EXCEEDED;
        session_drop(old);
    }
    o->owner = s;
    out_session_ref(o);
    HASH_ADD(hh, s->sessions, index, sizeof(o->index), o);
    DL_APPEND(s->by_use, o);
    return sweep_arm(s->m->event, &s->sweep, on_sweep, s);
}

/* One that has not ended; it may still wait for its signature. */
static int session_find(SessionOut *s, const OutKey *key, OutSession **ret)
{
    OutSession *o = NULL;
    OutIndex x;
    int r;

    r = index_set(&x, key);
    if (r < 0)
        return r;
    HASH_FIND(hh, s->sessions, &x, sizeof(x), o);
    if (o && !o->work && has_ended(o, clock_boottime(), clock_realtime())) {
        session_drop(o);
        o = NULL;
    }
    *ret = o;
    return 0;
}

int session_out_now(SessionOut *s, const OutKey *key, OutSession **ret)
{
    _cleanup_(out_session_unrefp) OutSession *made = NULL;
    OutSession *o = NULL;
    int r;

    if (!key->fresh) {
        r = session_find(s, key, &o);
        if (r < 0)
            return r;
        if (o && o->work)
            return -EAGAIN;
        if (o) {
            *ret = out_session_ref(o);
            return 0;
        }
    }
    if (!key->anonymous)
        return -EAGAIN;
    r = session_new(s, key, NULL, &made);
    if (r == 0 && !key->fresh)
        r = session_keep(s, made);
    if (r != 0)
        return r;
    *ret = TAKE_PTR(made);
    return 0;
}

/* The signature out of the JWS that the identity made of our draft. */
static int session_finish(OutSession *o, const char *jws)
{
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    const char *dot = strrchr(jws, '.');
    int r;

    if (!dot)
        return -EBADMSG;
    r = base64url_decode(dot + 1, strlen(dot + 1), &signature);
    if (r == 0)
        r = wire_session_finish(o->wire, &o->draft, signature.data, signature.size);
    return r;
}

static void on_signed(int r, const char *detail, const char *jws, void *userdata)
{
    OutSession *o = out_session_ref(userdata);
    _cleanup_(identity_work_freep) IdentityWork *work = TAKE_PTR(o->work); /* owns the arguments */

    if (r == 0 && identity_epoch(o->identity) != o->epoch)
        r = HMSG_ERROR_LOCKED;
    if (r == 0)
        r = session_finish(o, jws);
    if (r == HMSG_ERROR_AUTHENTICATION_FAILED) {
        r = HMSG_ERROR_TPM_UNAVAILABLE;
        detail = "The TPM's signature is wrong";
    }
    o->created = o->last_used = clock_boottime();
    jws_draft_done(&o->draft);
    if (r != 0)
        session_drop(o);
    session_answer(o, r, r != 0 ? detail : NULL);
    out_session_unref(o);
}

/* Signs; the session is found by others from now on unless fresh. */
static int session_begin(SessionOut *s, const OutKey *key, OutSession **ret)
{
    _cleanup_(out_session_unrefp) OutSession *o = NULL;
    const IdentityPublic *own;
    int r;

    r = identity_check(s->m->identity);
    if (r != 0)
        return r;
    own = identity_public(s->m->identity);
    r = session_new(s, key, own->sign, &o);
    if (r == 0)
        r = wire_session_prepare(o->wire, &o->draft);
    if (r != 0)
        return r;
    o->identity = s->m->identity;
    o->epoch = identity_epoch(s->m->identity);
    r = identity_sign_jws(s->m->identity, buf_text(&o->draft.input), on_signed, o, &o->work);
    if (r == 0 && !key->fresh)
        r = session_keep(s, o);
    if (r != 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

int session_out_get(SessionOut *s, const OutKey *key, session_out_done_t done, void *userdata,
                    SessionOutRequest **ret)
{
    _cleanup_(out_session_unrefp) OutSession *o = NULL;
    OutSession *there = NULL;
    SessionOutRequest *q;
    int r;

    if (!key->fresh) {
        r = session_find(s, key, &there);
        if (r < 0)
            return r;
    }
    q = calloc(1, sizeof(*q));
    if (!q)
        return -ENOMEM;
    if (there && there->work) {
        o = out_session_ref(there);
    } else {
        if (there)
            session_drop(there);
        r = session_begin(s, key, &o);
        if (r != 0) {
            free(q);
            return r;
        }
    }
    q->done = done;
    q->userdata = userdata;
    q->session = TAKE_PTR(o); /* held by the request until it is answered */
    DL_APPEND(q->session->waiting, q);
    *ret = q;
    return 0;
}

SessionOutRequest *session_out_request_free(SessionOutRequest *q)
{
    OutSession *o;

    if (!q)
        return NULL;
    o = q->session;
    if (o) {
        DL_DELETE(o->waiting, q);
        /* nobody wants it any more: the TPM has better things to do */
        if (!o->waiting && o->work) {
            o->work = identity_work_free(o->work);
            session_drop(o);
        }
        out_session_unref(o);
    }
    free(q);
    return NULL;
}

int session_out_each(SessionOut *s, int (*f)(const SessionOutFacts *facts, void *userdata), void *userdata)
{
    OutSession *o, *next;
    uint64_t now = clock_boottime();
    int64_t now_at = clock_realtime();
    int r;

    HASH_ITER (hh, s->sessions, o, next) {
        SessionOutFacts facts = {
            .name = o->name,
            .kid = o->index.kid,
            .created = o->created_at,
            .last_used = now_at - (int64_t)((now - o->last_used) / USEC_PER_SEC),
            .uses = o->messages,
        };

        if (o->work)
            continue;
        r = f(&facts, userdata);
        if (r != 0)
            return r;
    }
    return 0;
}

unsigned session_out_count(const SessionOut *s)
{
    return HASH_COUNT(s->sessions);
}
