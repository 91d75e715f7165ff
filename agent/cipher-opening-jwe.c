/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The stages of opening a JWE that is no package: what others wrote, and our own for several recipients. Its
 * content key serves once, so nothing of it is cached. */

#include <string.h>

#include "agent/cipher-internal.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/jwe.h"

#define FAILED_LABEL "hmsg jwe" /* and which alg and enc, for the size of its key */

/* A key in the TPM is bound to SHA-256. */
static bool takes_oaep_sha1(const Opening *o)
{
    const IdentityPublic *own = identity_public(o->c->m->identity);

    return o->allow_oaep_sha1 && own && own->protection == PROTECTION_SOFTWARE;
}

/* Another way to write a package, or one of its own. */
int opening_parse_jwe(Opening *o, const void *data, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids)
{
    _cleanup_(buf_done) Buf package = BUF_MAX(PACKAGE_SIZE_MAX);
    size_t index = 0;
    int r;

    o->is_jwe = true;
    r = jwe_to_package(data, n, &package);
    if (r == 0)
        return package_find(buf_text(&package), package.size, PACKAGE_MESSAGE, kids, n_kids, &o->package,
                            &index);
    if (r < 0)
        return r;
    return takes_oaep_sha1(o) ? jwe_parse_legacy(data, n, kids, n_kids, &o->jwe, &o->detail)
                              : jwe_parse(data, n, kids, n_kids, &o->jwe, &o->detail);
}

int opening_check_jwe(Opening *o)
{
    uint8_t id[SHA256_SIZE] = FAILED_LABEL;
    const Buf *ek = &o->jwe->encrypted_key;
    int r;

    r = jwe_check_sender(o->jwe);
    if (r != 0)
        return r;
    id[sizeof(id) - 1] = (uint8_t)o->jwe->enc;
    id[sizeof(id) - 2] = o->jwe->oaep_sha1 ? 1 : 0;
    return opening_failed_id(id, ek->data, ek->size, o->failed_id);
}

/* Keys that OAEP refused are of no use in whatever JWE they come. */
int opening_finish_jwe(Opening *o, Buf *ret)
{
    int r = 0;

    if (!o->had_keys)
        r = session_in_put_failed(o->c->m->session_in, o->failed_id);
    return r == 0 ? jwe_open(o->jwe, o->had_keys ? o->keys : NULL, ret) : r;
}
