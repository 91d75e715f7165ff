/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "libhmsg/tpm/keyfile-internal.h"

#define INDEX_AT 12u
#define GENERATION_AT 18u
#define SIGNER_AT 12u

/* TPMKey's policy [1] EXPLICIT SEQUENCE OF TPMPolicy { commandCode [0] EXPLICIT INTEGER, commandPolicy [1]
 * EXPLICIT OCTET STRING }: its head with the sizes to be set, and the elements, into which the signer, index
 * and operand go. */
static const uint8_t der_head[] = {0xa1, 0, 0x30, 0};
static const uint8_t der_authorize[12 + TPM_NAME_SIZE] = {0x30, 0x2c, 0xa0, 0x04, 0x02, 0x02,
                                                          0x01, 0x6a, 0xa1, 0x24, 0x04, 0x22};
static const uint8_t der_nv[] = {0x30, 0x1c, 0xa0, 0x04, 0x02, 0x02, 0x01, 0x49, 0xa1, 0x14,
                                 0x04, 0x12, 0,    0,    0,    0,    0,    8,    0,    0,
                                 0,    0,    0,    0,    0,    0,    0,    0,    0,    9};
static const uint8_t der_auth[] = {0x30, 0x0a, 0xa0, 0x04, 0x02, 0x02, 0x01, 0x6b, 0xa1, 0x02, 0x04, 0x00};
_Static_assert(sizeof(der_head) + sizeof(der_authorize) + sizeof(der_nv) + sizeof(der_auth) ==
                   TPM_POLICY_DER_MAX,
               "the longest form");
_Static_assert(TPM2_CC_PolicyNV == 0x149 && TPM2_CC_PolicyAuthValue == 0x16b &&
                   TPM2_CC_PolicyAuthorize == 0x16a && TPM2_EO_UNSIGNED_LE == 9,
               "as they are written out");

bool tpm_policy_equal(const TpmKeyPolicy *a, const TpmKeyPolicy *b)
{
    if (!a || !b)
        return a == b;
    return a->index == b->index && a->generation == b->generation && a->measured == b->measured &&
           (!a->measured || memcmp(a->signer, b->signer, TPM_NAME_SIZE) == 0); /* public */
}

void tpm_counter_public(uint32_t index, TPM2B_NV_PUBLIC *ret)
{
    *ret = (TPM2B_NV_PUBLIC){.nvPublic = {.nvIndex = index,
                                          .nameAlg = TPM2_ALG_SHA256,
                                          .attributes = TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE | TPMA_NV_NO_DA |
                                                        ((uint32_t)TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT),
                                          .dataSize = TPM_COUNTER_SIZE}};
}

/* The digest of a and b, in place of a: how all policies grow. */
static int extend(uint8_t digest[static TPM_DIGEST_SIZE], const void *b, size_t n)
{
    _cleanup_(buf_done) Buf all = BUF_MAX(TPM_KEYFILE_DER_MAX);
    int r = buf_append(&all, digest, TPM_DIGEST_SIZE);
    if (r == 0)
        r = buf_append(&all, b, n);
    if (r < 0)
        return r;
    return EVP_Q_digest(NULL, "SHA256", NULL, all.data, all.size, digest, NULL) == 1 ? 0 : -ENOMEM;
}

int tpm_counter_name(uint32_t index, uint8_t ret[static TPM_NAME_SIZE])
{
    TPM2B_NV_PUBLIC public;
    uint8_t area[sizeof(TPMS_NV_PUBLIC)];
    size_t size = 0;

    tpm_counter_public(index, &public);
    public.nvPublic.attributes |= TPMA_NV_WRITTEN;
    if (Tss2_MU_TPMS_NV_PUBLIC_Marshal(&public.nvPublic, area, sizeof(area), &size) != TSS2_RC_SUCCESS)
        return -ENOMEM;
    ret[0] = TPM2_ALG_SHA256 >> 8;
    ret[1] = TPM2_ALG_SHA256 & 0xff;
    return EVP_Q_digest(NULL, "SHA256", NULL, area, size, ret + 2, NULL) == 1 ? 0 : -ENOMEM;
}

/* Then the policyRef, which is empty. */
static int digest_authorize(const TpmKeyPolicy *p, uint8_t digest[static TPM_DIGEST_SIZE])
{
    struct {
        uint8_t code[4], signer[TPM_NAME_SIZE];
    } authorize = {.code = {0, 0, 0x01, 0x6a}};
    int r;

    memcpy(authorize.signer, p->signer, TPM_NAME_SIZE);
    r = extend(digest, &authorize, sizeof(authorize));
    return r == 0 ? extend(digest, NULL, 0) : r;
}

int tpm_policy_digest(const TpmKeyPolicy *p, bool guarded, uint8_t ret[static TPM_DIGEST_SIZE])
{
    static const uint8_t cc_auth[] = {0, 0, 0x01, 0x6b};
    struct {
        uint8_t code[4], arguments[TPM_DIGEST_SIZE], name[TPM_NAME_SIZE];
    } nv = {.code = {0, 0, 0x01, 0x49}};
    uint8_t arguments[TPM_COUNTER_SIZE + 4] = {[TPM_COUNTER_SIZE + 3] = TPM2_EO_UNSIGNED_LE};
    uint64_t generation = htobe64(p->generation);

    memset(ret, 0, TPM_DIGEST_SIZE);
    memcpy(arguments, &generation, sizeof(generation));
    int r = p->measured ? digest_authorize(p, ret) : 0;
    if (r == 0)
        r = tpm_counter_name(p->index, nv.name);
    if (r < 0)
        return r;
    if (EVP_Q_digest(NULL, "SHA256", NULL, arguments, sizeof(arguments), nv.arguments, NULL) != 1)
        return -ENOMEM;
    r = extend(ret, &nv, sizeof(nv));
    return r == 0 && guarded ? extend(ret, cc_auth, sizeof(cc_auth)) : r;
}

int tpm_template_bind(const TpmKeyPolicy *p, TPM2B_PUBLIC *template)
{
    TPMT_PUBLIC *area = &template->publicArea;
    area->objectAttributes &= ~(TPMA_OBJECT)TPMA_OBJECT_USERWITHAUTH;
    area->authPolicy.size = TPM_DIGEST_SIZE;
    return tpm_policy_digest(p, (area->objectAttributes & TPMA_OBJECT_NODA) == 0, area->authPolicy.buffer);
}

size_t tpm_policy_to_der(const TpmKeyPolicy *p, bool guarded, uint8_t ret[static TPM_POLICY_DER_MAX])
{
    uint32_t index = htobe32(p->index);
    uint64_t generation = htobe64(p->generation);
    size_t n = sizeof(der_head);

    memcpy(ret, der_head, sizeof(der_head));
    if (p->measured) {
        memcpy(ret + n, der_authorize, sizeof(der_authorize));
        memcpy(ret + n + SIGNER_AT, p->signer, TPM_NAME_SIZE);
        n += sizeof(der_authorize);
    }
    memcpy(ret + n, der_nv, sizeof(der_nv));
    memcpy(ret + n + INDEX_AT, &index, sizeof(index));
    memcpy(ret + n + GENERATION_AT, &generation, sizeof(generation));
    n += sizeof(der_nv);
    if (guarded) {
        memcpy(ret + n, der_auth, sizeof(der_auth));
        n += sizeof(der_auth);
    }
    ret[1] = (uint8_t)(n - 2);
    ret[3] = (uint8_t)(n - sizeof(der_head));
    return n;
}

static void read_fields(const uint8_t *der, bool measured, TpmKeyPolicy *ret)
{
    size_t at = sizeof(der_head);
    uint32_t index;
    uint64_t generation;

    *ret = (TpmKeyPolicy){.measured = measured};
    if (measured) {
        memcpy(ret->signer, der + at + SIGNER_AT, TPM_NAME_SIZE);
        at += sizeof(der_authorize);
    }
    memcpy(&index, der + at + INDEX_AT, sizeof(index));
    memcpy(&generation, der + at + GENERATION_AT, sizeof(generation));
    ret->index = be32toh(index);
    ret->generation = be64toh(generation);
}

size_t tpm_policy_from_der(const uint8_t *der, size_t n, TpmKeyPolicy *ret)
{
    uint8_t again[TPM_POLICY_DER_MAX];

    for (unsigned form = 0; form < 4; form++) {
        bool measured = form / 2 != 0, guarded = form % 2 != 0;
        if (n < sizeof(der_head) + (measured ? sizeof(der_authorize) : 0) + sizeof(der_nv))
            continue;
        read_fields(der, measured, ret);
        size_t size = tpm_policy_to_der(ret, guarded, again);
        if (n >= size && memcmp(der, again, size) == 0) /* public */
            return size;
    }
    return 0;
}
