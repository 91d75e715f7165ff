/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "agent/relays-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"

/* What the functions below share. */
static int mail_alloc(Relays *r, const char *relay, const char *id, relays_done_t done, void *userdata,
                      RelaysRequest **ret)
{
    RelaysRequest *q;
    Relay asked;
    int e;

    e = relay_parse(relay, &asked);
    if (e == 0 && (!asked.has_pin || (id && strlen(id) != HASH_TEXT_SIZE - 1)))
        e = HMSG_ERROR_INVALID_ARGS;
    if (e == 0)
        e = request_alloc(r, &q);
    if (e != 0)
        return e;
    q->asked = asked;
    q->needs_login = true;
    q->done = done;
    q->userdata = userdata;
    if (id)
        memcpy(q->id, id, HASH_TEXT_SIZE);
    *ret = q;
    return 0;
}

static int mail_begin(RelaysRequest *q, RelaysRequest **ret)
{
    int r = request_begin(q, ret);

    if (r != 0)
        (void)relays_request_free(q);
    return r;
}

static int on_submitted(RelaysRequest *q, sd_bus_message *reply)
{
    _cleanup_(ec_key_freep) EcKey *online = NULL;
    const char *receipt, *relay_statement;
    Connection *c = q->connection;
    Receipt parsed;
    RelaysResult result = {.receipt = &parsed, .submitter = q->submitter};
    int r;

    r = sd_bus_message_read(reply, "ss", &receipt, &relay_statement);
    if (r < 0)
        return -EBADMSG;
    r = connection_online(c, q, relay_statement, &online);
    if (r != 0)
        return r;
    r = receipt_parse(receipt, strlen(receipt), online, c->address.pin, clock_realtime(), &parsed);
    if (r > 0)
        return request_error(q, HMSG_ERROR_AUTHENTICATION_FAILED,
                             "Relay %s:%u: its receipt is not signed as it must be", c->address.host,
                             c->address.port);
    if (r == 0)
        request_finish(q, 0, &result, NULL);
    return r;
}

static int submit(RelaysRequest *q)
{
    const IdentityPublic *p = identity_public(q->owner->m->identity);
    sd_bus_message *call = NULL;
    int r;

    if (!p)
        return HMSG_ERROR_NO_IDENTITY;
    memcpy(q->submitter, p->skid_bytes, KID_SIZE); /* ours may be another when the receipt comes */
    r = request_call_new(q, "Submit", &call);
    if (r != 0)
        return r;
    r = sd_bus_message_append(call, "sshtts", q->kid, q->id, q->fd, q->size, q->expires, q->capability.code);
    return request_call(q, call, r, true, on_submitted);
}

int relays_submit(Relays *r, const RelaysMail *mail, relays_done_t done, void *userdata, RelaysRequest **ret)
{
    RelaysRequest *q;
    int e;

    if (strlen(mail->kid) != HASH_TEXT_SIZE - 1 || strlen(mail->capability) >= HASH_TEXT_SIZE)
        return HMSG_ERROR_INVALID_ARGS;
    e = mail_alloc(r, mail->relay, mail->id, done, userdata, &q);
    if (e != 0)
        return e;
    q->fd = fcntl(mail->fd, F_DUPFD_CLOEXEC, 3);
    if (q->fd < 0) {
        e = -errno;
        (void)relays_request_free(q);
        return e;
    }
    memcpy(q->kid, mail->kid, HASH_TEXT_SIZE);
    memcpy(q->capability.code, mail->capability, strlen(mail->capability) + 1);
    q->size = mail->size;
    q->expires = mail->expires;
    q->purpose = PURPOSE_ANY;
    q->start = submit;
    return mail_begin(q, ret);
}

static int on_state(RelaysRequest *q, sd_bus_message *reply)
{
    RelaysResult result = {0};
    int r;

    r = sd_bus_message_read_basic(reply, 's', &result.state);
    if (r < 0)
        return -EBADMSG;
    request_finish(q, 0, &result, NULL);
    return 0;
}

static int ask_state(RelaysRequest *q)
{
    sd_bus_message *call = NULL;
    int r;

    r = request_call_new(q, "Status", &call);
    if (r != 0)
        return r;
    return request_call(q, call, sd_bus_message_append_basic(call, 's', q->id), false, on_state);
}

int relays_status(Relays *r, const char *relay, const char *id, relays_done_t done, void *userdata,
                  RelaysRequest **ret)
{
    RelaysRequest *q;
    int e;

    e = mail_alloc(r, relay, id, done, userdata, &q);
    if (e != 0)
        return e;
    q->purpose = PURPOSE_ANY;
    q->start = ask_state;
    return mail_begin(q, ret);
}

static int read_list(sd_bus_message *reply, RelaysMessage *messages, size_t *ret_n, bool *ret_more)
{
    uint64_t expires;
    size_t n = 0;
    int more = 0;
    int r;

    r = sd_bus_message_enter_container(reply, 'a', "(tstst)");
    while (r > 0 && n < LIST_MAX) {
        RelaysMessage *m = &messages[n];

        r = sd_bus_message_read(reply, "(tstst)", &m->seq, &m->id, &m->size, &m->submitter, &expires);
        if (r > 0)
            n++;
    }
    if (r < 0 || sd_bus_message_exit_container(reply) < 0 || sd_bus_message_read_basic(reply, 'b', &more) < 0)
        return -EBADMSG;
    *ret_n = n;
    *ret_more = more;
    return 0;
}

static int on_listed(RelaysRequest *q, sd_bus_message *reply)
{
    _cleanup_(freep) RelaysMessage *messages = calloc(LIST_MAX, sizeof(*messages));
    RelaysResult result = {.messages = messages};
    int r;

    if (!messages)
        return -ENOMEM;
    r = read_list(reply, messages, &result.n, &result.more);
    if (r == 0)
        request_finish(q, 0, &result, NULL);
    return r;
}

static int ask_list(RelaysRequest *q)
{
    sd_bus_message *call = NULL;
    int r;

    r = request_call_new(q, "List", &call);
    if (r != 0)
        return r;
    return request_call(q, call, sd_bus_message_append_basic(call, 't', &q->after), false, on_listed);
}

int relays_list(Relays *r, const char *relay, uint64_t after, relays_done_t done, void *userdata,
                RelaysRequest **ret)
{
    RelaysRequest *q;
    int e;

    e = mail_alloc(r, relay, NULL, done, userdata, &q);
    if (e != 0)
        return e;
    q->after = after;
    q->start = ask_list;
    return mail_begin(q, ret);
}

static int on_fetched(RelaysRequest *q, sd_bus_message *reply)
{
    RelaysResult result = {0};
    int r;

    r = sd_bus_message_read_basic(reply, 't', &result.size);
    if (r < 0)
        return -EBADMSG;
    request_finish(q, 0, &result, NULL);
    return 0;
}

static int fetch(RelaysRequest *q)
{
    sd_bus_message *call = NULL;
    int r;

    r = request_call_new(q, "Fetch", &call);
    if (r != 0)
        return r;
    return request_call(q, call, sd_bus_message_append(call, "sh", q->id, q->fd), true, on_fetched);
}

int relays_fetch(Relays *r, const char *relay, const char *id, int fd, relays_done_t done, void *userdata,
                 RelaysRequest **ret)
{
    RelaysRequest *q;
    int e;

    e = mail_alloc(r, relay, id, done, userdata, &q);
    if (e != 0)
        return e;
    q->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (q->fd < 0) {
        e = -errno;
        (void)relays_request_free(q);
        return e;
    }
    q->start = fetch;
    return mail_begin(q, ret);
}

/* Else the courier could go on for ever, or take for done what was not sent. */
static bool was_asked(const RelaysRequest *q, const char *text)
{
    uint8_t id[ID_SIZE];

    if (base64url_decode_exact(text, strlen(text), id, ID_SIZE) != 0)
        return false;
    for (size_t i = 0; i < q->n_ids; i++)
        if (bytes_equal(q->ids + i * ID_SIZE, id, ID_SIZE))
            return true;
    return false;
}

static int on_acknowledged(RelaysRequest *q, sd_bus_message *reply)
{
    _cleanup_(freep) const char **ids = calloc(q->n_ids + 1, sizeof(*ids));
    RelaysResult result = {.ids = ids};
    size_t n = 0;
    int r;

    if (!ids)
        return -ENOMEM;
    r = sd_bus_message_enter_container(reply, 'a', "s");
    while (r > 0 && n < q->n_ids) {
        r = sd_bus_message_read_basic(reply, 's', &ids[n]);
        if (r > 0 && !was_asked(q, ids[n++]))
            r = -EBADMSG;
    }
    if (r < 0)
        return -EBADMSG;
    request_finish(q, 0, &result, NULL);
    return 0;
}

/* The MAC is of this login, so it is made when that is there. */
static int acknowledge(RelaysRequest *q)
{
    Connection *c = q->connection;
    sd_bus_message *call = NULL;
    uint8_t mac[SHA256_SIZE];
    char id[HASH_TEXT_SIZE];
    int r;

    if (!c->ack_key)
        return HMSG_ERROR_RELAY_UNAVAILABLE;
    r = ack_mac(c->ack_key, c->address.pin, q->ids, q->n_ids, mac);
    if (r == 0)
        r = request_call_new(q, "Acknowledge", &call);
    if (r != 0)
        return r;
    r = sd_bus_message_open_container(call, 'a', "s");
    for (size_t i = 0; i < q->n_ids && r >= 0; i++) {
        base64url_encode(q->ids + i * ID_SIZE, ID_SIZE, id);
        r = sd_bus_message_append_basic(call, 's', id);
    }
    if (r >= 0)
        r = sd_bus_message_close_container(call);
    if (r >= 0)
        r = sd_bus_message_append_array(call, 'y', mac, sizeof(mac));
    return request_call(q, call, r, false, on_acknowledged);
}

int relays_acknowledge(Relays *r, const char *relay, const char *const *ids, size_t n, relays_done_t done,
                       void *userdata, RelaysRequest **ret)
{
    RelaysRequest *q;
    int e;

    if (n == 0 || n > ACKNOWLEDGE_IDS_MAX)
        return -EINVAL;
    e = mail_alloc(r, relay, NULL, done, userdata, &q);
    if (e != 0)
        return e;
    q->ids = calloc(n, ID_SIZE);
    q->n_ids = n;
    e = q->ids ? 0 : -ENOMEM;
    for (size_t i = 0; i < n && e == 0; i++)
        e = base64url_decode_exact(ids[i], strlen(ids[i]), q->ids + i * ID_SIZE, ID_SIZE);
    if (e != 0) {
        (void)relays_request_free(q);
        return e;
    }
    q->start = acknowledge;
    return mail_begin(q, ret);
}
