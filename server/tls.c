/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>

#include "server/tls.h"

#define EXPORTER_LABEL "EXPORTER-Channel-Binding"

static const uint8_t alpn_h2[] = {2, 'h', '2'};

struct Tls {
    const RelayKey *key;
    X509 *identity;
    char host[HOST_SIZE_MAX + 3];
    pthread_mutex_t lock; /* over what follows */
    SSL_CTX *context;
    int64_t renewed;
};

static int select_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_size,
                       const unsigned char *offered, unsigned int n, void *userdata)
{
    for (unsigned i = 0; i < n && i + 1u + offered[i] <= n; i += 1u + offered[i])
        if (offered[i] == alpn_h2[0] && memcmp(offered + i, alpn_h2, sizeof(alpn_h2)) == 0) { /* public */
            *ret = offered + i + 1;
            *ret_size = alpn_h2[0];
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int context_new(SSL_CTX **ret)
{
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());

    if (!c)
        return -ENOMEM;
    SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(c, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_alpn_select_cb(c, select_alpn, NULL);
    if (SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(c, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:"
                                    "TLS_AES_128_GCM_SHA256") != 1 ||
        SSL_CTX_set1_groups_list(c, "X25519:P-256") != 1 || SSL_CTX_set_num_tickets(c, 0) != 1 ||
        SSL_CTX_set_max_early_data(c, 0) != 1) {
        SSL_CTX_free(c);
        return -EIO;
    }
    *ret = c;
    return 0;
}

int tls_renew(Tls *t, int64_t now)
{
    SSL_CTX *context = NULL;
    X509 *leaf = NULL;
    EVP_PKEY *leaf_key = NULL;
    SSL_CTX *old;
    int r;

    r = context_new(&context);
    if (r == 0)
        r = certificate_make_leaf(t->key, t->identity, t->host, now, &leaf, &leaf_key);
    if (r == 0 &&
        (SSL_CTX_use_certificate(context, leaf) != 1 || SSL_CTX_use_PrivateKey(context, leaf_key) != 1 ||
         SSL_CTX_add1_chain_cert(context, t->identity) != 1))
        r = -EIO;
    X509_free(leaf);
    EVP_PKEY_free(leaf_key);
    if (r != 0) {
        SSL_CTX_free(context);
        return r;
    }
    pthread_mutex_lock(&t->lock);
    old = t->context;
    t->context = context;
    t->renewed = now;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old); /* its connections keep it as long as they need */
    return 0;
}

int64_t tls_renewed(Tls *t)
{
    int64_t renewed;

    pthread_mutex_lock(&t->lock);
    renewed = t->renewed;
    pthread_mutex_unlock(&t->lock);
    return renewed;
}

int tls_new(const RelayKey *key, const char *host, int64_t now, Tls **ret)
{
    _cleanup_(tls_freep) Tls *t = NULL;
    int r;

    if (strlen(host) >= sizeof(t->host))
        return -EINVAL;
    t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    r = -pthread_mutex_init(&t->lock, NULL);
    if (r < 0) {
        free(TAKE_PTR(t));
        return r;
    }
    t->key = key;
    memcpy(t->host, host, strlen(host) + 1);
    r = certificate_make_identity(key, now, &t->identity);
    if (r == 0)
        r = tls_renew(t, now);
    if (r == 0)
        *ret = TAKE_PTR(t);
    return r;
}

Tls *tls_free(Tls *t)
{
    if (!t)
        return NULL;
    SSL_CTX_free(t->context);
    X509_free(t->identity);
    pthread_mutex_destroy(&t->lock);
    free(t);
    return NULL;
}

int tls_accept(Tls *t, int fd, struct ssl_st **ret)
{
    SSL *ssl;

    pthread_mutex_lock(&t->lock);
    ssl = SSL_new(t->context);
    pthread_mutex_unlock(&t->lock);
    if (!ssl)
        return -ENOMEM;
    if (SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        return -ENOMEM;
    }
    SSL_set_accept_state(ssl);
    *ret = ssl;
    return 0;
}

bool tls_finished(struct ssl_st *ssl, uint8_t ret_exporter[static EXPORTER_SIZE])
{
    const unsigned char *alpn;
    unsigned int n;

    SSL_get0_alpn_selected(ssl, &alpn, &n);
    if (n != alpn_h2[0] || memcmp(alpn, alpn_h2 + 1, n) != 0) /* public */
        return false;
    return SSL_export_keying_material(ssl, ret_exporter, EXPORTER_SIZE, EXPORTER_LABEL,
                                      strlen(EXPORTER_LABEL), (const unsigned char *)"", 0, 1) == 1;
}
