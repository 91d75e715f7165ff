/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "agent/keyring.h"
#include "agent/session-in.h"
#include "agent/sweep.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/log.h"

#define CONFIG_SECTION "sessions"
#define USEC_PER_SEC UINT64_C(1000000)

struct SessionInEntry {
    UT_hash_handle hh; /* in the order of creation */
    UT_hash_handle by_recall;
    SessionInEntry *prev, *next; /* the least recently used first */
    uint8_t id[SHA256_SIZE], recall_id[SHA256_SIZE];
    char name[SESSION_NAME_SIZE];
    char skid[HASH_TEXT_SIZE];
    bool anonymous;
    SessionStatement statement;
    SenderAnswer answer;
    KeyringEntry *key;
    uint64_t created, last_used; /* CLOCK_BOOTTIME */
    int64_t created_at;          /* in seconds since 1970 */
    uint64_t uses;
    uint64_t seq_max, seq_seen; /* seen: bit n stands for seq_max - n */
};

typedef struct Failed {
    UT_hash_handle hh; /* the oldest first */
    uint8_t id[SHA256_SIZE];
} Failed;

struct SessionIn {
    Manager *m;
    SessionInEntry *entries;
    SessionInEntry *by_recall; /* the same ones */
    SessionInEntry *by_use;
    Failed *failed;
    uint64_t idle, absolute; /* seconds */
    sd_event_source *sweep;
};

int sender_answer_set(SenderAnswer *a, uint64_t generation, ContactTrust trust, const char *address,
                      const char *protection)
{
    char *copy = NULL;

    if (address && *address) {
        copy = strdup(address);
        if (!copy)
            return -ENOMEM;
    }
    free(a->address);
    *a = (SenderAnswer){
        .there = true, .generation = generation, .trust = trust, .address = copy, .protection = protection};
    return 0;
}

void sender_answer_done(SenderAnswer *a)
{
    free(a->address);
    *a = (SenderAnswer){0};
}

static int read_config(SessionIn *s)
{
    int r;

    r = config_get_seconds(s->m->config, CONFIG_SECTION, "idle", SESSION_CACHE_IDLE, &s->idle);
    if (r >= 0)
        r = config_get_seconds(s->m->config, CONFIG_SECTION, "lifetime", SESSION_CACHE_LIFETIME,
                               &s->absolute);
    if (r < 0)
        log_error("agent.conf: [%s] idle and lifetime are durations, as 15min or 8h", CONFIG_SECTION);
    /* more than a month is a slip of the pen, and would not fit the kernel's time-outs */
    if (r >= 0 && (s->idle == 0 || s->idle > SESSION_RETENTION || s->absolute == 0 ||
                   s->absolute > SESSION_RETENTION)) {
        log_error("agent.conf: [%s] idle and lifetime are above 0 and at most 30 d", CONFIG_SECTION);
        r = -EINVAL;
    }
    return r < 0 ? r : 0;
}

int session_in_new(Manager *m, SessionIn **ret)
{
    _cleanup_(session_in_freep) SessionIn *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->m = m;
    r = read_config(s);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(s);
    return 0;
}

static void entry_drop(SessionIn *s, SessionInEntry *e)
{
    HASH_DEL(s->entries, e);
    HASH_DELETE(by_recall, s->by_recall, e);
    DL_DELETE(s->by_use, e);
    keyring_drop(s->m->keyring, e->key);
    sender_answer_done(&e->answer);
    free(e);
}

static void failed_clear(SessionIn *s)
{
    Failed *f, *next;

    HASH_ITER (hh, s->failed, f, next) {
        HASH_DEL(s->failed, f);
        free(f);
    }
}

SessionIn *session_in_free(SessionIn *s)
{
    if (!s)
        return NULL;
    (void)session_in_flush(s, NULL);
    failed_clear(s);
    sd_event_source_disable_unref(s->sweep);
    free(s);
    return NULL;
}

static bool is_over(const SessionIn *s, const SessionInEntry *e, uint64_t now)
{
    return now - e->last_used >= s->idle * USEC_PER_SEC || now - e->created >= s->absolute * USEC_PER_SEC;
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *userdata)
{
    SessionIn *s = userdata;
    uint64_t now = clock_boottime();

    while (s->by_use && is_over(s, s->by_use, now))
        entry_drop(s, s->by_use);
    while (s->entries && is_over(s, s->entries, now))
        entry_drop(s, s->entries);
    return s->entries ? sweep_arm(s->m->event, &s->sweep, on_sweep, s) : 0;
}

static SessionInEntry *still_good(SessionIn *s, SessionInEntry *e)
{
    if (e && is_over(s, e, clock_boottime())) {
        entry_drop(s, e);
        return NULL;
    }
    return e;
}

SessionInEntry *session_in_find(SessionIn *s, const uint8_t id[static SHA256_SIZE])
{
    SessionInEntry *e = NULL;

    HASH_FIND(hh, s->entries, id, SHA256_SIZE, e);
    return still_good(s, e);
}

SessionInEntry *session_in_recall(SessionIn *s, const uint8_t recall_id[static SHA256_SIZE])
{
    SessionInEntry *e = NULL;

    HASH_FIND(by_recall, s->by_recall, recall_id, SHA256_SIZE, e);
    return still_good(s, e);
}

int session_in_keys(SessionIn *s, SessionInEntry *e, Secret *ret)
{
    int r;

    r = keyring_get(s->m->keyring, e->key, ret);
    if (r == -ENOKEY)
        entry_drop(s, e);
    return r;
}

static int entry_new(const SessionInNew *new, SessionInEntry **ret)
{
    uint8_t random[(SESSION_NAME_SIZE - 1) / 2];
    SessionInEntry *e;
    int r;

    r = crypto_random(random, sizeof(random));
    if (r < 0)
        return r;
    e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    memcpy(e->id, new->id, SHA256_SIZE);
    memcpy(e->recall_id, new->recall_id, SHA256_SIZE);
    hex_encode(random, sizeof(random), e->name);
    e->anonymous = new->anonymous;
    e->statement = *new->statement;
    if (!new->anonymous)
        base64url_encode(new->statement->skid, KID_SIZE, e->skid);
    e->created = e->last_used = clock_boottime();
    e->created_at = clock_realtime();
    *ret = e;
    return 0;
}

int session_in_put(SessionIn *s, const SessionInNew *new, SessionInEntry **ret)
{
    SessionInEntry *e, *old;
    int r;

    if (secret_size(new->keys) != KEYRING_KEY_SIZE)
        return -EINVAL;
    old = session_in_find(s, new->id);
    if (old)
        entry_drop(s, old);
    old = session_in_recall(s, new->recall_id);
    if (old)
        entry_drop(s, old);
    if (HASH_COUNT(s->entries) >= SESSION_CACHE_MAX)
        entry_drop(s, s->by_use);
    r = entry_new(new, &e);
    if (r < 0)
        return r;
    r = keyring_put(s->m->keyring, secret_bytes(new->keys), s->absolute, &e->key);
    if (r < 0) {
        free(e);
        return r;
    }
    HASH_ADD(hh, s->entries, id, SHA256_SIZE, e);
    HASH_ADD(by_recall, s->by_recall, recall_id, SHA256_SIZE, e);
    DL_APPEND(s->by_use, e);
    *ret = e;
    r = sweep_arm(s->m->event, &s->sweep, on_sweep, s);
    return r < 0 ? r : 0;
}

const SessionStatement *session_in_statement(const SessionInEntry *e)
{
    return &e->statement;
}

bool session_in_is_anonymous(const SessionInEntry *e)
{
    return e->anonymous;
}

SenderAnswer *session_in_answer(SessionInEntry *e)
{
    return &e->answer;
}

/* The window of RFC 6479, in one word. */
static bool seen_before(SessionInEntry *e, uint64_t seq)
{
    uint64_t distance, bit;

    if (e->seq_seen == 0 || seq > e->seq_max) {
        distance = e->seq_seen == 0 ? REPLAY_WINDOW : seq - e->seq_max;
        e->seq_seen = distance < REPLAY_WINDOW ? e->seq_seen << distance : 0;
        e->seq_seen |= 1;
        e->seq_max = seq;
        return false;
    }
    distance = e->seq_max - seq;
    if (distance >= REPLAY_WINDOW)
        return true;
    bit = UINT64_C(1) << distance;
    if (e->seq_seen & bit)
        return true;
    e->seq_seen |= bit;
    return false;
}

bool session_in_use(SessionIn *s, SessionInEntry *e, uint64_t seq)
{
    e->last_used = clock_boottime();
    e->uses++;
    if (e->next) {
        DL_DELETE(s->by_use, e);
        DL_APPEND(s->by_use, e);
    }
    return seen_before(e, seq);
}

bool session_in_has_failed(const SessionIn *s, const uint8_t id[static SHA256_SIZE])
{
    Failed *f = NULL;

    HASH_FIND(hh, s->failed, id, SHA256_SIZE, f);
    return f != NULL;
}

int session_in_put_failed(SessionIn *s, const uint8_t id[static SHA256_SIZE])
{
    Failed *f;

    if (session_in_has_failed(s, id))
        return 0;
    if (HASH_COUNT(s->failed) >= SESSION_CACHE_FAILED_MAX) {
        f = s->failed;
        HASH_DEL(s->failed, f);
    } else {
        f = malloc(sizeof(*f));
        if (!f)
            return -ENOMEM;
    }
    memcpy(f->id, id, SHA256_SIZE);
    HASH_ADD(hh, s->failed, id, SHA256_SIZE, f);
    return 0;
}

unsigned session_in_flush(SessionIn *s, const char *name)
{
    SessionInEntry *e, *next;
    unsigned n = 0;

    HASH_ITER (hh, s->entries, e, next) {
        if (name && strcmp(e->name, name) != 0)
            continue;
        entry_drop(s, e);
        n++;
    }
    return n;
}

int session_in_lock(SessionIn *s)
{
    int r;

    r = keyring_lock(s->m->keyring); /* first the kernel: then nothing can be read, whatever follows */
    (void)session_in_flush(s, NULL);
    return r; /* what failed stays: it is no secret, and would cost the TPM once more after each lock */
}

int session_in_each(SessionIn *s, int (*f)(const SessionInFacts *facts, void *userdata), void *userdata)
{
    SessionInEntry *e, *next;
    uint64_t now = clock_boottime();
    int64_t now_at = clock_realtime();
    int r;

    HASH_ITER (hh, s->entries, e, next) {
        SessionInFacts facts = {
            .name = e->name,
            .peer = e->answer.address ? e->answer.address : e->skid,
            .created = e->created_at,
            .last_used = now_at - (int64_t)((now - e->last_used) / USEC_PER_SEC),
            .uses = e->uses,
            .hot = keyring_entry_is_hot(e->key),
        };

        if (is_over(s, e, now)) {
            entry_drop(s, e);
            continue;
        }
        r = f(&facts, userdata);
        if (r != 0)
            return r;
    }
    return 0;
}

unsigned session_in_count(const SessionIn *s)
{
    return HASH_COUNT(s->entries);
}

uint64_t session_in_idle_timeout(const SessionIn *s)
{
    return s->idle;
}

uint64_t session_in_absolute_timeout(const SessionIn *s)
{
    return s->absolute;
}
