/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/courier/connection.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/courier/connection-internal.h"
#include "libhmsg/base/clock.h"

#define USEC_PER_SEC UINT64_C(1000000)
#define IDLE_SECONDS_MAX (10L * 365 * 86400) /* curl's own time for an idle connection is two minutes */

static void request_finish(Request *q, const Problem *problem)
{
    Connection *c = q->connection;

    (void)curl_multi_remove_handle(c->multi, q->easy);
    DL_DELETE(c->requests, q);
    q->done(q, problem);
    request_free(q);
}

static void finish_all(Connection *c)
{
    while (c->requests)
        request_finish(c->requests, &c->why);
}

void connection_look(Connection *c)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(c->multi, &left))) {
        CURLcode code = m->data.result;
        Request *q = NULL;
        Problem problem;
        bool good, lost;

        if (m->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &q);
        lost = request_judge(q, code, &good, &problem);
        if (lost)
            connection_end(c, &problem);
        /* why it ended says more than what curl felt of it */
        if (lost || (code != CURLE_OK && c->has_ended && q->failure == 0))
            problem = c->why;
        request_finish(q, good ? NULL : &problem);
    }
}

static int on_end(sd_event_source *source, void *userdata)
{
    connection_settle(userdata);
    return 0;
}

void connection_settle(Connection *c)
{
    Problem why = c->why;

    if (!c->has_ended)
        return;
    (void)sd_event_source_set_enabled(c->end, SD_EVENT_OFF);
    finish_all(c);
    c->ended(c->userdata, &why);
}

void connection_end(Connection *c, const Problem *why)
{
    if (c->has_ended)
        return;
    c->has_ended = true;
    c->why = *why;
    if (c->end)
        (void)sd_event_source_set_enabled(c->end, SD_EVENT_ONESHOT);
}

bool connection_has_ended(const Connection *c)
{
    return c->has_ended;
}

static int prepare_multi(Connection *c)
{
    CURLMcode r = CURLM_OK;

    c->multi = curl_multi_init();
    if (!c->multi)
        return -ENOMEM;
    r |= curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    r |= curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, 1L);
    r |= curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 1L);
    return r == CURLM_OK && connection_socket_prepare_multi(c) ? 0 : -ENOMEM;
}

int connection_new(sd_event *event, int tls_index, const Relay *relay, bool any_pin, connection_ended_t ended,
                   void *userdata, Connection **ret)
{
    _cleanup_(connection_freep) Connection *c = NULL;
    int r;

    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->event = sd_event_ref(event);
    c->tls_index = tls_index;
    c->any_pin = any_pin;
    c->has_pin = relay->has_pin;
    memcpy(c->pin, relay->pin, PIN_SIZE);
    c->ended = ended;
    c->userdata = userdata;
    (void)snprintf(c->origin, sizeof(c->origin), "https://%s:%u", relay->host, (unsigned)relay->port);
    r = prepare_multi(c);
    if (r == 0)
        r = sd_event_add_defer(event, &c->end, on_end, c);
    if (r >= 0)
        r = sd_event_source_set_enabled(c->end, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(c);
    return 0;
}

Connection *connection_free(Connection *c)
{
    Problem why;

    if (!c)
        return NULL;
    problem_set(&why, PROBLEM_UNREACHABLE, "The connection was closed");
    connection_end(c, &why);
    finish_all(c);
    (void)curl_multi_cleanup(c->multi);
    connection_socket_free(c);
    sd_event_source_disable_unref(c->end);
    sd_event_unref(c->event);
    free(c);
    return NULL;
}

/* No proxy, no redirect, no other protocol, nothing from files: only this relay. */
static bool prepare_easy(Connection *c, CURL *easy)
{
    CURLcode r = CURLE_OK;

    r |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
    r |= curl_easy_setopt(easy, CURLOPT_PROXY, "");
    r |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    r |= curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    r |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    r |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    r |= curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    r |= curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, IDLE_SECONDS_MAX);
    return r == CURLE_OK && connection_tls_prepare(c, easy) && connection_socket_prepare(c, easy);
}

int connection_send(Connection *c, Request *q)
{
    int r;

    if (c->has_ended)
        return -EPIPE;
    r = request_prepare(q, c, c->origin);
    if (r < 0)
        return r;
    if (!prepare_easy(c, q->easy) || curl_multi_add_handle(c->multi, q->easy) != CURLM_OK)
        return -ENOMEM;
    DL_APPEND(c->requests, q);
    return 0;
}

void connection_moved(Connection *c)
{
    c->moved = clock_boottime();
}

bool connection_stands_still(const Connection *c)
{
    return clock_boottime() - c->moved >= CALL_SECONDS * USEC_PER_SEC;
}
