/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libhmsg/base/clock.h"
#include "server/listen.h"
#include "tests/lib/process.h"
#include "tests/unit/server/http-fixture.h"

void fixture_start(Fixture *f, const HttpOptions *options)
{
    uint16_t port = 0;
    int fd = -1;

    memset(f, 0, sizeof(*f));
    f->options = *options;
    if (f->options.loops == 0)
        f->options.loops = 2;
    if (f->options.connections == 0)
        f->options.connections = 100;
    g_assert_cmpint(relay_key_generate(2048, &f->key), ==, 0);
    g_assert_cmpint(tls_new(f->key, "127.0.0.1", clock_realtime(), &f->tls), ==, 0);
    g_assert_cmpint(listen_open("127.0.0.1:0", &fd), ==, 0);
    g_assert_cmpint(listen_port(fd, &port), ==, 0);
    g_assert_cmpint(http_server_new(&fd, 1, f->tls, &f->options, &f->server), ==, 0);
    f->port = port;
}

void fixture_stop(Fixture *f)
{
    f->server = http_server_free(f->server);
    f->tls = tls_free(f->tls);
    f->key = relay_key_free(f->key);
}

static size_t on_write(char *data, size_t size, size_t n, void *userdata)
{
    g_string_append_len(userdata, data, (gssize)(size * n));
    return size * n;
}

typedef struct Upload {
    const char *body;
    size_t left;
} Upload;

static size_t on_upload(char *to, size_t size, size_t n, void *userdata)
{
    Upload *u = userdata;

    n = MIN(size * n, u->left);
    memcpy(to, u->body, n);
    u->body += n;
    u->left -= n;
    return n;
}

void fixture_fetch(const Fixture *f, const char *method, const char *path, const char *type, const char *body,
                   gssize length, Answer *ret)
{
    g_autofree char *url = g_strdup_printf("https://127.0.0.1:%d%s", f->port, path);
    g_autofree char *header = g_strdup_printf("content-type: %s", type ? type : "");
    struct curl_slist *headers = curl_slist_append(NULL, type ? header : "content-type:");
    Upload upload = {body, body ? strlen(body) : 0};
    CURL *curl = curl_easy_init();

    headers = curl_slist_append(headers, "expect:");
    ret->headers = g_string_new(NULL);
    ret->body = g_string_new(NULL);
    ret->status = 0;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_write);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, ret->headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, ret->body);
    if (body) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_upload);
        curl_easy_setopt(curl, CURLOPT_READDATA, &upload);
        curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE,
                         (curl_off_t)(length == -2  ? -1
                                      : length >= 0 ? length
                                                    : (gssize)upload.left));
    }
    if (method)
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK)
        g_test_message("%s: %s", path, curl_easy_strerror(code));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret->status);
    if (code != CURLE_OK && code != CURLE_SEND_ERROR && code != CURLE_HTTP2_STREAM)
        ret->status = -(long)code;
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
}

void answer_clear(Answer *a)
{
    g_string_free(a->headers, TRUE);
    g_string_free(a->body, TRUE);
}

void fixture_expect_problem(const Fixture *f, const char *method, const char *path, const char *type,
                            const char *body, gssize length, int status, const char *name)
{
    g_autofree char *text = g_strdup_printf("\"type\":\"urn:hmsg:problem:%s\"", name);
    Answer a;

    fixture_fetch(f, method, path, type, body, length, &a);
    g_assert_cmpint(a.status, ==, status);
    g_assert_nonnull(strstr(a.headers->str, "content-type: application/problem+json"));
    if (!strstr(a.body->str, text))
        g_error("%s is not in %s", text, a.body->str);
    answer_clear(&a);
}

int fixture_connect(const Fixture *f)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)f->port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    if (connect(fd, (const struct sockaddr *)&name, sizeof(name)) == 0)
        return fd;
    g_assert_cmpint(errno, ==, ECONNREFUSED);
    close(fd);
    return -1;
}

SSL *fixture_tls(const Fixture *f, int max_version, const char *alpn)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);

    SSL_CTX_free(context);
    g_assert_cmpint(SSL_set_max_proto_version(ssl, max_version), ==, 1);
    if (alpn)
        g_assert_cmpint(SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn)), ==, 0);
    g_assert_cmpint(SSL_set_fd(ssl, fixture_connect(f)), ==, 1);
    if (SSL_connect(ssl) == 1)
        return ssl;
    fixture_tls_free(ssl);
    return NULL;
}

void fixture_tls_free(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    SSL_free(ssl);
    close(fd);
}

void fixture_tls_await_end(SSL *ssl)
{
    char buffer[4096];

    while (SSL_read(ssl, buffer, sizeof(buffer)) > 0)
        ;
}
