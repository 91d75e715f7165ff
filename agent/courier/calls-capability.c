/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "agent/courier/answer.h"
#include "agent/courier/call.h"
#include "agent/courier/calls.h"
#include "libhmsg/base/error.h"

#define CAPABILITIES_SIZE_MAX (160u * 1024u) /* the answer with CAPABILITIES_MAX of them */

int answer_to_grant(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    uint64_t number;
    int r;

    r = answer_get_u64(answer, "number", GENERATION_MAX, &number);
    return r == 0 ? appended(sd_bus_message_append(reply, "t", number)) : r;
}

int call_grant(Courier *c, sd_bus_message *m, const char *relay, const CourierGrant *g, sd_bus_error *error)
{
    json_t *body;
    int r;

    if (g->hash_size != SHA256_SIZE || g->mac_size != SHA256_SIZE)
        return bad_argument(error, "hash and mac are 32 bytes");
    if (g->uses == 0 || g->uses > CAPABILITY_USES_MAX || g->expires > TIME_MAX)
        return bad_argument(error, "uses is 1 to 1000000, expires a time in seconds since 1970");
    body = json_object();
    r = json_put_bytes(body, "hash", g->hash, g->hash_size);
    if (r == 0)
        r = json_put_number(body, "uses", (int64_t)g->uses);
    if (r == 0)
        r = json_put_number(body, "expires", (int64_t)g->expires);
    if (r == 0)
        r = json_put_bytes(body, "mac", g->mac, g->mac_size);
    if (r != 0) {
        json_decref(body);
        body = NULL;
    }
    return call_json(c, m, relay, true, "POST", body, answer_to_grant, error, "/v1/mailbox/capabilities");
}

static int append_capability(const json_t *item, sd_bus_message *reply)
{
    uint64_t number, uses, created, expires;
    int r;

    r = answer_get_u64(item, "number", GENERATION_MAX, &number);
    if (r == 0)
        r = answer_get_u64(item, "uses", CAPABILITY_USES_MAX, &uses);
    if (r == 0)
        r = answer_get_u64(item, "created", TIME_MAX, &created);
    if (r == 0)
        r = answer_get_u64(item, "expires", TIME_MAX, &expires);
    return r == 0 ? appended(sd_bus_message_append(reply, "(tttt)", number, uses, created, expires)) : r;
}

int answer_to_capabilities(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    const json_t *item;
    json_t *list = NULL;
    size_t i;
    int r;

    r = json_get_array(answer, "capabilities", &list);
    if (r != 0)
        return r;
    if (json_array_size(list) > CAPABILITIES_MAX)
        return HMSG_ERROR_BAD_PACKAGE;
    r = appended(sd_bus_message_open_container(reply, 'a', "(tttt)"));
    json_array_foreach (list, i, item)
        if (r == 0)
            r = append_capability(item, reply);
    return r == 0 ? appended(sd_bus_message_close_container(reply)) : r;
}

int call_capabilities(Courier *c, sd_bus_message *m, const char *relay, sd_bus_error *error)
{
    _cleanup_(call_freep) Call *call = NULL;
    Request *q;
    int r;

    r = call_new(c, m, relay, true, &call, error);
    if (r < 0)
        return r;
    r = request_new("GET", CAPABILITIES_SIZE_MAX, &q, "/v1/mailbox/capabilities");
    if (r < 0)
        return failed(error, r);
    q->want_type = MEDIA_JSON;
    return call_send(TAKE_PTR(call), q, answer_to_capabilities, error);
}

static int finish_revoke(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    return 0;
}

int call_revoke(Courier *c, sd_bus_message *m, const char *relay, uint64_t number, const void *mac, size_t n,
                sd_bus_error *error)
{
    _cleanup_(call_freep) Call *call = NULL;
    _cleanup_(request_freep) Request *q = NULL;
    json_t *body;
    int r;

    if (n != SHA256_SIZE || number == 0 || number > GENERATION_MAX)
        return bad_argument(error, "mac is 32 bytes, and number one that the relay gave");
    r = call_new(c, m, relay, true, &call, error);
    if (r < 0)
        return r;
    r = request_new("POST", RELAY_BODY_SIZE_MAX, &q, "/v1/mailbox/capabilities/revocations");
    if (r < 0)
        return failed(error, r);
    body = json_object();
    r = json_put_number(body, "number", (int64_t)number);
    if (r == 0)
        r = json_put_bytes(body, "mac", mac, n);
    if (r == 0)
        r = json_write(body, &q->body);
    json_decref(body);
    if (r < 0)
        return failed(error, r);
    return call_send(TAKE_PTR(call), TAKE_PTR(q), finish_revoke, error);
}
