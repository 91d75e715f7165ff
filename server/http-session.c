/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "server/http-internal.h"

/* Streams that a client may reset at once, and then in each second (CVE-2023-44487); or have us reset, for
 * something that it did wrong (CVE-2025-8671). */
#define RESET_BURST 200u
#define RESET_RATE 20u
#define CONTINUATIONS_MAX 4u
#define SETTINGS_ENTRIES_MAX 16u
#define ACKS_MAX 64u /* PING and SETTINGS that wait for their acknowledgement to be sent */
#define STREAM_WINDOW (256u * 1024u)
#define CONNECTION_WINDOW (1024u * 1024u)

static HttpRequest *request_of(nghttp2_session *session, int32_t stream)
{
    return nghttp2_session_get_stream_user_data(session, stream);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
    HttpConnection *c = userdata;
    HttpRequest *r = NULL;

    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (http_request_new(c, frame->hd.stream_id, &r) < 0)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, r) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags, void *userdata)
{
    HttpRequest *r = request_of(session, frame->hd.stream_id);

    /* trailers are not looked at */
    if (!r || frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    return http_request_add_header(r, (const char *)name, name_size, (const char *)value, value_size) < 0
               ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
               : 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
    HttpConnection *c = userdata;
    HttpRequest *r;

    if (frame->hd.type == NGHTTP2_SETTINGS)
        c->greeted = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    r = request_of(session, frame->hd.stream_id);
    if (!r)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        http_request_headers_done(r);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        http_request_body_done(r);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t n,
                   void *userdata)
{
    HttpRequest *r = request_of(session, stream);

    if (r)
        http_request_data_in(r, data, n);
    return 0;
}

/* nghttp2 counts what the client resets, but not what it has us reset. */
static void count_reset(HttpConnection *c)
{
    const uint64_t step = 1000000u / RESET_RATE;
    uint64_t now = clock_boottime();

    if (c->resets_due < now)
        c->resets_due = now;
    c->resets_due += step;
    if (c->resets_due > now + RESET_BURST * step)
        (void)nghttp2_session_terminate_session(c->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error, void *userdata)
{
    HttpConnection *c = userdata;
    HttpRequest *r = request_of(session, stream);

    if (r)
        http_request_detach(r);
    if (error != NGHTTP2_NO_ERROR)
        count_reset(c);
    if (!c->requests)
        c->since = clock_boottime();
    return 0;
}

static int make_callbacks(nghttp2_session_callbacks **ret)
{
    nghttp2_session_callbacks *c = NULL;

    if (nghttp2_session_callbacks_new(&c) != 0)
        return -ENOMEM;
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
    *ret = c;
    return 0;
}

static int make_option(nghttp2_option **ret)
{
    nghttp2_option *o = NULL;

    if (nghttp2_option_new(&o) != 0)
        return -ENOMEM;
    nghttp2_option_set_stream_reset_rate_limit(o, RESET_BURST, RESET_RATE);
    nghttp2_option_set_max_continuations(o, CONTINUATIONS_MAX);
    nghttp2_option_set_max_settings(o, SETTINGS_ENTRIES_MAX);
    nghttp2_option_set_max_outbound_ack(o, ACKS_MAX);
    nghttp2_option_set_no_closed_streams(o, 1); /* less memory */
    *ret = o;
    return 0;
}

static int greet(nghttp2_session *session)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, HTTP_STREAMS_MAX},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEADERS_SIZE_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };

    if (nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, ELEMENTSOF(settings)) != 0 ||
        nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) != 0)
        return -EIO;
    return 0;
}

int http_session_new(HttpConnection *c)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int r;

    r = make_callbacks(&callbacks);
    if (r == 0)
        r = make_option(&option);
    if (r == 0 && nghttp2_session_server_new2(&c->session, callbacks, c, option) != 0)
        r = -ENOMEM;
    if (r == 0)
        r = greet(c->session);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return r;
}
