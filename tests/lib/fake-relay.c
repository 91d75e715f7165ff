/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/fake-relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define WINDOW_SIZE (1 << 24)

typedef struct Stream {
    gint32 id;
    char *method, *path;
    GHashTable *headers;
    GByteArray *body;   /* of the request */
    GByteArray *answer; /* what is still to be sent */
    bool answered, open, deferred, half;
} Stream;

typedef struct Peer {
    FakeRelay *relay;
    int fd;
    SSL *ssl;
    nghttp2_session *session;
    GHashTable *streams;
    bool shaken, gone, leave; /* leave: when all is sent */
} Peer;

typedef struct Answer {
    FakeAnswer a;
    char *type, *name, *value;
    GByteArray *body;
} Answer;

struct FakeRelay {
    GMutex lock;
    GThread *thread;
    int listener, wake;
    bool stop, drop;
    SSL_CTX *ctx;
    RelayChain *chain;
    FakeRelayOptions options;
    char *host_port, *relay_name;
    GPtrArray *peers;
    GHashTable *answers; /* request -> Answer */
    GHashTable *bodies;  /* request -> GBytes */
    GHashTable *headers; /* request -> GHashTable */
    GByteArray *pushed;
    unsigned n_connections, n_requests;
    gsize n_bytes;
    guint8 exporter[32];
};

static void stream_free(gpointer data)
{
    Stream *s = data;

    g_free(s->method);
    g_free(s->path);
    g_hash_table_unref(s->headers);
    g_byte_array_unref(s->body);
    g_byte_array_unref(s->answer);
    g_free(s);
}

static void answer_free(gpointer data)
{
    Answer *a = data;

    g_free(a->type);
    g_free(a->name);
    g_free(a->value);
    g_byte_array_unref(a->body);
    g_free(a);
}

static void peer_free(gpointer data)
{
    Peer *p = data;

    nghttp2_session_del(p->session);
    SSL_free(p->ssl);
    close(p->fd);
    g_hash_table_unref(p->streams);
    g_free(p);
}

static Stream *stream_get(Peer *p, gint32 id)
{
    return g_hash_table_lookup(p->streams, GINT_TO_POINTER(id));
}

static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
                           nghttp2_data_source *source, void *userdata)
{
    Stream *s = source->ptr;
    size_t n = MIN(length, s->answer->len);

    memcpy(buf, s->answer->data, n);
    g_byte_array_remove_range(s->answer, 0, (guint)n);
    if (s->answer->len > 0)
        return (ssize_t)n;
    if (s->half)
        ((Peer *)userdata)->leave = true;
    if (s->open || s->half) {
        s->deferred = n == 0;
        return n == 0 ? NGHTTP2_ERR_DEFERRED : (ssize_t)n;
    }
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(guintptr)name, (uint8_t *)(guintptr)value, strlen(name), strlen(value),
                        NGHTTP2_NV_FLAG_NONE};
}

static void send_answer(Peer *p, Stream *s, const Answer *a)
{
    g_autofree char *status = g_strdup_printf("%u", a->a.status ? a->a.status : 200);
    g_autofree char *length = g_strdup_printf("%u", a->body->len);
    nghttp2_nv fields[4] = {field(":status", status)};
    nghttp2_data_provider provider = {.source.ptr = s, .read_callback = read_answer};
    size_t n = 1;

    if (a->type)
        fields[n++] = field("content-type", a->type);
    if (a->name)
        fields[n++] = field(a->name, a->value);
    if (!a->a.no_length && a->a.mode != FAKE_OPEN && a->body->len > 0)
        fields[n++] = field("content-length", length);
    s->half = a->a.mode == FAKE_HALF;
    s->open = a->a.mode == FAKE_OPEN;
    g_byte_array_append(s->answer, a->body->data, s->half ? a->body->len / 2 : a->body->len);
    g_assert_cmpint(
        nghttp2_submit_response(p->session, s->id, fields, n, a->body->len > 0 || s->open ? &provider : NULL),
        ==, 0);
}

static void answer(Peer *p, Stream *s, bool complete)
{
    static const Answer none = {.a.status = 404, .body = NULL};
    g_autofree char *request = g_strdup_printf("%s %s", s->method, s->path);
    const Answer *a = g_hash_table_lookup(p->relay->answers, request);
    Answer missing = none;

    if (s->answered || (!complete && (!a || a->a.mode != FAKE_EARLY)))
        return;
    s->answered = true;
    p->relay->n_requests++;
    g_hash_table_replace(p->relay->bodies, g_strdup(request), g_bytes_new(s->body->data, s->body->len));
    g_hash_table_replace(p->relay->headers, g_strdup(request), g_hash_table_ref(s->headers));
    if (!a) {
        missing.body = g_byte_array_new();
        send_answer(p, s, &missing);
        g_byte_array_unref(missing.body);
        return;
    }
    if (a->a.mode == FAKE_DROP)
        p->gone = true;
    else if (a->a.mode == FAKE_RESET)
        nghttp2_submit_rst_stream(p->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_INTERNAL_ERROR);
    else if (a->a.mode != FAKE_STALL)
        send_answer(p, s, a);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
    Peer *p = userdata;
    Stream *s = g_new0(Stream, 1);

    s->id = frame->hd.stream_id;
    s->headers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    s->body = g_byte_array_new();
    s->answer = g_byte_array_new();
    g_hash_table_replace(p->streams, GINT_TO_POINTER(s->id), s);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t n_name,
                     const uint8_t *value, size_t n_value, uint8_t flags, void *userdata)
{
    Stream *s = stream_get(userdata, frame->hd.stream_id);
    g_autofree char *key = g_strndup((const char *)name, n_name);
    char *text = g_strndup((const char *)value, n_value);

    if (g_str_equal(key, ":method"))
        s->method = text;
    else if (g_str_equal(key, ":path"))
        s->path = text;
    else
        g_hash_table_replace(s->headers, g_steal_pointer(&key), text);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
                   void *userdata)
{
    Stream *s = stream_get(userdata, id);

    if (s)
        g_byte_array_append(s->body, data, (guint)n);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
    Peer *p = userdata;
    Stream *s = stream_get(p, frame->hd.stream_id);

    if (s && (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA))
        answer(p, s, frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *userdata)
{
    g_hash_table_remove(((Peer *)userdata)->streams, GINT_TO_POINTER(id));
    return 0;
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t n, int flags, void *userdata)
{
    Peer *p = userdata;
    int k = SSL_write(p->ssl, data, (int)MIN(n, 16384));

    if (k > 0)
        return k;
    k = SSL_get_error(p->ssl, k);
    return k == SSL_ERROR_WANT_READ || k == SSL_ERROR_WANT_WRITE ? NGHTTP2_ERR_WOULDBLOCK
                                                                 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void peer_begin(Peer *p)
{
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100},
                                               {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_SIZE}};
    nghttp2_session_callbacks *cb;

    p->shaken = true;
    p->relay->n_connections++;
    g_assert_true(SSL_export_keying_material(p->ssl, p->relay->exporter, sizeof(p->relay->exporter),
                                             "EXPORTER-Channel-Binding", 24, NULL, 0, 1));
    g_assert_cmpint(nghttp2_session_callbacks_new(&cb), ==, 0);
    nghttp2_session_callbacks_set_send_callback(cb, on_send);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    g_assert_cmpint(nghttp2_session_server_new(&p->session, cb, p), ==, 0);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(p->session, NGHTTP2_FLAG_NONE, settings, G_N_ELEMENTS(settings));
    nghttp2_session_set_local_window_size(p->session, NGHTTP2_FLAG_NONE, 0, WINDOW_SIZE);
}

static void peer_read(Peer *p)
{
    guint8 data[16384];
    int n = 0;

    if (!p->shaken) {
        n = SSL_accept(p->ssl);
        if (n == 1)
            peer_begin(p);
        else if (SSL_get_error(p->ssl, n) != SSL_ERROR_WANT_READ &&
                 SSL_get_error(p->ssl, n) != SSL_ERROR_WANT_WRITE)
            p->gone = true;
    }
    while (p->shaken && !p->gone && (n = SSL_read(p->ssl, data, sizeof(data))) > 0) {
        p->relay->n_bytes += (gsize)n;
        if (nghttp2_session_mem_recv(p->session, data, (size_t)n) < 0)
            p->gone = true;
    }
    if (p->shaken && !p->gone) {
        n = SSL_get_error(p->ssl, n);
        if (n != SSL_ERROR_WANT_READ && n != SSL_ERROR_WANT_WRITE)
            p->gone = true;
    }
}

static void peer_accept(FakeRelay *r)
{
    int fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    Peer *p;

    if (fd < 0)
        return;
    g_assert_cmpuint(r->peers->len, <, CONNECTIONS_MAX);
    p = g_new0(Peer, 1);
    p->relay = r;
    p->fd = fd;
    p->ssl = SSL_new(r->ctx);
    p->streams = g_hash_table_new_full(NULL, NULL, NULL, stream_free);
    SSL_set_fd(p->ssl, fd);
    SSL_set_accept_state(p->ssl);
    g_ptr_array_add(r->peers, p);
}

static void push(FakeRelay *r)
{
    for (guint i = 0; i < r->peers->len; i++) {
        Peer *p = g_ptr_array_index(r->peers, i);
        GHashTableIter it;
        gpointer value;

        g_hash_table_iter_init(&it, p->streams);
        while (g_hash_table_iter_next(&it, NULL, &value)) {
            Stream *s = value;

            if (!s->open)
                continue;
            g_byte_array_append(s->answer, r->pushed->data, r->pushed->len);
            if (s->deferred) {
                s->deferred = false;
                nghttp2_session_resume_data(p->session, s->id);
            }
        }
    }
    g_byte_array_set_size(r->pushed, 0);
}

static bool peer_work(Peer *p, short events)
{
    if (events)
        peer_read(p);
    if (p->session && !p->gone && nghttp2_session_send(p->session) != 0)
        p->gone = true;
    return !p->gone && !p->relay->drop && !(p->leave && !nghttp2_session_want_write(p->session));
}

static gpointer run(gpointer data)
{
    FakeRelay *r = data;

    g_mutex_lock(&r->lock);
    while (!r->stop) {
        struct pollfd fds[CONNECTIONS_MAX + 2] = {{r->listener, POLLIN, 0}, {r->wake, POLLIN, 0}};
        guint n = r->peers->len;
        guint64 count;

        for (guint i = 0; i < n; i++) {
            Peer *p = g_ptr_array_index(r->peers, i);

            fds[i + 2] = (struct pollfd){p->fd, POLLIN, 0};
            if (p->session && nghttp2_session_want_write(p->session))
                fds[i + 2].events |= POLLOUT;
        }
        g_mutex_unlock(&r->lock);
        (void)poll(fds, n + 2, -1);
        g_mutex_lock(&r->lock);
        if (fds[1].revents)
            (void)!read(r->wake, &count, sizeof(count));
        if (r->pushed->len > 0)
            push(r);
        for (guint i = n; i-- > 0;)
            if (!peer_work(g_ptr_array_index(r->peers, i), fds[i + 2].revents))
                g_ptr_array_remove_index(r->peers, i);
        r->drop = false;
        if (fds[0].revents)
            peer_accept(r);
    }
    g_mutex_unlock(&r->lock);
    return NULL;
}

static int choose(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in,
                  unsigned n_in, void *userdata)
{
    FakeRelay *r = userdata;

    if (r->options.no_alpn)
        return SSL_TLSEXT_ERR_NOACK;
    return nghttp2_select_next_protocol((unsigned char **)(guintptr)out, n, in, n_in) == 1
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void make_context(FakeRelay *r)
{
    r->ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_security_level(r->ctx, 0); /* certificates that no true relay has */
    SSL_CTX_set_mode(r->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    g_assert_true(SSL_CTX_use_certificate(r->ctx, sk_X509_value(r->chain->certificates, 0)));
    for (int i = 1; i < sk_X509_num(r->chain->certificates); i++)
        g_assert_true(SSL_CTX_add1_chain_cert(r->ctx, sk_X509_value(r->chain->certificates, i)));
    SSL_CTX_set_mode(r->ctx, SSL_MODE_NO_AUTO_CHAIN);
    g_assert_true(SSL_CTX_use_PrivateKey(r->ctx, r->chain->leaf_key));
    if (r->options.tls12)
        SSL_CTX_set_max_proto_version(r->ctx, TLS1_2_VERSION);
    SSL_CTX_set_alpn_select_cb(r->ctx, choose, r);
}

FakeRelay *fake_relay_new(const FakeRelayOptions *options)
{
    FakeRelay *r = g_new0(FakeRelay, 1);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    if (options)
        r->options = *options;
    r->chain = relay_chain_new(r->options.chain);
    make_context(r);
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(r->listener, (struct sockaddr *)&address, size), ==, 0);
    g_assert_cmpint(listen(r->listener, SOMAXCONN), ==, 0);
    g_assert_cmpint(getsockname(r->listener, (struct sockaddr *)&address, &size), ==, 0);
    r->host_port = g_strdup_printf("127.0.0.1:%u", ntohs(address.sin_port));
    r->relay_name = g_strdup_printf("%s#%s", r->host_port, r->chain->pin_text);
    r->wake = eventfd(0, EFD_CLOEXEC);
    r->peers = g_ptr_array_new_with_free_func(peer_free);
    r->answers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, answer_free);
    r->bodies = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
    r->headers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_hash_table_unref);
    r->pushed = g_byte_array_new();
    g_mutex_init(&r->lock);
    r->thread = g_thread_new("fake-relay", run, r);
    return r;
}

static void wake(FakeRelay *r)
{
    const guint64 one = 1;

    g_assert_cmpint(write(r->wake, &one, sizeof(one)), ==, sizeof(one));
}

void fake_relay_free(FakeRelay *r)
{
    g_mutex_lock(&r->lock);
    r->stop = true;
    g_mutex_unlock(&r->lock);
    wake(r);
    g_thread_join(r->thread);
    g_ptr_array_unref(r->peers);
    g_hash_table_unref(r->answers);
    g_hash_table_unref(r->bodies);
    g_hash_table_unref(r->headers);
    g_byte_array_unref(r->pushed);
    SSL_CTX_free(r->ctx);
    relay_chain_free(r->chain);
    close(r->listener);
    close(r->wake);
    g_free(r->host_port);
    g_free(r->relay_name);
    g_mutex_clear(&r->lock);
    g_free(r);
}

const char *fake_relay_name(const FakeRelay *r)
{
    return r->relay_name;
}

const char *fake_relay_host_port(const FakeRelay *r)
{
    return r->host_port;
}

const RelayChain *fake_relay_chain(const FakeRelay *r)
{
    return r->chain;
}

void fake_relay_set(FakeRelay *r, const char *request, const FakeAnswer *a)
{
    Answer *copy = g_new0(Answer, 1);

    copy->a = *a;
    copy->type = g_strdup(a->type);
    copy->name = g_strdup(a->name);
    copy->value = g_strdup(a->value);
    copy->body = g_byte_array_new();
    if (a->body)
        g_byte_array_append(copy->body, a->body, a->size < 0 ? (guint)strlen(a->body) : (guint)a->size);
    g_mutex_lock(&r->lock);
    g_hash_table_replace(r->answers, g_strdup(request), copy);
    g_mutex_unlock(&r->lock);
}

void fake_relay_set_json(FakeRelay *r, const char *request, unsigned status, const char *json)
{
    const FakeAnswer a = {.status = status, .type = "application/json", .body = json, .size = -1};

    fake_relay_set(r, request, &a);
}

void fake_relay_push(FakeRelay *r, const char *text, gsize n)
{
    g_mutex_lock(&r->lock);
    g_byte_array_append(r->pushed, (const guint8 *)text, (guint)n);
    g_mutex_unlock(&r->lock);
    wake(r);
}

void fake_relay_drop(FakeRelay *r)
{
    g_mutex_lock(&r->lock);
    r->drop = true;
    g_mutex_unlock(&r->lock);
    wake(r);
}

#define LOCKED(type, expression)                                                                             \
    g_mutex_lock(&r->lock);                                                                                  \
    type locked_ = (expression);                                                                             \
    g_mutex_unlock(&r->lock);                                                                                \
    return locked_

unsigned fake_relay_connections(FakeRelay *r)
{
    LOCKED(unsigned, r->n_connections);
}

unsigned fake_relay_requests(FakeRelay *r)
{
    LOCKED(unsigned, r->n_requests);
}

gsize fake_relay_bytes(FakeRelay *r)
{
    LOCKED(gsize, r->n_bytes);
}

static unsigned count_open(FakeRelay *r)
{
    unsigned n = 0;

    for (guint i = 0; i < r->peers->len; i++) {
        GHashTableIter it;
        gpointer value;

        g_hash_table_iter_init(&it, ((Peer *)g_ptr_array_index(r->peers, i))->streams);
        while (g_hash_table_iter_next(&it, NULL, &value))
            n += ((Stream *)value)->open;
    }
    return n;
}

unsigned fake_relay_open(FakeRelay *r)
{
    LOCKED(unsigned, count_open(r));
}

void fake_relay_exporter(FakeRelay *r, guint8 ret[static 32])
{
    g_mutex_lock(&r->lock);
    memcpy(ret, r->exporter, sizeof(r->exporter));
    g_mutex_unlock(&r->lock);
}

static GBytes *find_body(FakeRelay *r, const char *request)
{
    GBytes *b = g_hash_table_lookup(r->bodies, request);

    return b ? g_bytes_ref(b) : NULL;
}

GBytes *fake_relay_body(FakeRelay *r, const char *request)
{
    LOCKED(GBytes *, find_body(r, request));
}

static char *find_header(FakeRelay *r, const char *request, const char *name)
{
    GHashTable *h = g_hash_table_lookup(r->headers, request);

    return h ? g_strdup(g_hash_table_lookup(h, name)) : NULL;
}

char *fake_relay_header(FakeRelay *r, const char *request, const char *name)
{
    LOCKED(char *, find_header(r, request, name));
}
