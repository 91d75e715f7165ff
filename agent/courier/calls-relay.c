/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "agent/courier/answer.h"
#include "agent/courier/call.h"
#include "agent/courier/calls.h"

/* A relay that is asked for its key, on a connection of its own. */
struct Probe {
    Probe *prev, *next;
    Courier *courier;
    Connection *connection;
};

int bad_argument(sd_bus_error *error, const char *what)
{
    return refused(error, SD_BUS_ERROR_INVALID_ARGS, what);
}

static void probe_free(Probe *p)
{
    DL_DELETE(p->courier->probes, p);
    connection_free(p->connection);
    free(p);
}

void probes_free(Courier *c)
{
    while (c->probes)
        probe_free(c->probes);
}

static void probe_ended(void *userdata, const Problem *why)
{
    probe_free(userdata);
}

/* Whatever came of it: one call is all that this connection was for. */
void probe_finish(Probe *p)
{
    Problem why;

    problem_set(&why, PROBLEM_UNREACHABLE, "The connection was closed");
    connection_end(p->connection, &why);
}

/* They go on as they are: the agent checks them. */
static int append_successions(const json_t *answer, sd_bus_message *reply)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(SUCCESSIONS_SIZE_MAX);
    json_t *all = NULL;
    int r = 0;

    if (json_has(answer, "successions"))
        r = json_get_array(answer, "successions", &all);
    if (r == 0 && all)
        r = json_write(all, &text);
    return r == 0 ? appended(sd_bus_message_append(reply, "s", all ? buf_text(&text) : "")) : r;
}

static int finish_probe(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    const uint8_t *pin = connection_pin(c->probe->connection);
    const char *statement;
    int r;

    r = answer_get_jws(answer, "relay", &statement);
    if (r == 0 && !pin)
        r = -ENOTCONN;
    if (r == 0)
        r = appended(sd_bus_message_append_array(reply, 'y', pin, PIN_SIZE));
    if (r == 0)
        r = appended(sd_bus_message_append(reply, "s", statement));
    return r == 0 ? append_successions(answer, reply) : r;
}

static int probe_new(Courier *c, const Relay *relay, Probe **ret)
{
    Probe *p;
    int r;

    p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->courier = c;
    r = connection_new(c->event, c->tls_index, relay, true, probe_ended, p, &p->connection);
    if (r < 0) {
        free(p);
        return r;
    }
    DL_APPEND(c->probes, p);
    *ret = p;
    return 0;
}

int call_probe(Courier *c, sd_bus_message *m, const char *host_port, sd_bus_error *error)
{
    _cleanup_(request_freep) Request *q = NULL;
    Relay relay;
    Call *call;
    int r;

    r = relay_parse(host_port, &relay);
    if (r > 0 || (r == 0 && relay.has_pin))
        return bad_argument(error, "host_port is \"host:port\"");
    if (r == 0)
        r = request_new("GET", RELAY_BODY_SIZE_MAX, &q, "/v1/relay");
    if (r < 0)
        return failed(error, r);
    q->want_type = MEDIA_JSON;
    r = call_new_bare(c, m, &call, error);
    if (r < 0)
        return r;
    r = probe_new(c, &relay, &call->probe);
    if (r < 0) {
        call_free(call);
        return failed(error, r);
    }
    return call_send_on(call, call->probe->connection, TAKE_PTR(q), finish_probe, error);
}

int answer_to_relay(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    uint64_t message_bytes, attachment_bytes;
    const char *statement;
    int r;

    r = answer_get_jws(answer, "relay", &statement);
    if (r == 0)
        r = answer_get_u64(answer, "message_bytes", INT64_MAX, &message_bytes);
    if (r == 0)
        r = answer_get_u64(answer, "attachment_bytes", INT64_MAX, &attachment_bytes);
    if (r == 0)
        r = appended(sd_bus_message_append(reply, "stt", statement, message_bytes, attachment_bytes));
    return r;
}

int call_relay(Courier *c, sd_bus_message *m, const char *relay, sd_bus_error *error)
{
    return call_json(c, m, relay, false, "GET", NULL, answer_to_relay, error, "/v1/relay");
}

/* What belongs to this connection: the nonce, and the exporter. */
static int append_challenge(Call *c, const json_t *answer, const Buf *pop, sd_bus_message *reply)
{
    uint8_t nonce[NONCE_SIZE], exporter[EXPORTER_SIZE];
    int r;

    r = json_get_bytes(answer, "nonce", nonce, sizeof(nonce));
    if (r == 0)
        r = connection_exporter(peer_connection(c->peer), exporter);
    if (r == 0)
        r = appended(sd_bus_message_append_array(reply, 'y', nonce, sizeof(nonce)));
    if (r == 0 && pop)
        r = appended(sd_bus_message_append_array(reply, 'y', pop->data, pop->size));
    if (r == 0)
        r = appended(sd_bus_message_append_array(reply, 'y', exporter, sizeof(exporter)));
    if (r == 0)
        peer_set_gave_nonce(c->peer);
    return r;
}

static int finish_nonce(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    return append_challenge(c, answer, NULL, reply);
}

int call_nonce(Courier *c, sd_bus_message *m, const char *relay, sd_bus_error *error)
{
    return call_json(c, m, relay, false, "POST", json_object(), finish_nonce, error, "/v1/nonces");
}

static int finish_challenge(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    _cleanup_(buf_done) Buf pop = BUF_MAX(RSA_SIZE_MAX);
    int r;

    r = json_get_buf(answer, "pop", &pop);
    return r == 0 ? append_challenge(c, answer, &pop, reply) : r;
}

int call_challenge(Courier *c, sd_bus_message *m, const char *relay, const void *spki, size_t n,
                   sd_bus_error *error)
{
    json_t *body;

    if (n == 0 || n > SPKI_SIZE_MAX)
        return bad_argument(error, "decrypt_spki is the DER of a public key");
    body = json_object();
    if (json_put_bytes(body, "decrypt_spki", spki, n) < 0) {
        json_decref(body);
        return failed(error, -ENOMEM);
    }
    return call_json(c, m, relay, false, "POST", body, finish_challenge, error, "/v1/challenges");
}

static int finish_login(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    const char *response, *statement;
    int r;

    r = answer_get_jws(answer, "response", &response);
    if (r == 0)
        r = answer_get_jws(answer, "relay", &statement);
    if (r == 0)
        r = appended(sd_bus_message_append(reply, "ss", response, statement));
    if (r == 0)
        peer_set_logged_in(c->peer, true);
    return r;
}

int call_login(Courier *c, sd_bus_message *m, const char *relay, const char *request, sd_bus_error *error)
{
    json_t *body;

    if (!text_is_jws(request))
        return bad_argument(error, "request is a compact JWS");
    body = json_object();
    if (json_put_text(body, "request", request) < 0) {
        json_decref(body);
        return failed(error, -ENOMEM);
    }
    return call_json(c, m, relay, false, "POST", body, finish_login, error, "/v1/logins");
}
