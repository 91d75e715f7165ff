/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/identity.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/wire/statement.h"

int identity_export_key(const IdentityPublic *p, bool jwk, Buf *ret)
{
    return jwk ? rsa_key_to_jwk(p->decrypt, false, ret) : rsa_key_to_pem(p->decrypt, ret);
}

int identity_export_statement(const IdentityPublic *p, const char *address, Buf *ret_input)
{
    IdentityStatement s = {.sign = p->sign,
                           .decrypt = p->decrypt,
                           .generation = p->generation,
                           .protection = PROTECTION_TPM,
                           .iat = clock_realtime()};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    size_t n = strlen(address);
    int r;

    if (n > ADDRESS_SIZE_MAX)
        return -EINVAL;
    memcpy(s.address, address, n + 1);
    r = identity_statement_prepare(&s, &draft);
    return r == 0 ? buf_append(ret_input, draft.input.data, draft.input.size) : r;
}
