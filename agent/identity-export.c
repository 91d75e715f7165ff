/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/identity-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/wire/statement.h"

int identity_export_key(const IdentityPublic *p, KeyTextForm form, Buf *ret)
{
    switch (form) {
    case KEY_TEXT_JWK:
        return rsa_key_to_jwk(p->decrypt, false, ret);
    case KEY_TEXT_OPENSSH:
        return rsa_key_to_openssh(p->decrypt, ret);
    case KEY_TEXT_PEM:
    default:
        return rsa_key_to_pem(p->decrypt, ret);
    }
}

int identity_export_statement(const IdentityPublic *p, const char *address, Buf *ret_input)
{
    IdentityStatement s = {.sign = p->sign,
                           .decrypt = p->decrypt,
                           .generation = p->generation,
                           .protection = p->protection,
                           .recovery = p->recovery,
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

int identity_sign_csr(Identity *i, const char *name, identity_jws_t done, void *userdata, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = identity_usable(i);

    if (r == 0)
        r = identity_work_new(i, userdata, &w);
    if (r != 0)
        return r;
    w->jws = done;
    r = csr_new(i->keys->public.sign, name, &w->csr);
    if (r == 0) {
        memcpy(w->draft.digest, csr_digest(w->csr), SHA256_SIZE);
        r = identity_work_sign(w);
    }
    return identity_work_begun(w, r, ret);
}

int identity_sign_cms(Identity *i, CmsDraft *d, identity_jws_t done, void *userdata, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = identity_usable(i);

    if (r == 0)
        r = identity_work_new(i, userdata, &w);
    if (r != 0)
        return r;
    w->jws = done;
    w->cms = cms_draft_ref(d);
    memcpy(w->draft.digest, cms_draft_digest(d), SHA256_SIZE);
    return identity_work_begun(w, identity_work_sign(w), ret);
}
