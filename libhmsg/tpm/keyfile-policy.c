/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "libhmsg/tpm/keyfile-internal.h"

#define INDEX_AT 16u
#define GENERATION_AT 22u

/* TPMKey's policy [1] EXPLICIT SEQUENCE OF TPMPolicy { commandCode [0] EXPLICIT INTEGER, commandPolicy [1]
 * EXPLICIT OCTET STRING }, with what goes into it below: index at INDEX_AT, operand at GENERATION_AT. */
static const uint8_t der_nv[] = {0xa1, 0x20, 0x30, 0x1e, 0x30, 0x1c, 0xa0, 0x04, 0x02, 0x02, 0x01, 0x49,
                                 0xa1, 0x14, 0x04, 0x12, 0,    0,    0,    0,    0,    8,    0,    0,
                                 0,    0,    0,    0,    0,    0,    0,    0,    0,    9};
static const uint8_t der_auth[] = {0x30, 0x0a, 0xa0, 0x04, 0x02, 0x02, 0x01, 0x6b, 0xa1, 0x02, 0x04, 0x00};
_Static_assert(sizeof(der_nv) + sizeof(der_auth) == TPM_POLICY_DER_MAX, "the longer form");
_Static_assert(TPM2_CC_PolicyNV == 0x149 && TPM2_CC_PolicyAuthValue == 0x16b && TPM2_EO_UNSIGNED_LE == 9,
               "as they are written out");

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
    int r = tpm_counter_name(p->index, nv.name);
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

    memcpy(ret, der_nv, sizeof(der_nv));
    memcpy(ret + INDEX_AT, &index, sizeof(index));
    memcpy(ret + GENERATION_AT, &generation, sizeof(generation));
    if (!guarded)
        return sizeof(der_nv);
    memcpy(ret + sizeof(der_nv), der_auth, sizeof(der_auth));
    ret[1] += sizeof(der_auth);
    ret[3] += sizeof(der_auth);
    return TPM_POLICY_DER_MAX;
}

size_t tpm_policy_from_der(const uint8_t *der, size_t n, TpmKeyPolicy *ret)
{
    uint8_t again[TPM_POLICY_DER_MAX];
    uint32_t index;
    uint64_t generation;

    if (n < sizeof(der_nv))
        return 0;
    memcpy(&index, der + INDEX_AT, sizeof(index));
    memcpy(&generation, der + GENERATION_AT, sizeof(generation));
    *ret = (TpmKeyPolicy){.index = be32toh(index), .generation = be64toh(generation)};
    for (unsigned guarded = 0; guarded < 2; guarded++) {
        size_t size = tpm_policy_to_der(ret, guarded != 0, again);
        if (n >= size && memcmp(der, again, size) == 0) /* public */
            return size;
    }
    return 0;
}
