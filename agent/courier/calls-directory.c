/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/courier/answer.h"
#include "agent/courier/call.h"
#include "agent/courier/calls.h"

int answer_to_register(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    const char *binding, *statement;
    int r;

    r = answer_get_jws(answer, "binding", &binding);
    if (r == 0)
        r = answer_get_jws(answer, "relay", &statement);
    if (r == 0)
        r = appended(sd_bus_message_append(reply, "ss", binding, statement));
    return r;
}

/* What Register and Rotate have in common. */
static int make_application(const char *statement, const char *request, const void *answer, size_t n,
                            json_t **ret, sd_bus_error *error)
{
    json_t *body;
    int r;

    if (!text_is_jws(statement) || !text_is_jws(request))
        return bad_argument(error, "statement and request are compact JWS");
    if (n != SHA256_SIZE)
        return bad_argument(error, "answer is 32 bytes");
    body = json_object();
    r = json_put_text(body, "statement", statement);
    if (r == 0)
        r = json_put_text(body, "request", request);
    if (r == 0)
        r = json_put_bytes(body, "answer", answer, n);
    if (r < 0) {
        json_decref(body);
        return failed(error, r);
    }
    *ret = body;
    return 0;
}

int call_register(Courier *c, sd_bus_message *m, const char *relay, const char *statement,
                  const char *request, const void *answer, size_t n, const char *invite, const char *chain,
                  sd_bus_error *error)
{
    json_t *body = NULL, *links = NULL;
    int r;

    if (invite && strlen(invite) > INVITE_SIZE_MAX)
        return bad_argument(error, "The invitation is too long");
    if (chain &&
        (strlen(chain) > ROTATION_BODY_SIZE_MAX || json_parse_array(chain, strlen(chain), &links) != 0))
        return bad_argument(error, "chain is a JSON array");
    r = make_application(statement, request, answer, n, &body, error);
    if (r < 0) {
        json_decref(links);
        return r;
    }
    if (links)
        r = json_put(body, "chain", links);
    if (r == 0 && invite)
        r = json_put_text(body, "invite", invite);
    if (r < 0) {
        json_decref(body);
        return failed(error, -ENOMEM);
    }
    return call_json(c, m, relay, false, "POST", body, answer_to_register, error, "/v1/registrations");
}

int call_rotate(Courier *c, sd_bus_message *m, const char *relay, const char *statement, const char *request,
                const void *answer, size_t n, const char *steps, sd_bus_error *error)
{
    json_t *body = NULL, *array = NULL;
    int r;

    if (strlen(steps) > ROTATION_BODY_SIZE_MAX || json_parse_array(steps, strlen(steps), &array) != 0)
        return bad_argument(error, "steps is a JSON array");
    r = make_application(statement, request, answer, n, &body, error);
    if (r < 0) {
        json_decref(array);
        return r;
    }
    if (json_put(body, "steps", array) < 0) {
        json_decref(body);
        return failed(error, -ENOMEM);
    }
    return call_json(c, m, relay, false, "POST", body, answer_to_register, error, "/v1/rotations");
}

static int finish_unregister(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    return 0;
}

int call_unregister(Courier *c, sd_bus_message *m, const char *relay, const char *request,
                    sd_bus_error *error)
{
    _cleanup_(call_freep) Call *call = NULL;
    _cleanup_(request_freep) Request *q = NULL;
    json_t *body;
    int r;

    if (!text_is_jws(request))
        return bad_argument(error, "request is a compact JWS");
    r = call_new(c, m, relay, false, &call, error);
    if (r < 0)
        return r;
    r = request_new("POST", RELAY_BODY_SIZE_MAX, &q, "/v1/unregistrations");
    body = json_object();
    if (r == 0)
        r = json_put_text(body, "request", request);
    if (r == 0)
        r = json_write(body, &q->body);
    json_decref(body);
    if (r < 0)
        return failed(error, r);
    return call_send(TAKE_PTR(call), TAKE_PTR(q), finish_unregister, error);
}

/* The chain goes on as it is: whoever knows the keys checks it. */
static int append_chain(const json_t *answer, sd_bus_message *reply)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(ROTATION_ANSWER_SIZE_MAX);
    json_t *chain = NULL;
    int r = 0;

    if (!json_has(answer, "chain"))
        return appended(sd_bus_message_append(reply, "s", "[]"));
    r = json_get_array(answer, "chain", &chain);
    if (r == 0)
        r = json_write(chain, &text);
    return r == 0 ? appended(sd_bus_message_append(reply, "s", buf_text(&text))) : r;
}

int answer_to_lookup(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    const char *statement, *binding, *relay;
    int r;

    r = answer_get_jws(answer, "statement", &statement);
    if (r == 0)
        r = answer_get_jws(answer, "binding", &binding);
    if (r == 0)
        r = answer_get_jws(answer, "relay", &relay);
    if (r == 0)
        r = appended(sd_bus_message_append(reply, "sss", statement, binding, relay));
    return r == 0 ? append_chain(answer, reply) : r;
}

static int look_up(Courier *c, sd_bus_message *m, const char *relay, const char *kind, const char *key,
                   const char *from, sd_bus_error *error)
{
    _cleanup_(call_freep) Call *call = NULL;
    _cleanup_(request_freep) Request *q = NULL;
    int r;

    if (*from && !text_is_id(from))
        return bad_argument(error, "from is base64url of 32 bytes, or nothing");
    r = call_new(c, m, relay, false, &call, error);
    if (r < 0)
        return r;
    r = request_new("GET", *from ? ROTATION_ANSWER_SIZE_MAX : RELAY_BODY_SIZE_MAX, &q, "/v1/%s/%s%s%s", kind,
                    key, *from ? "?from=" : "", from);
    if (r < 0)
        return failed(error, r);
    q->want_type = MEDIA_JSON;
    return call_send(TAKE_PTR(call), TAKE_PTR(q), answer_to_lookup, error);
}

int call_lookup_name(Courier *c, sd_bus_message *m, const char *relay, const char *name, const char *from,
                     sd_bus_error *error)
{
    if (!name_valid(name))
        return bad_argument(error, "This is no name");
    return look_up(c, m, relay, "names", name, from, error);
}

int call_lookup_kid(Courier *c, sd_bus_message *m, const char *relay, const char *kid, const char *from,
                    sd_bus_error *error)
{
    if (!text_is_id(kid))
        return bad_argument(error, "kid is base64url of 32 bytes");
    return look_up(c, m, relay, "keys", kid, from, error);
}
