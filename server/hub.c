/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/hub.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "libhmsg/wire/json.h"

#define BUCKETS 4096u
#define EVENT_SIZE_MAX 256u

/* Of the user's two keys: skid for states, kid for mail; and as other relays name them. */
typedef enum Key { KEY_SKID, KEY_KID, KEY_SKID_INDEX, KEY_KID_INDEX, KEY_MAX_ } Key;

struct HubStream {
    atomic_uint refs; /* the owner's and one for each wake-up on its way */
    atomic_bool posted;
    Hub *hub;
    HttpEvents *events;
    void (*wake)(void *userdata);
    void *userdata;
    bool left; /* of the loop */
    bool has[KEY_MAX_];
    uint8_t keys[KEY_MAX_][KID_SIZE];
    HubStream *next[KEY_MAX_], **at[KEY_MAX_];
};

struct Hub {
    pthread_mutex_t lock;
    HubStream *buckets[KEY_MAX_][BUCKETS];
};

/* Kids are hashes. */
static HubStream **bucket(Hub *h, Key key, const uint8_t *kid)
{
    return &h->buckets[key][(kid[0] | (unsigned)kid[1] << 8) % BUCKETS];
}

static void link_stream(Hub *h, HubStream *s, Key key)
{
    HubStream **head = bucket(h, key, s->keys[key]);
    s->has[key] = true;
    s->next[key] = *head;
    s->at[key] = head;
    if (*head)
        (*head)->at[key] = &s->next[key];
    *head = s;
}

static void unlink_stream(HubStream *s, Key key)
{
    if (!s->has[key])
        return;
    *s->at[key] = s->next[key];
    if (s->next[key])
        s->next[key]->at[key] = s->at[key];
    s->has[key] = false;
}

int hub_new(Hub **ret)
{
    Hub *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    (void)pthread_mutex_init(&h->lock, NULL);
    *ret = h;
    return 0;
}

Hub *hub_free(Hub *h)
{
    if (h) {
        (void)pthread_mutex_destroy(&h->lock);
        free(h);
    }
    return NULL;
}

static void stream_unref(HubStream *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    (void)http_events_unref(s->events);
    free(s);
}

static bool matches(const HubStream *s, Key key, const uint8_t *kid)
{
    return memcmp(s->keys[key], kid, KID_SIZE) == 0; /* public */
}

/* References of the streams of a user, or of all in a bucket (kid NULL); the caller frees the array. Streams
 * are used without the lock, since they may call back. */
static HubStream **collect(Hub *h, Key key, HubStream *const *head, const uint8_t *kid, size_t *ret_n)
{
    HubStream **found = NULL;
    size_t n = 0;
    (void)pthread_mutex_lock(&h->lock);
    for (const HubStream *s = *head; s; s = s->next[key])
        n += !kid || matches(s, key, kid);
    if (n > 0)
        found = calloc(n, sizeof(HubStream *));
    *ret_n = 0;
    for (HubStream *s = *head; s && found; s = s->next[key])
        if (!kid || matches(s, key, kid)) {
            (void)atomic_fetch_add(&s->refs, 1);
            found[(*ret_n)++] = s;
        }
    (void)pthread_mutex_unlock(&h->lock);
    return found;
}

static HubStream **find(Hub *h, Key key, const uint8_t *kid, size_t *ret_n)
{
    return collect(h, key, bucket(h, key, kid), kid, ret_n);
}

/* With the lock. */
static bool is_full(Hub *h, const uint8_t *skid)
{
    unsigned n = 0;
    for (const HubStream *s = *bucket(h, KEY_SKID, skid); s; s = s->next[KEY_SKID])
        n += matches(s, KEY_SKID, skid);
    return n >= HUB_STREAMS_MAX;
}

bool hub_full(Hub *h, const uint8_t skid[static KID_SIZE])
{
    (void)pthread_mutex_lock(&h->lock);
    bool full = is_full(h, skid);
    (void)pthread_mutex_unlock(&h->lock);
    return full;
}

int hub_join(Hub *h, HttpEvents *events, const uint8_t skid[static KID_SIZE], const uint8_t *kid,
             void (*wake)(void *userdata), void *userdata, HubStream **ret)
{
    HubStream *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    atomic_init(&s->refs, 1);
    atomic_init(&s->posted, false);
    s->hub = h;
    s->wake = wake;
    s->userdata = userdata;
    memcpy(s->keys[KEY_SKID], skid, KID_SIZE);
    if (kid)
        memcpy(s->keys[KEY_KID], kid, KID_SIZE);
    (void)pthread_mutex_lock(&h->lock);
    bool ok = !is_full(h, skid);
    if (ok) {
        s->events = http_events_ref(events);
        link_stream(h, s, KEY_SKID);
        if (kid)
            link_stream(h, s, KEY_KID);
    }
    (void)pthread_mutex_unlock(&h->lock);
    if (!ok) {
        free(s);
        return PROBLEM_TOO_MANY_REQUESTS;
    }
    *ret = s;
    return 0;
}

HubStream *hub_leave(HubStream *s)
{
    if (!s)
        return NULL;
    (void)pthread_mutex_lock(&s->hub->lock);
    for (Key key = 0; key < KEY_MAX_; key++)
        unlink_stream(s, key);
    (void)pthread_mutex_unlock(&s->hub->lock);
    s->left = true;
    stream_unref(s);
    return NULL;
}

void hub_know(HubStream *s, const uint8_t skid[static KID_SIZE], const uint8_t *kid)
{
    Hub *h = s->hub;
    (void)pthread_mutex_lock(&h->lock);
    memcpy(s->keys[KEY_SKID_INDEX], skid, KID_SIZE);
    link_stream(h, s, KEY_SKID_INDEX);
    if (kid) {
        memcpy(s->keys[KEY_KID_INDEX], kid, KID_SIZE);
        link_stream(h, s, KEY_KID_INDEX);
    }
    (void)pthread_mutex_unlock(&h->lock);
}

/* Takes the reference that was made for it. */
static void woken(HttpRequest *r, void *userdata)
{
    HubStream *s = userdata;
    atomic_store(&s->posted, false);
    if (!s->left)
        s->wake(s->userdata);
    stream_unref(s);
}

static void tell_mail(Hub *h, Key key, const uint8_t *kid)
{
    size_t n = 0;
    _cleanup_(freep) HubStream **found = find(h, key, kid, &n);
    for (size_t i = 0; i < n; i++) {
        bool posts = !atomic_exchange(&found[i]->posted, true);
        if (posts && http_request_post(http_events_request(found[i]->events), woken, found[i]) == 0)
            continue;
        if (posts) /* the next one tries again */
            atomic_store(&found[i]->posted, false);
        stream_unref(found[i]);
    }
}

void hub_mail(Hub *h, const uint8_t kid[static KID_SIZE])
{
    tell_mail(h, KEY_KID, kid);
}

static int write_change(const StoreChange *c, Buf *ret)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_bytes(j, "id", c->id, ID_SIZE);
    if (r == 0)
        r = json_put_text(j, "state", store_state_text(c->state));
    return r == 0 ? json_write(j, ret) : r;
}

static void tell_change(Hub *h, Key key, const StoreChange *c)
{
    size_t n = 0;
    _cleanup_(freep) HubStream **found = find(h, key, c->submitter, &n);
    _cleanup_(buf_done) Buf text = BUF_MAX(EVENT_SIZE_MAX);
    int r = n > 0 ? write_change(c, &text) : 0;
    for (size_t i = 0; i < n; i++) {
        /* A client that misses one has to know: it asks for the states when it is here again. */
        if (r != 0 || http_events_push(found[i]->events, "status", buf_text(&text)) == -ENOBUFS)
            http_events_end(found[i]->events);
        stream_unref(found[i]);
    }
}

void hub_changes(Hub *h, const StoreChange *changes, size_t n_changes)
{
    for (size_t c = 0; c < n_changes; c++)
        tell_change(h, KEY_SKID, &changes[c]);
}

static void end_all(HubStream **found, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        http_events_end(found[i]->events);
        stream_unref(found[i]);
    }
    free(found);
}

static void end_streams(Hub *h, Key key, const uint8_t *skid)
{
    size_t n = 0;
    HubStream **found = find(h, key, skid, &n);
    end_all(found, n);
}

void hub_end(Hub *h, const uint8_t skid[static KID_SIZE])
{
    end_streams(h, KEY_SKID, skid);
}

static void end_bucket(Hub *h, unsigned number)
{
    size_t n = 0;
    HubStream **found = collect(h, KEY_SKID, &h->buckets[KEY_SKID][number], NULL, &n);
    end_all(found, n);
}

void hub_news(Hub *h, const StoreNews *news)
{
    StoreChange change = {.state = news->state};
    switch (news->kind) {
    case STORE_NEWS_MAIL:
        tell_mail(h, KEY_KID_INDEX, news->key);
        break;
    case STORE_NEWS_STATE:
        memcpy(change.submitter, news->key, KID_SIZE);
        memcpy(change.id, news->id, ID_SIZE);
        tell_change(h, KEY_SKID_INDEX, &change);
        break;
    case STORE_NEWS_GONE:
        end_streams(h, KEY_SKID_INDEX, news->key);
        break;
    case STORE_NEWS_LOST:
        for (unsigned i = 0; i < BUCKETS; i++)
            end_bucket(h, i);
        break;
    }
}
