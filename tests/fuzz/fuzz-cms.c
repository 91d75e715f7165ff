/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/error.h"
#include "libhmsg/wire/cms.h"
#include "tests/fuzz/fuzz.h"

#define NOW 1790000000

static void read_signed(const void *data, size_t n)
{
    static const uint8_t kid[KID_SIZE] = {1};
    _cleanup_(cms_signed_freep) CmsSigned *s = NULL;
    const char *why = NULL;

    if (cms_signed_parse(data, n, &s, &why) != 0)
        return;
    fuzz_must(s->key && s->content.size <= n && s->attributes.size <= n, "what is signed is in it");
    fuzz_check(cms_signed_verify(s) >= 0, "a signature is right or wrong");
    (void)cms_signed_is_for(s, kid);
}

static void read_enveloped(const void *data, size_t n)
{
    _cleanup_(cms_freep) Cms *c = NULL;
    _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    const char *why = NULL;

    if (cms_parse(data, n, &c, &why) != 0)
        return;
    fuzz_must(c->n_recipients > 0 && c->n_recipients <= RECIPIENTS_MAX, "it is for somebody");
    fuzz_must(!c->is_cbc || c->outer, "without a signature around it nothing is CBC");
    fuzz_must(c->is_cbc || c->tag.size == 16, "what is not CBC has a tag");
    int r = cms_open(c, NULL, &out);
    fuzz_must(r != 0, "without its key it stays closed");
    fuzz_check(r > 0, "and that is no failure of ours");
    fuzz_must(out.size == 0, "nothing comes out of it");
    if (!c->outer)
        return;
    r = cms_choose(c, c->outer->key, true);
    fuzz_check(r == 0 || r == HMSG_ERROR_NOT_FOR_US, "it is for a key or not");
    fuzz_check(cms_signed_verify(c->outer) >= 0, "a signature is right or wrong");
}

static void read_certificate(const void *data, size_t n)
{
    _cleanup_(cert_freep) Cert *c = NULL;

    if (cert_read(data, n, &c) != 0)
        return;
    fuzz_must(c->issuer_serial.size > 0, "a certificate has an issuer");
    fuzz_must(c->key || cert_refusal(c, NOW), "without a key nothing is encrypted to it");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_enveloped(data, size);
    read_signed(data, size);
    read_certificate(data, size);
    return 0;
}
