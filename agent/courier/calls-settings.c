/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/courier/answer.h"
#include "agent/courier/call.h"
#include "agent/courier/calls.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/mailbox-settings.h"

#define PATH "/v1/mailbox/settings"
#define RULE_SIZE (1u + KID_SIZE)

int answer_to_settings(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    uint64_t revision, lifetime, longest;
    int r;

    r = answer_get_u64(answer, "revision", GENERATION_MAX, &revision);
    if (r == 0)
        r = answer_get_u64(answer, "lifetime", MESSAGE_EXPIRY_MAX, &lifetime);
    if (r == 0)
        r = answer_get_u64(answer, "lifetime_max", MESSAGE_EXPIRY_MAX, &longest);
    return r == 0 ? appended(sd_bus_message_append(reply, "ttt", revision, lifetime, longest)) : r;
}

int call_settings(Courier *c, sd_bus_message *m, const char *relay, sd_bus_error *error)
{
    return call_json(c, m, relay, true, "GET", NULL, answer_to_settings, error, PATH);
}

/* HMSG_ERROR_INVALID_ARGS */
static int read_settings(const CourierSettings *in, MailboxSettings *ret)
{
    const uint8_t *at = in->senders;

    if (in->size % RULE_SIZE != 0 || in->size > SENDER_RULES_MAX * RULE_SIZE || in->mac_size != SHA256_SIZE ||
        in->revision == 0)
        return HMSG_ERROR_INVALID_ARGS;
    *ret = (MailboxSettings){.revision = in->revision, .lifetime = in->lifetime};
    ret->senders = calloc(in->size / RULE_SIZE + 1, sizeof(*ret->senders));
    if (!ret->senders)
        return -ENOMEM;
    for (; ret->n_senders < in->size / RULE_SIZE; at += RULE_SIZE) {
        SenderRule *rule = &ret->senders[ret->n_senders++];

        if (at[0] > 1)
            return HMSG_ERROR_INVALID_ARGS;
        rule->allowed = at[0] != 0;
        memcpy(rule->skid, at + 1, KID_SIZE);
    }
    return mailbox_settings_check(ret);
}

static int write_body(const MailboxSettings *s, const CourierSettings *in, Buf *ret)
{
    _cleanup_(json_decrefp) json_t *body = json_object();
    int r = mailbox_settings_put(s, body);

    if (r == 0)
        r = json_put_bytes(body, "mac", in->mac, in->mac_size);
    return r == 0 ? json_write(body, ret) : r;
}

static int finish_set(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    return 0;
}

int call_set_settings(Courier *c, sd_bus_message *m, const char *relay, const CourierSettings *in,
                      sd_bus_error *error)
{
    _cleanup_(mailbox_settings_done) MailboxSettings s = {0};
    _cleanup_(call_freep) Call *call = NULL;
    _cleanup_(request_freep) Request *q = NULL;
    int r;

    r = read_settings(in, &s);
    if (r > 0)
        return bad_argument(error,
                            "Settings are a revision from 1 on, a lifetime of 3600 to 2592000 seconds or "
                            "0, at most 1000 senders of 33 bytes, each once, and a mac of 32");
    if (r == 0)
        r = call_new(c, m, relay, true, &call, error);
    if (r < 0)
        return r;
    r = request_new("PUT", RELAY_BODY_SIZE_MAX, &q, PATH);
    if (r == 0)
        r = write_body(&s, in, &q->body);
    if (r < 0)
        return failed(error, r);
    return call_send(TAKE_PTR(call), TAKE_PTR(q), finish_set, error);
}
