/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "server/handler.h"

#define EXPIRES_DIGITS_MAX 12u
#define ANSWER_ROOM 64u /* besides its two statements */

/* A body that is coming in. It is kept with the request, and handed to the store with its last byte. */
typedef struct Submission {
    HandlerWrite w;
    Buf body; /* until it is larger than MESSAGE_SIZE_MAX */
    StoreBlob *blob;
    Transfer *transfer; /* of the blob */
    Sha256 *id, *hash;  /* over kid and body; over the body */
    uint8_t body_sha256[SHA256_SIZE];
} Submission;

static Submission *submission_free(Submission *s)
{
    (void)store_blob_free(s->blob);
    (void)transfer_end(s->transfer);
    (void)sha256_free(s->id);
    (void)sha256_free(s->hash);
    buf_done(&s->body);
    free(s);
    return NULL;
}
DEFINE_CLEANUP(Submission *, submission_free)

/* What the request holds: the submission, until it is handed to the store. */
static void slot_free(void *data)
{
    Submission **slot = data;
    if (*slot)
        (void)submission_free(*slot);
    free(slot);
}

int64_t handler_lifetime(const HttpRequest *r)
{
    const uint64_t lifetime = atomic_load(&handlers_of(r)->message_lifetime);
    return (int64_t)(lifetime < MESSAGE_EXPIRY_MAX ? lifetime : MESSAGE_EXPIRY_MAX);
}

/* From the header, else the relay's default; never later than what the relay allows. ret_begins: what new
 * ends are counted from. */
static int read_expires(const HttpRequest *r, int64_t *ret_begins, int64_t *ret)
{
    const int64_t now = steady_now(handlers_of(r)->steady);
    const char *text = http_request_header(r, "hmsg-expires");
    const int64_t begins = steady_latest(handlers_of(r)->steady);
    const int64_t latest = begins + handler_lifetime(r);
    int64_t t = 0;
    *ret_begins = begins;
    if (!text) {
        *ret = latest;
        return 0;
    }
    size_t n = strlen(text);
    if (n == 0 || n > EXPIRES_DIGITS_MAX || strspn(text, "0123456789") != n)
        return PROBLEM_BAD_REQUEST;
    for (size_t i = 0; i < n; i++)
        t = t * 10 + (text[i] - '0');
    if (t <= now)
        return PROBLEM_BAD_REQUEST;
    *ret = t < latest ? t : latest;
    return 0;
}

/* What the owner of the mailbox says of the sender, where that matters before the store has its word: guests
 * whom he allows are no strangers, and of whom he blocks no large body need come. */
static int find_rule(HttpRequest *r, const StoreWrite *put, StoreRule *ret)
{
    *ret = STORE_RULE_NONE;
    if (!http_request_client(r)->guest && http_request_length(r) <= (int64_t)MESSAGE_SIZE_MAX)
        return 0;
    return handler_result(store_rule(handlers_reader(r), put->put.mailbox, put->put.submitter, ret));
}

/* How often this sender may, and if he is a stranger, all of them where he is, and all into this mailbox.
 * Whoever has a capability is none: there all who have the same one are counted together. */
static int check_rate(HttpRequest *r, const StoreWrite *put, bool capable, StoreRule rule)
{
    const Client *c = http_request_client(r);
    Limiter *l = handlers_of(r)->limiter;
    uint64_t now = clock_boottime();
    unsigned retry = 0;
    bool ok = limiter_take(l, LIMIT_SUBMIT, c->skid, KID_SIZE, now, &retry);
    if (ok && capable)
        ok = limiter_take(l, LIMIT_CAPABILITY, put->put.capability, SHA256_SIZE, now, &retry);
    else if (ok && c->guest && rule != STORE_RULE_ALLOWED)
        ok = limiter_take_address(l, LIMIT_STRANGERS, &c->peer, now, &retry) &&
             limiter_take(l, LIMIT_MAILBOX, put->put.mailbox, KID_SIZE, now, &retry);
    if (ok)
        return 0;
    http_answer_problem(r, PROBLEM_TOO_MANY_REQUESTS, NULL, retry);
    return PROBLEM_TOO_MANY_REQUESTS;
}

/* The store says in the end whether it takes a message. A large one shall be refused before it has come: is
 * there room for what is announced, and does the recipient want it? A message that was submitted before has
 * its room. */
static int check_room(const HttpRequest *r, const StoreWrite *put, StoreRule rule)
{
    StoreReader *reader = handlers_reader(r);
    StoreState state = STORE_ACCEPTED;
    int64_t length = http_request_length(r);
    if (length <= (int64_t)MESSAGE_SIZE_MAX ||
        store_status(reader, put->put.submitter, put->put.id, &state) == 0)
        return 0;
    if (rule == STORE_RULE_BLOCKED)
        return PROBLEM_RECIPIENT_REFUSES;
    return handler_result(store_room(reader, put->put.mailbox, (uint64_t)length));
}

static int begin_blob(HttpRequest *r, Submission *s)
{
    const Client *c = http_request_client(r);
    int e = transfer_begin(handlers_of(r)->transfers, c->skid, c->guest, &s->transfer);
    return e == 0 ? handler_result(store_blob_new(handlers_of(r)->store, &s->blob)) : e;
}

int handle_submit_begin(HttpRequest *r)
{
    _cleanup_(submission_freep) Submission *s = calloc(1, sizeof(*s));
    const char *type = http_request_header(r, "content-type");
    int64_t now = clock_realtime();
    StoreRule rule = STORE_RULE_NONE;
    bool capable = false;
    if (!s)
        return -ENOMEM;
    StoreWrite *put = &s->w.write;
    s->body = BUF_MAX(MESSAGE_SIZE_MAX);
    http_request_set_body_max(r, handlers_of(r)->options->attachment_size);
    if (!type || strcmp(type, OCTETS) != 0)
        return PROBLEM_UNSUPPORTED_MEDIA_TYPE;
    put->kind = STORE_PUT;
    put->put.accepted = now;
    memcpy(put->put.submitter, http_request_client(r)->skid, KID_SIZE);
    int e = handler_hash(r, 0, put->put.mailbox);
    if (e == 0)
        e = handler_hash(r, 1, put->put.id);
    if (e == 0)
        e = read_expires(r, &put->put.begins, &put->put.expires);
    if (e == 0)
        e = handler_capability(r, put, &capable);
    if (e == 0)
        e = find_rule(r, put, &rule);
    if (e == 0)
        e = check_rate(r, put, capable, rule);
    if (e == 0)
        e = check_room(r, put, rule);
    if (e != 0)
        return e;
    e = sha256_new(&s->id);
    if (e == 0)
        e = sha256_new(&s->hash);
    if (e == 0)
        e = sha256_update(s->id, put->put.mailbox, KID_SIZE);
    if (e != 0)
        return handler_result(e);
    if (http_request_length(r) > (int64_t)MESSAGE_SIZE_MAX)
        e = begin_blob(r, s);
    Submission **slot = e == 0 ? calloc(1, sizeof(Submission *)) : NULL;
    if (e == 0 && !slot)
        e = -ENOMEM;
    if (e != 0)
        return e;
    *slot = TAKE_PTR(s);
    http_request_set_data(r, slot, slot_free);
    return 0;
}

/* What was kept in memory goes into a file first. */
static int spill(HttpRequest *r, Submission *s)
{
    int e = begin_blob(r, s);
    if (e == 0)
        e = handler_result(store_blob_append(s->blob, s->body.data, s->body.size));
    if (e == 0)
        buf_done(&s->body);
    return e;
}

int handle_submit_data(HttpRequest *r, const void *data, size_t n)
{
    Submission *s = *(Submission **)http_request_data(r);
    int e = sha256_update(s->id, data, n);
    if (e == 0)
        e = sha256_update(s->hash, data, n);
    if (e != 0)
        return handler_result(e);
    if (!s->blob && n > MESSAGE_SIZE_MAX - s->body.size)
        e = spill(r, s);
    if (e != 0)
        return e;
    e = s->blob ? store_blob_append(s->blob, data, n) : buf_append(&s->body, data, n);
    return handler_result(e);
}

static void wake_recipient(HandlerWrite *w)
{
    if (!w->write.put.created)
        return;
    (void)atomic_fetch_add(&w->handlers->accepted, 1);
    (void)atomic_fetch_add(&w->handlers->accepted_bytes, w->write.put.size);
    hub_mail(w->handlers->hub, w->write.put.owner);
}

/* What a commit has waited for: the disk, and with quorum = yes standbys as well. */
static Durability durability(const Options *o)
{
    return o->store == STORE_POSTGRES && o->postgres.quorum ? DURABILITY_QUORUM : DURABILITY_DISK;
}

static int write_receipt(const OnlineKey *online, const Submission *s, Buf *ret)
{
    const StoreWrite *put = &s->w.write;
    Receipt receipt = {.durability = durability(s->w.handlers->options), .iat = put->put.accepted};
    _cleanup_(jws_draft_done) JwsDraft draft = {};
    memcpy(receipt.pin, online_key_pin(online), PIN_SIZE);
    memcpy(receipt.id, put->put.id, ID_SIZE);
    memcpy(receipt.body_sha256, s->body_sha256, SHA256_SIZE);
    memcpy(receipt.recipient, put->put.mailbox, KID_SIZE);
    memcpy(receipt.submitter, put->put.submitter, KID_SIZE);
    int e = receipt_prepare(&receipt, online_key_ec(online), &draft);
    return e == 0 ? jws_sign_ec(&draft, online_key_ec(online), ret) : e;
}

/* One for each message, so it is put together by hand: no character of a JWS has to be escaped. */
static int answer_receipt(HttpRequest *r, unsigned status, const OnlineKey *online, const Submission *s)
{
    _cleanup_(buf_done) Buf receipt = BUF_MAX(JWS_SIZE_MAX), body = BUF_MAX(RELAY_BODY_SIZE_MAX);
    const char *relay = online_key_statement(online);
    int e = write_receipt(online, s, &receipt);
    if (e == 0)
        e = buf_reserve(&body, receipt.size + strlen(relay) + ANSWER_ROOM);
    if (e == 0)
        e = buf_printf(&body, "{\"receipt\":\"%s\",\"relay\":\"%s\"}", buf_text(&receipt), relay);
    if (e == 0)
        http_answer_buf(r, status, "application/json", &body);
    return e;
}

static int finish_submission(HandlerWrite *w)
{
    _cleanup_(online_key_unrefp) OnlineKey *online = NULL;
    int e = w->write.result;
    if (e == HMSG_ERROR_QUOTA_EXCEEDED && w->write.put.share)
        return PROBLEM_TOO_MANY_REQUESTS;
    if (e == HMSG_ERROR_DENIED && w->write.put.blocked)
        return PROBLEM_BLOCKED;
    if (e == HMSG_ERROR_DENIED && w->write.put.refused)
        return PROBLEM_RECIPIENT_REFUSES;
    if (e == HMSG_ERROR_DENIED) /* registered no more */
        return PROBLEM_LOGIN_REQUIRED;
    if (e == 0)
        e = handler_online(w->request, &online);
    else
        e = handler_result(e);
    if (e != 0)
        return e;
    return handler_result(
        answer_receipt(w->request, w->write.put.created ? 201 : 200, online, (Submission *)w));
}

static void free_write(HandlerWrite *w)
{
    Submission *s = (Submission *)w;
    /* It is the store's once that took it, and is gone then. */
    s->blob = TAKE_PTR(w->write.put.blob);
    (void)submission_free(s);
}

int handle_submit_end(HttpRequest *r)
{
    Submission **slot = http_request_data(r);
    _cleanup_(submission_freep) Submission *s = TAKE_PTR(*slot);
    uint8_t id[ID_SIZE];
    StoreWrite *put = &s->w.write;
    int e = sha256_final(s->id, id);
    if (e == 0)
        e = sha256_final(s->hash, s->body_sha256);
    if (e != 0)
        return handler_result(e);
    if ((!s->blob && s->body.size == 0) || !bytes_equal(id, put->put.id, ID_SIZE)) {
        http_answer_problem(r, PROBLEM_BAD_REQUEST, "The id is not the hash of mailbox and body", 0);
        return PROBLEM_BAD_REQUEST;
    }
    put->put.body = s->body.data;
    put->put.size = s->body.size;
    put->put.blob = TAKE_PTR(s->blob);
    s->w.stored = wake_recipient;
    s->w.finish = finish_submission;
    s->w.free = free_write;
    return handler_write_start(&TAKE_PTR(s)->w, r);
}
