/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "libhmsg/tpm/keyfile-internal.h"

#define KEY_ATTRIBUTES                                                                                       \
    (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |                      \
     TPMA_OBJECT_USERWITHAUTH)

void tpm_template_key(TpmKeyUse use, bool guarded, TPM2B_PUBLIC *ret)
{
    bool sign = use == TPM_KEY_SIGN;
    TPMA_OBJECT attributes = KEY_ATTRIBUTES | (sign ? TPMA_OBJECT_SIGN_ENCRYPT : TPMA_OBJECT_DECRYPT) |
                             (guarded ? 0 : TPMA_OBJECT_NODA);
    *ret = (TPM2B_PUBLIC){
        .publicArea =
            {
                .type = TPM2_ALG_RSA,
                .nameAlg = TPM2_ALG_SHA256,
                .objectAttributes = attributes,
                .parameters.rsaDetail = {.symmetric.algorithm = TPM2_ALG_NULL, .keyBits = TPM_RSA_SIZE * 8u},
            },
    };
    TPMT_RSA_SCHEME *scheme = &ret->publicArea.parameters.rsaDetail.scheme;
    scheme->scheme = sign ? TPM2_ALG_RSAPSS : TPM2_ALG_OAEP;
    if (sign)
        scheme->details.rsapss.hashAlg = TPM2_ALG_SHA256;
    else
        scheme->details.oaep.hashAlg = TPM2_ALG_SHA256;
}

void tpm_template_import(TPM2B_PUBLIC *template)
{
    template->publicArea.objectAttributes &=
        ~(TPMA_OBJECT)(TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN);
}

void tpm_template_sealed(TPM2B_PUBLIC *ret)
{
    *ret = (TPM2B_PUBLIC){
        .publicArea =
            {
                .type = TPM2_ALG_KEYEDHASH,
                .nameAlg = TPM2_ALG_SHA256,
                .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                    TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA,
                .parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL,
            },
    };
}

void tpm_template_srk(TPM2B_PUBLIC *ret)
{
    *ret = (TPM2B_PUBLIC){
        .publicArea =
            {
                .type = TPM2_ALG_ECC,
                .nameAlg = TPM2_ALG_SHA256,
                .objectAttributes =
                    KEY_ATTRIBUTES | TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
                .parameters.eccDetail =
                    {
                        .symmetric = {.algorithm = TPM2_ALG_AES,
                                      .keyBits.aes = 128,
                                      .mode.aes = TPM2_ALG_CFB},
                        .scheme.scheme = TPM2_ALG_NULL,
                        .curveID = TPM2_ECC_NIST_P256,
                        .kdf.scheme = TPM2_ALG_NULL,
                    },
            },
    };
}

TpmKeyUse tpm_template_nth(unsigned n, TPM2B_PUBLIC *ret)
{
    if (n >= KEY_TEMPLATES_OURS) {
        tpm_template_key(TPM_KEY_DECRYPT, n % 2 == 0, ret);
        ret->publicArea.objectAttributes |= TPMA_OBJECT_SIGN_ENCRYPT;
        ret->publicArea.parameters.rsaDetail.scheme = (TPMT_RSA_SCHEME){.scheme = TPM2_ALG_NULL};
        return TPM_KEY_DECRYPT;
    }
    TpmKeyUse use = (n & 1) == 0 ? TPM_KEY_DECRYPT : TPM_KEY_SIGN;

    tpm_template_key(use, (n & 2) != 0, ret);
    if ((n & 4) != 0)
        tpm_template_import(ret);
    return use;
}

static int marshal(const TPM2B_PUBLIC *public, uint8_t *ret, size_t *ret_size)
{
    size_t offset = 0;
    if (Tss2_MU_TPMT_PUBLIC_Marshal(&public->publicArea, ret, sizeof(TPMT_PUBLIC), &offset) !=
        TSS2_RC_SUCCESS)
        return -EBADMSG;
    *ret_size = offset;
    return 0;
}

static bool same_area(const TPM2B_PUBLIC *x, const TPM2B_PUBLIC *y)
{
    uint8_t a[sizeof(TPMT_PUBLIC)], b[sizeof(TPMT_PUBLIC)];
    size_t a_size, b_size;
    return marshal(x, a, &a_size) == 0 && marshal(y, b, &b_size) == 0 && a_size == b_size &&
           memcmp(a, b, a_size) == 0; /* public */
}

static bool is_sealed(const TPM2B_PUBLIC *public)
{
    TPM2B_PUBLIC template;

    tpm_template_sealed(&template);
    template.publicArea.unique.keyedHash = public->publicArea.unique.keyedHash;
    if (public->publicArea.authPolicy.size == TPM_DIGEST_SIZE) {
        template.publicArea.authPolicy = public->publicArea.authPolicy;
        template.publicArea.objectAttributes &= ~(TPMA_OBJECT)TPMA_OBJECT_USERWITHAUTH;
    }
    return same_area(public, &template);
}

bool tpm_template_is_key(const TPM2B_PUBLIC *public)
{
    TPM2B_PUBLIC template;
    if (public->publicArea.type == TPM2_ALG_KEYEDHASH)
        return is_sealed(public);
    if (public->publicArea.type != TPM2_ALG_RSA)
        return false;
    for (unsigned i = 0; i < KEY_TEMPLATES_OURS; i++) {
        tpm_template_nth(i, &template);
        template.publicArea.unique.rsa = public->publicArea.unique.rsa;
        if (public->publicArea.authPolicy.size == TPM_DIGEST_SIZE) {
            template.publicArea.authPolicy = public->publicArea.authPolicy;
            template.publicArea.objectAttributes &= ~(TPMA_OBJECT)TPMA_OBJECT_USERWITHAUTH;
        }
        if (same_area(public, &template))
            return true;
    }
    return false;
}

bool tpm_template_is_srk(const TPM2B_PUBLIC *public)
{
    TPM2B_PUBLIC template;
    if (public->publicArea.type != TPM2_ALG_ECC)
        return false;
    tpm_template_srk(&template);
    template.publicArea.unique.ecc = public->publicArea.unique.ecc;
    return same_area(public, &template);
}

int tpm_public_name(const TPM2B_PUBLIC *public, uint8_t ret[static TPM_NAME_SIZE])
{
    uint8_t area[sizeof(TPMT_PUBLIC)];
    size_t size;
    if (public->publicArea.nameAlg != TPM2_ALG_SHA256)
        return -EBADMSG;
    int r = marshal(public, area, &size);
    if (r < 0)
        return r;
    ret[0] = TPM2_ALG_SHA256 >> 8;
    ret[1] = TPM2_ALG_SHA256 & 0xff;
    return EVP_Q_digest(NULL, "SHA256", NULL, area, size, ret + 2, NULL) == 1 ? 0 : -ENOMEM;
}
