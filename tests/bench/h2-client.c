/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/h2-client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define ANSWER_SIZE_MAX (1u << 20)
#define RECORD_SIZE 16384

struct H2 {
    SSL *ssl;
    int fd;
    nghttp2_session *session;
    uint8_t exporter[EXPORTER_SIZE];
    bool may_go, gone;
    GPtrArray *uploads; /* of requests that are not done */
};

typedef struct Upload {
    const uint8_t *data;
    size_t left;
    H2Answer *answer;
} Upload;

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags, void *userdata)
{
    Upload *u = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (u && name_size == 7 && memcmp(name, ":status", 7) == 0)
        u->answer->status = (int)g_ascii_strtoull((const char *)value, NULL, 10);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t n,
                   void *userdata)
{
    Upload *u = nghttp2_session_get_stream_user_data(session, stream);
    return u && buf_append(&u->answer->body, data, n) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *userdata)
{
    Upload *u = nghttp2_session_get_stream_user_data(session, stream);
    if (u) {
        u->answer->done = true;
        g_ptr_array_remove_fast(((H2 *)userdata)->uploads, u);
    }
    return 0;
}

static ssize_t read_upload(nghttp2_session *session, int32_t stream, uint8_t *to, size_t n, uint32_t *flags,
                           nghttp2_data_source *source, void *userdata)
{
    Upload *u = source->ptr;
    n = MIN(n, u->left);
    memcpy(to, u->data, n);
    u->data += n;
    u->left -= n;
    if (u->left == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int open_socket(const char *host, uint16_t port)
{
    const int one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || inet_pton(AF_INET, host, &to.sin_addr) != 1 ||
        connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
        g_error("%s:%u: %s", host, port, g_strerror(errno));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static void start_tls(H2 *h)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    h->ssl = SSL_new(context);
    SSL_CTX_free(context);
    if (SSL_set_alpn_protos(h->ssl, (const unsigned char *)"\2h2", 3) != 0 ||
        SSL_set_fd(h->ssl, h->fd) != 1 || SSL_connect(h->ssl) != 1 ||
        SSL_export_keying_material(h->ssl, h->exporter, EXPORTER_SIZE, label, sizeof(label) - 1, NULL, 0,
                                   0) != 1)
        g_error("no TLS");
    (void)SSL_set_mode(h->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)fcntl(h->fd, F_SETFL, O_NONBLOCK);
}

H2 *h2_connect(const char *host, uint16_t port)
{
    H2 *h = g_new0(H2, 1);
    nghttp2_session_callbacks *callbacks = NULL;
    h->uploads = g_ptr_array_new_with_free_func(g_free);
    h->fd = open_socket(host, port);
    start_tls(h);
    g_assert_cmpint(nghttp2_session_callbacks_new(&callbacks), ==, 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    g_assert_cmpint(nghttp2_session_client_new(&h->session, callbacks, h), ==, 0);
    nghttp2_session_callbacks_del(callbacks);
    g_assert_cmpint(nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, NULL, 0), ==, 0);
    h2_work(h);
    return h;
}

void h2_close(H2 *h)
{
    nghttp2_session_del(h->session);
    g_ptr_array_unref(h->uploads);
    SSL_free(h->ssl);
    (void)fd_close(h->fd);
    g_free(h);
}

const uint8_t *h2_exporter(const H2 *h)
{
    return h->exporter;
}

int h2_fd(const H2 *h)
{
    return h->fd;
}

static nghttp2_nv field(const char *name, const char *value)
{
    union {
        const char *in;
        uint8_t *out;
    } n = {.in = name}, v = {.in = value};
    return (nghttp2_nv){n.out, v.out, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};
}

void h2_start(H2 *h, const char *method, const char *path, const char *type, const void *body, size_t n,
              H2Answer *answer)
{
    Upload *u = g_new0(Upload, 1);
    g_autofree char *length = g_strdup_printf("%zu", n);
    const nghttp2_nv fields[] = {field(":method", method),        field(":scheme", "https"),
                                 field(":authority", "relay"),    field(":path", path),
                                 field("content-length", length), field("content-type", type ? type : "")};
    const nghttp2_data_provider provider = {.source.ptr = u, .read_callback = read_upload};
    buf_done(&answer->body);
    *answer = (H2Answer){.body = BUF_MAX(ANSWER_SIZE_MAX)};
    *u = (Upload){body, n, answer};
    g_ptr_array_add(h->uploads, u);
    g_assert_cmpint(
        nghttp2_submit_request(h->session, NULL, fields, body ? 6 : 4, body ? &provider : NULL, u), >, 0);
}

static void await(const H2 *h, short events)
{
    struct pollfd p = {.fd = h->fd, .events = events};
    while (poll(&p, 1, -1) < 0 && errno == EINTR)
        continue;
}

static void relay_gone(H2 *h)
{
    if (!h->may_go)
        g_error("the relay has gone");
    h->gone = true;
}

static void send_all(H2 *h)
{
    /* What nghttp2 has is put together, so that a request is one record. */
    uint8_t buffer[2 * RECORD_SIZE];
    while (!h->gone) {
        size_t n = 0;
        const uint8_t *data = NULL;
        while (n < RECORD_SIZE / 2) {
            ssize_t k = nghttp2_session_mem_send(h->session, &data);
            g_assert_cmpint(k, >=, 0);
            g_assert_cmpuint(n + (size_t)k, <=, sizeof(buffer));
            if (k == 0)
                break;
            memcpy(buffer + n, data, (size_t)k);
            n += (size_t)k;
        }
        if (n == 0)
            return;
        for (size_t sent = 0; sent < n;) {
            int k = SSL_write(h->ssl, buffer + sent, (int)(n - sent));
            if (k > 0)
                sent += (size_t)k;
            else if (SSL_get_error(h->ssl, k) == SSL_ERROR_WANT_WRITE)
                await(h, POLLOUT);
            else
                return relay_gone(h);
        }
    }
}

void h2_work(H2 *h)
{
    uint8_t buffer[RECORD_SIZE];
    int n;
    send_all(h);
    while ((n = SSL_read(h->ssl, buffer, sizeof(buffer))) > 0)
        g_assert_cmpint(nghttp2_session_mem_recv(h->session, buffer, (size_t)n), ==, n);
    if (SSL_get_error(h->ssl, n) != SSL_ERROR_WANT_READ)
        relay_gone(h);
    send_all(h);
}

void h2_let_go(H2 *h)
{
    h->may_go = true;
}

bool h2_gone(const H2 *h)
{
    return h->gone;
}

void h2_wait(H2 *h, H2Answer *answer, bool whole)
{
    for (;;) {
        h2_work(h);
        if (answer->done || (!whole && answer->status != 0))
            return;
        await(h, POLLIN);
    }
}
