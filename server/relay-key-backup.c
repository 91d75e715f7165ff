/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/relay-key-backup.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/cms.h"
#include "libhmsg/wire/pem.h"
#include "server/relay-key-internal.h"

#define LABEL "PRIVATE KEY"

static int append_pem(const RelayKey *k, Buf *ret)
{
    EVP_PKEY *private = relay_key_software(k);
    PKCS8_PRIV_KEY_INFO *info = private ? EVP_PKEY2PKCS8(private) : NULL;
    unsigned char *der = NULL;
    int n = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;
    int r = n > 0 ? pem_append(ret, LABEL, der, (size_t)n) : -EIO;

    if (n > 0)
        OPENSSL_clear_free(der, (size_t)n);
    PKCS8_PRIV_KEY_INFO_free(info);
    return r;
}

int relay_key_backup(const RelayKey *k, RsaKey *const *to, size_t n, Buf *ret)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX);
    CmsRecipient recipients[RELAY_KEY_RECIPIENTS_MAX] = {};
    int r;

    if (n < 1 || n > RELAY_KEY_RECIPIENTS_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    if (!relay_key_software(k))
        return -EOPNOTSUPP;
    for (size_t i = 0; i < n; i++)
        recipients[i].key = to[i];
    r = append_pem(k, &pem);
    return r == 0 ? cms_build(recipients, n, pem.data, pem.size, true, ret) : r;
}

int relay_key_read(const char *pem, size_t n, RelayKey **ret)
{
    _cleanup_(buf_done) Buf der = BUF_MAX(KEY_FILE_SIZE_MAX);
    PKCS8_PRIV_KEY_INFO *info;
    const unsigned char *at;
    int r = pem_read(pem, n, LABEL, &der);

    if (r != 0)
        return r;
    at = der.data;
    info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)der.size);
    if (!info)
        return HMSG_ERROR_BAD_PACKAGE;
    r = at == der.data + der.size ? relay_key_from_pkcs8(info, ret) : HMSG_ERROR_BAD_PACKAGE;
    PKCS8_PRIV_KEY_INFO_free(info);
    return r;
}
