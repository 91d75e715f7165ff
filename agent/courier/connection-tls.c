/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/courier/connection-internal.h"
#include "agent/courier/pin.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"

#define ALPN_HTTP2 "h2"
#define EXPORTER_LABEL "EXPORTER-Channel-Binding" /* RFC 9266 */
#define CERTIFICATES_SIZE_MAX 16384               /* bytes of the chain */

static void on_ssl_free(void *parent, void *data, CRYPTO_EX_DATA *ex, int index, long argl, void *argp)
{
    Connection *c = data;
    Problem why;

    if (!c)
        return;
    c->ssl = NULL;
    problem_set(&why, PROBLEM_UNREACHABLE, "The connection to the relay was lost");
    connection_end(c, &why);
}

int connection_tls_index_new(void)
{
    int index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_ssl_free);

    return index < 0 ? -ENOMEM : index;
}

static void refuse(Connection *c, PinVerdict verdict)
{
    char pin[HASH_TEXT_SIZE];
    Problem why;

    if (verdict == PIN_OTHER_KEY) {
        base64url_encode(c->seen, PIN_SIZE, pin);
        problem_set(&why, PROBLEM_PIN_MISMATCH, "pin=%s %s", pin,
                    c->has_pin ? pin_verdict_text(verdict) : "The relay's key is not known");
    } else {
        problem_set(&why, verdict == PIN_FAILED ? PROBLEM_UNREACHABLE : PROBLEM_PROTOCOL, "%s",
                    pin_verdict_text(verdict));
    }
    connection_end(c, &why);
}

static bool speaks_http2(const SSL *ssl)
{
    const uint8_t *name = NULL;
    unsigned n = 0;

    SSL_get0_alpn_selected(ssl, &name, &n);
    return n == strlen(ALPN_HTTP2) && memcmp(name, ALPN_HTTP2, n) == 0; /* public */
}

/* Instead of OpenSSL's verification. In TLS 1.3 nothing of ours but the ClientHello has been sent yet. */
static int on_certificates(X509_STORE_CTX *store, void *userdata)
{
    Connection *c = userdata;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    PinVerdict verdict;
    Problem why;

    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    if (c->has_ended || c->established || !ssl)
        return 0;
    verdict = pin_check(X509_STORE_CTX_get0_untrusted(store), clock_realtime(), c->has_pin ? c->pin : NULL,
                        c->seen);
    c->has_seen = verdict == PIN_GOOD || verdict == PIN_OTHER_KEY || verdict == PIN_BAD_TIME;
    if (verdict == PIN_OTHER_KEY && c->any_pin)
        verdict = pin_check(X509_STORE_CTX_get0_untrusted(store), clock_realtime(), c->seen, c->seen);
    if (verdict != PIN_GOOD) {
        refuse(c, verdict);
        return 0;
    }
    if (!speaks_http2(ssl)) {
        problem_set(&why, PROBLEM_PROTOCOL, "The relay does not speak HTTP/2");
        connection_end(c, &why);
        return 0;
    }
    if (SSL_set_ex_data(ssl, c->tls_index, c) != 1)
        return 0;
    c->ssl = ssl;
    c->established = true;
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static CURLcode on_ssl_context(CURL *easy, void *context, void *userdata)
{
    SSL_CTX *ctx = context;

    /* a resumed session shows no certificates */
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_max_cert_list(ctx, CERTIFICATES_SIZE_MAX);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, on_certificates, userdata);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 ? CURLE_OK : CURLE_SSL_CONNECT_ERROR;
}

bool connection_tls_prepare(Connection *c, CURL *easy)
{
    CURLcode r = CURLE_OK;

    r |= curl_easy_setopt(easy, CURLOPT_SSLVERSION,
                          (long)CURL_SSLVERSION_TLSv1_3 | (long)CURL_SSLVERSION_MAX_TLSv1_3);
    r |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    r |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L); /* the pin stands for the name */
    r |= curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
    r |= curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    r |= curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    r |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_ssl_context);
    r |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, c);
    return r == CURLE_OK;
}

int connection_exporter(const Connection *c, uint8_t ret[static EXPORTER_SIZE])
{
    uint8_t exporter[EXPORTER_SIZE];

    if (!c->ssl || !SSL_is_init_finished(c->ssl))
        return -ENOTCONN;
    if (SSL_export_keying_material(c->ssl, exporter, sizeof(exporter), EXPORTER_LABEL, strlen(EXPORTER_LABEL),
                                   NULL, 0, 1) != 1)
        return -EIO;
    memcpy(ret, exporter, sizeof(exporter));
    return 0;
}

const uint8_t *connection_pin(const Connection *c)
{
    return c->has_seen ? c->seen : NULL;
}
