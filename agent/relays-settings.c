/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What our relays do with what comes for us: they refuse whom the user blocks, count whom the user allows as
 * no stranger, and keep messages as long as the user wants. The store says what it should be. A relay is told
 * when that changes, and asked when we are connected to it whether it is what it was told last, since it may
 * have been away, or have gone back to a former state. */

#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "agent/contact-rules.h"
#include "agent/relays-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define RULE_SIZE (1u + KID_SIZE) /* as the courier takes it */

/* What is kept for a relay. */
typedef struct Kept {
    uint64_t lifetime, revision; /* revision: that it was told last; 0: nothing yet */
    uint8_t digest[SHA256_SIZE]; /* of that */
} Kept;

static int read_kept(Relays *r, const char *relay, Kept *ret)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = false;
    int e;

    *ret = (Kept){0};
    e = db_prepare(store_db(r->m->store),
                   "SELECT lifetime, revision, digest FROM mailbox_settings WHERE relay = ?1", &s);
    if (e != 0)
        return e;
    db_bind_text(s, 1, relay);
    e = db_step(s, &row);
    if (e != 0 || !row)
        return e;
    ret->lifetime = (uint64_t)db_column_number(s, 0);
    ret->revision = (uint64_t)db_column_number(s, 1);
    return db_column_null(s, 2) ? 0 : db_column_exact(s, 2, ret->digest, sizeof(ret->digest));
}

static int run_with(Relays *r, const char *sql, const char *relay, uint64_t number, const uint8_t *digest)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    int e = db_prepare(store_db(r->m->store), sql, &s);

    if (e != 0)
        return e;
    db_bind_text(s, 1, relay);
    db_bind_number(s, 2, (int64_t)number);
    if (digest)
        db_bind_bytes(s, 3, digest, SHA256_SIZE);
    return db_run(s);
}

/* What it should be; kept is what is known. */
static int make(Relays *r, const char *relay, Kept *kept, MailboxSettings *ret,
                uint8_t digest[static SHA256_SIZE])
{
    int e = read_kept(r, relay, kept);

    if (e == 0)
        e = contact_rules(store_db(r->m->store), ret, NULL);
    ret->lifetime = kept->lifetime;
    if (e == 0)
        e = mailbox_settings_check(ret);
    return e == 0 ? mailbox_settings_digest(ret, digest) : e;
}

void settings_stop(Connection *c)
{
    c->settings = relays_request_free(c->settings);
    c->settings_later = sd_event_source_disable_unref(c->settings_later);
    c->settings_again = false;
}

static int on_later(sd_event_source *source, uint64_t usec, void *userdata)
{
    Connection *c = userdata;

    c->settings_later = sd_event_source_disable_unref(c->settings_later);
    settings_tell(c, true);
    return 0;
}

static void later(Connection *c, int r, const char *detail)
{
    log_info("Relay %s:%u has not been told whom we block and allow: %s", c->address.host, c->address.port,
             detail);
    if (r == HMSG_ERROR_LOCKED || c->settings_later)
        return;
    if (sd_event_add_time_relative(c->owner->m->event, &c->settings_later, CLOCK_BOOTTIME,
                                   (uint64_t)RELAYS_RECONNECT_MAX * 1000000u, 0, on_later, c) < 0)
        log_error("No timer for relay %s:%u", c->address.host, c->address.port);
}

/* A relay from before this does not know the path: nothing comes of asking again. One that has a later
 * revision is asked once more for it. */
static void on_told(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    Connection *c = userdata;
    bool again = c->settings_again;

    c->settings = relays_request_free(c->settings);
    c->settings_again = false;
    bool behind = r == HMSG_ERROR_ALREADY_EXISTS && !c->settings_behind;
    c->settings_behind = behind;
    if (behind)
        settings_tell(c, true);
    else if (r != 0 && r != HMSG_ERROR_NOT_FOUND)
        later(c, r, *detail ? detail : error_message(r));
    else if (r == 0 && again)
        settings_tell(c, false);
}

static int on_set(RelaysRequest *q, sd_bus_message *reply)
{
    int r = run_with(q->owner,
                     "INSERT INTO mailbox_settings(relay, lifetime, revision, digest) VALUES(?1, 0, ?2, ?3)"
                     " ON CONFLICT DO UPDATE SET revision = ?2, digest = ?3",
                     q->connection->text, q->settings.revision, q->settings.digest);

    if (r == 0)
        request_finish(q, 0, &(RelaysResult){0}, NULL);
    return r;
}

static int append_senders(sd_bus_message *call, const MailboxSettings *s)
{
    void *to = NULL;
    int r = sd_bus_message_append_array_space(call, 'y', s->n_senders * RULE_SIZE, &to);
    uint8_t *at = to;

    for (size_t i = 0; r >= 0 && i < s->n_senders; i++, at += RULE_SIZE) {
        at[0] = s->senders[i].allowed;
        memcpy(at + 1, s->senders[i].skid, KID_SIZE);
    }
    return r;
}

static int set(RelaysRequest *q, const MailboxSettings *s)
{
    Connection *c = q->connection;
    sd_bus_message *call = NULL;
    uint8_t mac[SHA256_SIZE];
    int r;

    if (!c->ack_key)
        return HMSG_ERROR_RELAY_UNAVAILABLE;
    r = mailbox_settings_mac(c->ack_key, c->address.pin, s, mac);
    if (r == 0)
        r = request_call_new(q, "SetSettings", &call);
    if (r != 0)
        return r;
    r = sd_bus_message_append(call, "tt", s->revision, s->lifetime);
    if (r >= 0)
        r = append_senders(call, s);
    if (r >= 0)
        r = sd_bus_message_append_array(call, 'y', mac, sizeof(mac));
    q->settings.revision = s->revision;
    return request_call(q, call, r, false, on_set);
}

static uint64_t next_revision(uint64_t there, uint64_t here)
{
    uint64_t now = (uint64_t)clock_realtime() * 1000, last = there > here ? there : here;

    return last >= now ? last + 1 : now;
}

/* It has what it was told last, and that is what it should be; or it is told. */
static int on_settings(RelaysRequest *q, sd_bus_message *reply)
{
    _cleanup_(mailbox_settings_done) MailboxSettings s = {0};
    uint64_t revision, lifetime, longest;
    Kept kept;
    int r;

    if (sd_bus_message_read(reply, "ttt", &revision, &lifetime, &longest) < 0)
        return -EBADMSG;
    r = make(q->owner, q->connection->text, &kept, &s, q->settings.digest);
    if (r != 0)
        return r;
    bool nothing = revision == 0 && s.lifetime == 0 && s.n_senders == 0;
    bool told = revision == kept.revision && bytes_equal(kept.digest, q->settings.digest, SHA256_SIZE);
    if (nothing || told) {
        request_finish(q, 0, &(RelaysResult){0}, NULL);
        return 0;
    }
    s.revision = next_revision(revision, kept.revision);
    return set(q, &s);
}

static int ask(RelaysRequest *q)
{
    sd_bus_message *call = NULL;
    int r = request_call_new(q, "Settings", &call);

    return r == 0 ? request_call(q, call, 0, false, on_settings) : r;
}

static int begin(Connection *c)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    int r = request_alloc(c->owner, &q);

    if (r == 0)
        r = relay_parse(c->text, &q->asked);
    if (r != 0)
        return r;
    q->needs_login = true;
    q->start = ask;
    q->done = on_told;
    q->userdata = c;
    r = request_begin(q, &c->settings);
    if (r == 0)
        (void)TAKE_PTR(q);
    return r;
}

void settings_tell(Connection *c, bool connected)
{
    _cleanup_(mailbox_settings_done) MailboxSettings s = {0};
    uint8_t digest[SHA256_SIZE] = {0};
    Kept kept;
    int r;

    if (!c->listening || !relays_is_ours(c->owner, c->text))
        return;
    c->settings_later = sd_event_source_disable_unref(c->settings_later);
    c->settings_again = c->settings != NULL;
    if (c->settings)
        return;
    r = make(c->owner, c->text, &kept, &s, digest);
    bool nothing = kept.revision == 0 && s.lifetime == 0 && s.n_senders == 0;
    bool told = nothing || bytes_equal(kept.digest, digest, SHA256_SIZE);
    if (r == 0 && told && !connected)
        return;
    if (r == 0)
        r = begin(c);
    if (r != 0)
        later(c, r, error_message(r));
}

void relays_rules_changed(Relays *r)
{
    Connection *c;

    DL_FOREACH (r->connections, c)
        settings_tell(c, false);
}

int relays_lifetime(Relays *r, const char *address, uint64_t *ret)
{
    OwnMailbox own;
    Kept kept;
    int e = relays_own_mailbox(r, address, &own);

    if (e == 0)
        e = read_kept(r, own.relay, &kept);
    if (e == 0)
        *ret = kept.lifetime;
    return e;
}

int relays_set_lifetime(Relays *r, const char *address, uint64_t seconds)
{
    OwnMailbox own;
    Connection *c;
    int e;

    if (seconds != 0 && (seconds < MAILBOX_LIFETIME_MIN || seconds > MESSAGE_EXPIRY_MAX))
        return HMSG_ERROR_INVALID_ARGS;
    e = relays_own_mailbox(r, address, &own);
    if (e == 0)
        e = run_with(r,
                     "INSERT INTO mailbox_settings(relay, lifetime, revision) VALUES(?1, ?2, 0)"
                     " ON CONFLICT DO UPDATE SET lifetime = ?2",
                     own.relay, seconds, NULL);
    c = e == 0 ? connection_find(r, own.relay) : NULL;
    if (c)
        settings_tell(c, false);
    return e;
}
