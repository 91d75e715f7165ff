/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/export.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/cert.h"
#include "libhmsg/wire/json.h"

#define EXPORT_VERSION 1

int export_write(const char *statement, size_t n, Buf *ret)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_number(j, "hmsg", EXPORT_VERSION);
    if (r == 0)
        r = json_put_text_n(j, "identity", statement, n);
    if (r == 0)
        r = json_write(j, ret);
    return r == 0 ? buf_append_string(ret, "\n") : r;
}

static int read_export(const char *text, size_t n, int64_t now, KeyFile *k)
{
    static const char *const names[] = {"hmsg", "identity", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    const char *statement = NULL;
    size_t size = 0;
    int64_t version = 0;
    int r = json_parse_object(text, n, &j);
    if (r != 0)
        return r;
    if (!json_has(j, "identity")) {
        k->kind = KEY_FILE_JWK;
        return rsa_key_from_jwk(text, n, false, &k->decrypt);
    }
    k->kind = KEY_FILE_IDENTITY;
    r = json_check_names(j, names);
    if (r == 0)
        r = json_get_number(j, "hmsg", EXPORT_VERSION, EXPORT_VERSION, &version);
    if (r == 0)
        r = json_get_text(j, "identity", JWS_SIZE_MAX, &statement, &size);
    if (r == 0)
        r = identity_statement_parse(statement, size, now, &k->identity);
    if (r == 0)
        r = buf_append(&k->statement, statement, size);
    if (r != 0)
        return r;
    k->decrypt = rsa_key_ref(k->identity.decrypt);
    k->sign = rsa_key_ref(k->identity.sign);
    return 0;
}

static int read_certificate(const void *data, size_t n, int64_t now, KeyFile *k)
{
    _cleanup_(cert_freep) Cert *c = NULL;
    k->kind = KEY_FILE_CERTIFICATE;
    int r = cert_read(data, n, &c);
    if (r == 0 && cert_refusal(c, now))
        r = c->key ? HMSG_ERROR_UNTRUSTED : HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = buf_append(&k->issuer_serial, c->issuer_serial.data, c->issuer_serial.size);
    if (r == 0)
        k->decrypt = rsa_key_ref(c->key);
    return r;
}

const char *key_file_refusal(const void *data, size_t n, int64_t now)
{
    _cleanup_(cert_freep) Cert *c = NULL;
    return cert_is(data, n) && cert_read(data, n, &c) == 0 ? cert_refusal(c, now) : NULL;
}

int key_file_read(const void *data, size_t n, int64_t now, KeyFile **ret)
{
    if (n > KEY_FILE_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(key_file_freep) KeyFile *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    k->statement = BUF_MAX(JWS_SIZE_MAX);
    k->issuer_serial = BUF_MAX(ISSUER_SERIAL_SIZE_MAX);
    const char *text = data;
    size_t start = 0;
    while (start < n && strchr(" \t\r\n", text[start]) && text[start] != 0)
        start++;
    int r = HMSG_ERROR_BAD_PACKAGE;
    if (cert_is(data, n)) {
        r = read_certificate(data, n, now, k);
    } else if (start < n && text[start] == '-') {
        k->kind = KEY_FILE_PEM;
        r = rsa_key_from_pem(text, n, &k->decrypt);
    } else if (start < n && text[start] == '{') {
        r = read_export(text, n, now, k);
    }
    if (r == 0)
        *ret = TAKE_PTR(k);
    return r;
}

KeyFile *key_file_free(KeyFile *k)
{
    if (!k)
        return NULL;
    (void)rsa_key_free(k->decrypt);
    (void)rsa_key_free(k->sign);
    identity_statement_done(&k->identity);
    buf_done(&k->statement);
    buf_done(&k->issuer_serial);
    free(k);
    return NULL;
}
