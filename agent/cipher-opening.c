/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The stages of opening one package. Their order is the protocol's; nothing is given out before the last. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/cipher-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define SEED_KEYS_SIZE 32u
#define CMS_KEYS_SIZE 32u
#define SEED_FAILED_LABEL "hmsg seed"

void opening_init(Opening *o, Cipher *c, const OpenOptions *options)
{
    *o = (Opening){
        .c = c,
        .allow_unknown = options->allow_unknown,
        .allow_unauthenticated = options->allow_unauthenticated,
        .allow_oaep_sha1 = options->allow_oaep_sha1,
        .for_store = options->for_store,
        .client = options->client,
        .is_range = options->range_length > 0,
    };
}

void opening_done(Opening *o)
{
    contacts_request_free(o->contacts);
    unwrap_free(o->unwrap);
    package_free(o->package);
    seed_free(o->seed);
    jwe_free(o->jwe);
    cms_free(o->cms);
    secret_free(o->keys);
    sender_answer_done(&o->sender);
    free(o->relay);
    *o = (Opening){0};
}

static int parse_package(Opening *o, const void *data, size_t n, const uint8_t (*kids)[KID_SIZE],
                         size_t n_kids)
{
    size_t index = 0;

    return package_find(data, n, PACKAGE_MESSAGE, kids, n_kids, &o->package, &index);
}

int opening_parse(Opening *o, const void *data, size_t n)
{
    uint8_t kids[IDENTITY_KIDS_MAX][KID_SIZE];
    size_t n_kids = identity_kids(o->c->m->identity, kids);
    WireFormat format = wire_format_detect(data, n);
    int r;

    if (format == FORMAT_SEED)
        r = seed_parse(data, n, &o->seed);
    else if (format == FORMAT_JWE)
        r = opening_parse_jwe(o, data, n, kids, n_kids);
    else if (format == FORMAT_CMS)
        r = opening_parse_cms(o, data, n, kids, n_kids);
    else
        r = parse_package(o, data, n, kids, n_kids);
    return n_kids == 0 && (r == 0 || r == HMSG_ERROR_NOT_FOR_US) ? HMSG_ERROR_NO_IDENTITY : r;
}

int opening_parse_stream(Opening *o, const void *header, size_t n)
{
    uint8_t kids[IDENTITY_KIDS_MAX][KID_SIZE];
    size_t index = 0, n_kids = identity_kids(o->c->m->identity, kids);
    int r;

    r = stream_header_parse(header, n, kids, n_kids, &o->package, &index);
    if (r != 0)
        return r == HMSG_ERROR_NOT_FOR_US && n_kids == 0 ? HMSG_ERROR_NO_IDENTITY : r;
    o->unsigned_stream = o->package->has_sender && o->package->recipients > 1 &&
                         (o->is_range || !stream_header_has_trailer(header));
    return 0;
}

/* What is remembered of keys that do not open. The commitment is part of it: else whoever has seen a package
 * of somebody could send the same keys with another, and so make us refuse the true one. */
int opening_failed_id(const uint8_t *id, const void *more, size_t n, uint8_t *ret)
{
    uint8_t all[SHA256_SIZE + RSA_SIZE_MAX + sizeof(SEED_FAILED_LABEL)];

    if (!more || n > sizeof(all) - SHA256_SIZE)
        return -EINVAL;
    memcpy(all, id, SHA256_SIZE);
    memcpy(all + SHA256_SIZE, more, n);
    return crypto_sha256(all, SHA256_SIZE + n, ret);
}

static int check_seed(Opening *o)
{
    static const uint8_t id[SHA256_SIZE] = SEED_FAILED_LABEL;

    if (!o->seed->has_mac && !o->allow_unauthenticated) {
        o->detail = "The package has no MAC: anybody can have changed it";
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    }
    /* who takes it without a MAC takes it from anybody */
    if (!o->allow_unknown && !o->allow_unauthenticated) {
        o->detail = "The package does not say who sent it";
        return HMSG_ERROR_UNTRUSTED;
    }
    return opening_failed_id(id, o->seed->encrypted_key.data, o->seed->encrypted_key.size, o->failed_id);
}

static int check(Opening *o, SessionInEntry **ret_entry)
{
    Cipher *c = o->c;
    SessionInEntry *entry;
    int r;

    if (identity_state(c->m->identity) == IDENTITY_LOCKED)
        return HMSG_ERROR_LOCKED;
    *ret_entry = NULL;
    if (o->seed)
        return check_seed(o);
    if (o->jwe)
        return opening_check_jwe(o);
    if (o->cms)
        return opening_check_cms(o);
    r = package_cache_id(o->package, o->cache_id);
    if (r != 0)
        return r;
    entry = session_in_find(c->m->session_in, o->cache_id);
    r = package_check_sender(o->package,
                             entry && !session_in_is_anonymous(entry) ? session_in_statement(entry) : NULL,
                             &o->statement);
    if (r == 0)
        *ret_entry = entry;
    return r;
}

/* From the store; our own key is ours also while there is none. */
static int ask_store(Opening *o, const char *skid, int64_t created)
{
    const Manager *m = o->c->m;
    Sender sender = {.address = ""};
    uint64_t generation = 0;
    int r;

    if (m->contacts) {
        generation = contacts_generation(m->contacts);
        r = contacts_known_sender(m->contacts, skid, &sender);
        if (r != 0)
            return r;
    } else if (identity_is_ours(m->identity, skid)) {
        sender.trust = CONTACT_VERIFIED;
    }
    return sender_answer_set(&o->sender, generation, sender_trust_at(&sender, created), sender.address,
                             sender.protection);
}

static bool is_fresh(const Opening *o, const SenderAnswer *a)
{
    const Contacts *contacts = o->c->m->contacts;

    return a->there && a->generation == (contacts ? contacts_generation(contacts) : 0);
}

/* Who says to have sent it; NULL: nobody. */
static const uint8_t *claimed_sender(const Opening *o)
{
    if (o->jwe)
        return o->jwe->has_sender ? o->jwe->skid : NULL;
    if (o->cms)
        return o->has_signer ? o->signer : NULL;
    return o->package && o->package->has_sender ? o->package->skid : NULL;
}

/* When the sender says to have signed; the end of time when that is not said. */
static int64_t signed_time(const Opening *o, const SessionInEntry *entry)
{
    if (o->jwe)
        return o->jwe->ts;
    if (o->cms)
        return o->signed_at != 0 ? o->signed_at : TIME_MAX;
    return entry ? session_in_statement(entry)->created : o->statement.created;
}

static int judge_sender(Opening *o)
{
    if (o->seed)
        return 0; /* check_seed did */
    switch (o->sender.trust) {
    case CONTACT_BLOCKED:
        o->detail = "The sender is blocked";
        return HMSG_ERROR_UNTRUSTED;
    case CONTACT_CHANGED:
        o->detail = "The sender's key has changed: compare its fingerprint and verify the contact";
        return HMSG_ERROR_UNTRUSTED;
    case CONTACT_SUPERSEDED:
        o->detail = "The sender had given up this key before";
        return HMSG_ERROR_UNTRUSTED;
    case CONTACT_NONE:
        if (o->cms && o->cms->is_cbc) {
            o->detail = "Without a signer who is known anybody could have changed it: it is AES-256-CBC";
            return HMSG_ERROR_UNTRUSTED;
        }
        if (o->allow_unknown)
            return 0;
        o->detail = claimed_sender(o) ? "The sender is not known" : "The sender is anonymous";
        return HMSG_ERROR_UNTRUSTED;
    default:
        break;
    }
    if (o->unsigned_stream && !o->allow_unknown) {
        o->detail =
            o->is_range
                ? "It has several recipients, and its signature is over the whole: of a range it is not "
                  "known which of them made it"
                : "It has several recipients and no signature: any of them can have made it";
        return HMSG_ERROR_UNTRUSTED;
    }
    return 0;
}

int opening_ask_sender(Opening *o)
{
    const uint8_t *skid = claimed_sender(o);
    int r;

    if (skid) {
        base64url_encode(skid, KID_SIZE, o->sender_kid);
        r = ask_store(o, o->sender_kid, signed_time(o, NULL));
        if (r != 0)
            return r;
    }
    return judge_sender(o);
}

int opening_check_sender(Opening *o, SessionInEntry *entry)
{
    const SenderAnswer *known = entry ? session_in_answer(entry) : NULL;
    const uint8_t *skid = claimed_sender(o);
    int r;

    if (o->for_store)
        return 0;
    if (!skid)
        return judge_sender(o);
    base64url_encode(skid, KID_SIZE, o->sender_kid);
    if (known && is_fresh(o, known))
        r = sender_answer_set(&o->sender, known->generation, known->trust, known->address, known->protection);
    else
        r = ask_store(o, o->sender_kid, signed_time(o, entry));
    if (r != 0)
        return r;
    /* A directory may know better; but not again for each package of a session. */
    if (o->sender.trust == CONTACT_NONE && o->c->m->contacts &&
        !(known && is_fresh(o, known) && o->allow_unknown))
        return -EAGAIN;
    return judge_sender(o);
}

static const Buf *encrypted_key(const Opening *o)
{
    if (o->seed)
        return &o->seed->encrypted_key;
    if (o->cms)
        return &o->cms->encrypted_key;
    return o->jwe ? &o->jwe->encrypted_key : &o->package->encrypted_key;
}

/* Of which key; those that do not say so are for the key of now. */
static const uint8_t *kid_of(const Opening *o, const IdentityPublic *own)
{
    if (o->jwe)
        return o->jwe->kid;
    if (o->cms)
        return o->cms_kid;
    return o->package ? o->package->kid : own->kid_bytes;
}

static size_t keys_size(const Opening *o)
{
    if (o->seed)
        return SEED_KEYS_SIZE;
    if (o->cms)
        return CMS_KEYS_SIZE;
    return o->jwe ? jwe_key_size(o->jwe) : SESSION_KEYS_SIZE;
}

static void opening_report(Opening *o, int r, const char *detail)
{
    o->ready(r, o->detail ? o->detail : detail, o->userdata);
}

/* r other than 0 and AUTHENTICATION_FAILED: the TPM could not be asked; it says nothing of the package. */
static int take_keys(Opening *o, int r, const Secret *plaintext)
{
    size_t size = keys_size(o);

    if (r != 0 && r != HMSG_ERROR_AUTHENTICATION_FAILED)
        return r;
    o->had_keys = r == 0 && secret_size(plaintext) == size;
    if (o->had_keys)
        return secret_new_copy(secret_bytes(plaintext), size, &o->keys);
    return secret_new_random(size, &o->keys);
}

static void on_unwrapped(int r, const char *detail, const Secret *plaintext, void *userdata)
{
    Opening *o = userdata;

    o->unwrap = unwrap_free(o->unwrap);
    opening_report(o, take_keys(o, r, plaintext), detail);
}

/* One sender must not keep the TPM from all others. What we wrote ourselves is not limited. */
static int take_budget(Opening *o)
{
    bool known = o->sender.trust == CONTACT_PINNED || o->sender.trust == CONTACT_VERIFIED;
    unsigned wait = 0;

    if (o->for_store) /* one after the other, and once */
        return 0;
    if (known && strcmp(o->sender_kid, identity_public(o->c->m->identity)->skid) == 0)
        return 0;
    if (budget_take(o->c->budget, known ? o->sender_kid : NULL, clock_boottime(), &wait))
        return 0;
    (void)snprintf(o->words, sizeof(o->words),
                   "Too many new sessions of %s: the TPM opens the next one in %u s",
                   known ? "this sender" : "unknown senders", wait);
    o->detail = o->words;
    return HMSG_ERROR_QUOTA_EXCEEDED;
}

static int unwrap(Opening *o, const uint8_t *kid, const Buf *ek)
{
    const UnwrapInput input = {
        .kid = kid, .encrypted_key = ek, .oaep_sha1 = o->jwe && o->jwe->oaep_sha1, .client = o->client};

    return unwrap_start(o->c->unwraps, &input, on_unwrapped, o, &o->unwrap);
}

/* Out of the cache, remembered as of no use, or out of the TPM. */
static int find_keys(Opening *o, SessionInEntry *entry)
{
    Cipher *c = o->c;
    const IdentityPublic *own = identity_public(c->m->identity);
    const Buf *ek = encrypted_key(o);
    int r;

    if (entry) {
        r = secret_new(SESSION_KEYS_SIZE, &o->keys);
        if (r == 0)
            r = session_in_keys(c->m->session_in, entry, o->keys);
        if (r == 0) {
            o->cached = o->had_keys = true;
            return 0;
        }
        o->keys = secret_free(o->keys);
        if (r != -ENOKEY)
            return r;
    }
    if (!o->seed && !o->jwe && !o->cms) {
        r = opening_failed_id(o->cache_id, o->package->kc, KEY_COMMITMENT_SIZE, o->failed_id);
        if (r != 0)
            return r;
    }
    r = identity_check(c->m->identity);
    if (r != 0)
        return r;
    if (session_in_has_failed(c->m->session_in, o->failed_id) || ek->size != rsa_key_size(own->decrypt))
        return take_keys(o, HMSG_ERROR_AUTHENTICATION_FAILED, NULL);
    r = take_budget(o);
    if (r != 0)
        return r;
    o->asked = clock_boottime();
    r = unwrap(o, kid_of(o, own), ek);
    return r == 0 ? -EAGAIN : r;
}

static void on_sender(int r, const char *detail, const Sender *sender, void *userdata)
{
    Opening *o = userdata;
    Cipher *c = o->c;
    _cleanup_(contacts_request_freep) ContactsRequest *request = TAKE_PTR(o->contacts); /* owns detail */

    if (r == 0)
        r = sender_answer_set(&o->sender, contacts_generation(c->m->contacts),
                              sender_trust_at(sender, signed_time(o, NULL)), sender->address,
                              sender->protection);
    else if (r == HMSG_ERROR_RELAY_UNAVAILABLE && o->allow_unknown)
        r = 0; /* nobody can tell: unknown, as the store said */
    if (r == 0)
        r = judge_sender(o);
    if (r == 0)
        r = find_keys(o, o->package ? session_in_find(c->m->session_in, o->cache_id) : NULL);
    if (r != -EAGAIN)
        opening_report(o, r, detail);
}

void opening_fail(const Opening *o, CipherJob *j, int r, const char *detail)
{
    int failed = r == HMSG_ERROR_AUTHENTICATION_FAILED && o->asked != 0
                     ? cipher_job_fail_in_step(j, r, detail, o->asked)
                     : -EAGAIN;

    if (failed != 0)
        cipher_job_fail(j, r, detail);
}

int opening_start(Opening *o, opening_ready_t ready, void *userdata)
{
    SessionInEntry *entry = NULL;
    int r;

    o->ready = ready;
    o->userdata = userdata;
    r = check(o, &entry);
    if (r == 0)
        r = opening_check_sender(o, entry);
    if (r == 0)
        return find_keys(o, entry);
    if (r != -EAGAIN)
        return r;
    r = contacts_check_sender(o->c->m->contacts, o->sender_kid, o->relay, on_sender, o, &o->contacts);
    return r == 0 ? -EAGAIN : r;
}

static int put_keys(Opening *o, SessionInEntry **ret)
{
    const Package *p = o->package;
    SessionInNew new = {
        .id = o->cache_id,
        .recall_id = p->recall_id,
        .statement = &o->statement,
        .anonymous = !p->has_sender,
        .keys = o->keys,
    };
    SessionStatement anonymous = {.expires = TIME_MAX};

    if (!p->has_sender) {
        memcpy(anonymous.kid, p->kid, KID_SIZE);
        memcpy(anonymous.sid, p->sid, SESSION_ID_SIZE);
        memcpy(anonymous.kc, p->kc, KEY_COMMITMENT_SIZE);
        new.statement = &anonymous;
    }
    return session_in_put(o->c->m->session_in, &new, ret);
}

/* Keys that the package commits to are those of the session, whether or not this package is right. */
static int remember_keys(Opening *o, SessionInEntry **ret)
{
    SessionIn *s = o->c->m->session_in;
    int r;

    *ret = NULL;
    if (o->cached) {
        *ret = session_in_find(s, o->cache_id);
        return 0;
    }
    r = package_check_keys(o->package, o->keys);
    if (r == HMSG_ERROR_AUTHENTICATION_FAILED)
        return session_in_put_failed(s, o->failed_id);
    if (r != 0)
        return r;
    *ret = session_in_find(s, o->cache_id); /* of another who asked for the same keys meanwhile */
    if (*ret)
        return 0;
    r = put_keys(o, ret);
    if (r != 0) { /* the next one costs the TPM again, no more */
        log_warning("A session key cannot be kept: %s", error_message(r));
        *ret = NULL;
    }
    return 0;
}

static void note_use(Opening *o, SessionInEntry *entry)
{
    SenderAnswer *a;

    if (!entry)
        return;
    o->replayed = session_in_use(o->c->m->session_in, entry, o->package->seq);
    a = session_in_answer(entry);
    if (o->sender.there && (!a->there || a->generation != o->sender.generation))
        (void)sender_answer_set(a, o->sender.generation, o->sender.trust, o->sender.address,
                                o->sender.protection);
}

static int finish_seed(Opening *o, Buf *ret)
{
    int r;

    if (!o->had_keys) {
        r = session_in_put_failed(o->c->m->session_in, o->failed_id);
        if (r != 0)
            return r;
    }
    return seed_open(o->seed, o->had_keys ? o->keys : NULL, o->allow_unauthenticated, ret);
}

int opening_finish(Opening *o, Buf *ret)
{
    SessionInEntry *entry = NULL;
    int r;

    if (o->seed)
        return finish_seed(o, ret);
    if (o->jwe)
        return opening_finish_jwe(o, ret);
    if (o->cms)
        return opening_finish_cms(o, ret);
    r = remember_keys(o, &entry);
    if (r == 0)
        r = package_open(o->package, o->keys, ret);
    if (r == 0)
        note_use(o, entry);
    return r;
}

int opening_finish_recalled(Opening *o, SessionInEntry *entry, Buf *ret)
{
    int r;

    r = package_open(o->package, o->keys, ret);
    if (r == 0)
        note_use(o, entry);
    return r;
}

int opening_finish_stream(Opening *o, const void *header, size_t n, const uint8_t *prefix, StreamReader **ret)
{
    SessionInEntry *entry = NULL;
    int r;

    r = remember_keys(o, &entry);
    if (r == 0)
        r = stream_reader_new(header, n, o->package, o->keys, prefix, ret);
    if (r == 0)
        note_use(o, entry);
    return r;
}

void opening_info(const Opening *o, OpenInfo *ret)
{
    const IdentityPublic *ours = identity_public(o->c->m->identity);
    const Package *p = o->package;
    bool known = o->sender.trust == CONTACT_PINNED || o->sender.trust == CONTACT_VERIFIED;

    *ret = (OpenInfo){
        .sender = o->sender.address && *o->sender.address ? o->sender.address : o->sender_kid,
        .sender_kid = o->sender_kid,
        .sender_protection = o->sender.protection,
        .protection = ours ? protection_text(ours->protection) : "",
        .format = o->seed                          ? "seed"
                  : o->cms                         ? "cms"
                  : p && p->kind == PACKAGE_STREAM ? "stream"
                  : o->is_jwe                      ? "jwe"
                                                   : "hmsg",
        .verified = known,
        .trusted = o->sender.trust == CONTACT_VERIFIED,
        .cached = o->cached,
        .replayed = o->replayed,
        .authenticated = !o->seed || o->seed->has_mac,
        .timestamp = o->jwe ? o->jwe->ts : o->signed_at,
    };
    if (!p)
        return;
    ret->timestamp = p->ts;
    ret->expired = p->exp != 0 && p->exp < clock_realtime();
}
