/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/tpm/keyfile.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "libhmsg/tpm/keyfile-internal.h"
#include "libhmsg/wire/pem.h"
#include "libhmsg/tpm/software.h"

#define PEM_LABEL "TSS2 PRIVATE KEY"
#define DER_HEAD_SIZE 4u /* of a sequence of more than 255 bytes */
#define SIZE_FIELD 2u    /* of a TPM2B */
#define DER_SEQUENCE 0x30u
#define DER_OCTETS 0x04u

/* What our files begin with: type loadable key (2.23.133.10.1.3), emptyAuth [0] TRUE unless the key has an
 * authorization value, policy (keyfile-policy.c), parent the owner hierarchy (0x40000001), where readers make
 * the storage key themselves. */
static const uint8_t der_type[] = {0x06, 0x06, 0x67, 0x81, 0x05, 0x0a, 0x01, 0x03};
static const uint8_t der_type_sealed[] = {0x06, 0x06, 0x67, 0x81, 0x05, 0x0a, 0x01, 0x05};
static const uint8_t der_empty_auth[] = {0xa0, 0x03, 0x01, 0x01, 0xff};
static const uint8_t der_parent[] = {0x02, 0x04, 0x40, 0x00, 0x00, 0x01};
/* SubjectPublicKeyInfo (RFC 3279, section 2.3.1) around a modulus of 2048 bits, and its exponent 65537. */
static const uint8_t spki_head[] = {0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48,
                                    0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x01,
                                    0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00};
static const uint8_t spki_tail[] = {0x02, 0x03, 0x01, 0x00, 0x01};
_Static_assert(sizeof(spki_head) + TPM_RSA_SIZE + sizeof(spki_tail) == TPM_SPKI_SIZE, "all of it");

struct TpmKeyFile {
    atomic_uint references;
    TpmKeyUse use;
    bool needs_auth, guarded, bound, imported, open, software;
    TpmKeyPolicy policy;
    size_t public_size, private_size;
    uint8_t name[TPM_NAME_SIZE];
    uint8_t spki[TPM_SPKI_SIZE];
    uint8_t public[sizeof(TPM2B_PUBLIC)];
    uint8_t private[sizeof(TPM2B_PRIVATE) > SOFTWARE_SIZE_MAX ? sizeof(TPM2B_PRIVATE) : SOFTWARE_SIZE_MAX];
};

TpmKeyFile *tpm_keyfile_ref(TpmKeyFile *k)
{
    atomic_fetch_add(&k->references, 1);
    return k;
}

TpmKeyFile *tpm_keyfile_free(TpmKeyFile *k)
{
    if (k && atomic_fetch_sub(&k->references, 1) == 1)
        free(k);
    return NULL;
}

void tpm_spki_from_modulus(const uint8_t modulus[static TPM_RSA_SIZE], uint8_t ret[static TPM_SPKI_SIZE])
{
    memcpy(ret, spki_head, sizeof(spki_head));
    memcpy(ret + sizeof(spki_head), modulus, TPM_RSA_SIZE);
    memcpy(ret + sizeof(spki_head) + TPM_RSA_SIZE, spki_tail, sizeof(spki_tail));
}

static void set_spki(TpmKeyFile *k, const uint8_t *modulus)
{
    tpm_spki_from_modulus(modulus, k->spki);
}

static int set_name(TpmKeyFile *k)
{
    k->name[0] = TPM2_ALG_SHA256 >> 8;
    k->name[1] = TPM2_ALG_SHA256 & 0xff;
    return EVP_Q_digest(NULL, "SHA256", NULL, k->public + SIZE_FIELD, k->public_size - SIZE_FIELD,
                        k->name + 2, NULL) == 1
               ? 0
               : -ENOMEM;
}

/* Compares with what the template looks like on the wire, which ends with the modulus: nothing is parsed. A
 * key with an authorization value is guarded; one that is guarded may have lost its value. */
static int read_public(TpmKeyFile *k, const uint8_t *public, size_t n)
{
    for (unsigned i = 0; i < KEY_TEMPLATES; i++) {
        TPM2B_PUBLIC template;
        uint8_t expected[sizeof(TPM2B_PUBLIC)];
        size_t size = 0;
        TpmKeyUse use = tpm_template_nth(i, &template);
        TPMA_OBJECT attributes = template.publicArea.objectAttributes;

        bool open = i >= KEY_TEMPLATES_OURS;

        if ((k->needs_auth && (attributes & TPMA_OBJECT_NODA) != 0) || (open && (k->bound || k->needs_auth)))
            continue;
        int r = k->bound ? tpm_template_bind(&k->policy, &template) : 0;
        if (r < 0)
            return r;
        template.publicArea.unique.rsa.size = TPM_RSA_SIZE;
        if (Tss2_MU_TPM2B_PUBLIC_Marshal(&template, expected, sizeof(expected), &size) != TSS2_RC_SUCCESS)
            return -ENOMEM;
        if (n != size || memcmp(public, expected, size - TPM_RSA_SIZE) != 0) /* public */
            continue;
        const uint8_t *modulus = public + size - TPM_RSA_SIZE;
        if (modulus[0] < 0x80 || modulus[TPM_RSA_SIZE - 1] % 2 == 0)
            return -EBADMSG;
        k->use = use;
        k->guarded = !open && (attributes & TPMA_OBJECT_NODA) == 0;
        k->imported = open || (attributes & TPMA_OBJECT_FIXEDTPM) == 0;
        k->open = open;
        k->public_size = size;
        memcpy(k->public, public, size);
        set_spki(k, modulus);
        return set_name(k);
    }
    return -EBADMSG;
}

/* The same for what is sealed, which ends with a digest. */
static int read_sealed(TpmKeyFile *k, const uint8_t *public, size_t n)
{
    TPM2B_PUBLIC template;
    uint8_t expected[sizeof(TPM2B_PUBLIC)];
    size_t size = 0;
    int r;

    tpm_template_sealed(&template);
    r = k->bound ? tpm_template_bind(&k->policy, &template) : 0;
    if (r < 0)
        return r;
    template.publicArea.unique.keyedHash.size = TPM_DIGEST_SIZE;
    if (Tss2_MU_TPM2B_PUBLIC_Marshal(&template, expected, sizeof(expected), &size) != TSS2_RC_SUCCESS)
        return -ENOMEM;
    if (n != size || memcmp(public, expected, size - TPM_DIGEST_SIZE) != 0) /* public */
        return -EBADMSG;
    k->use = TPM_SEALED;
    k->public_size = size;
    memcpy(k->public, public, size);
    return set_name(k);
}

int tpm_keyfile_from_software(TpmKeyUse use, const void *spki, size_t spki_size, const void *encrypted,
                              size_t n, TpmKeyFile **ret)
{
    const uint8_t *modulus = (const uint8_t *)spki + sizeof(spki_head);
    TpmKeyFile *k;

    if (spki_size != sizeof(k->spki) || n > SOFTWARE_SIZE_MAX || !software_fits(encrypted, n))
        return -EBADMSG;
    k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    atomic_init(&k->references, 1);
    set_spki(k, modulus);
    if (memcmp(k->spki, spki, spki_size) != 0) { /* public */
        free(k);
        return -EBADMSG;
    }
    k->use = use;
    k->needs_auth = k->guarded = k->software = true;
    memcpy(k->private, encrypted, n);
    k->private_size = n;
    *ret = k;
    return 0;
}

typedef int (*read_public_t)(TpmKeyFile *k, const uint8_t *public, size_t n);

static int from_blobs(read_public_t reader, const void *public, size_t public_size, const void *private,
                      size_t private_size, bool needs_auth, const TpmKeyPolicy *policy, TpmKeyFile **ret)
{
    const uint8_t *p = private;

    if (private_size <= SIZE_FIELD || private_size > sizeof(TPM2B_PRIVATE) ||
        ((size_t)p[0] << 8 | p[1]) != private_size - SIZE_FIELD)
        return -EBADMSG;
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    atomic_init(&k->references, 1);
    k->needs_auth = needs_auth;
    k->bound = policy != NULL;
    if (policy)
        k->policy = *policy;
    int r = reader(k, public, public_size);
    if (r < 0)
        return r;
    memcpy(k->private, private, private_size);
    k->private_size = private_size;
    *ret = TAKE_PTR(k);
    return 0;
}

int tpm_keyfile_from_blobs(const void *public, size_t public_size, const void *private, size_t private_size,
                           bool needs_auth, const TpmKeyPolicy *policy, TpmKeyFile **ret)
{
    return from_blobs(read_public, public, public_size, private, private_size, needs_auth, policy, ret);
}

int tpm_sealed_from_blobs(const void *public, size_t public_size, const void *private, size_t private_size,
                          const TpmKeyPolicy *policy, TpmKeyFile **ret)
{
    return from_blobs(read_sealed, public, public_size, private, private_size, false, policy, ret);
}

/* Definite lengths of up to two bytes; whether they are the shortest form the comparison at the end tells. */
static int der_read(const uint8_t **p, size_t *left, uint8_t tag, const uint8_t **ret, size_t *ret_size)
{
    const uint8_t *d = *p;
    size_t head = 2, size;

    if (*left < head || d[0] != tag)
        return -EBADMSG;
    size = d[1];
    if (size >= 0x80) {
        size_t more = size & 0x7f;
        if (more < 1 || more > 2 || *left < head + more)
            return -EBADMSG;
        size = more == 1 ? d[2] : (size_t)d[2] << 8 | d[3];
        head += more;
    }
    if (*left - head < size)
        return -EBADMSG;
    *ret = d + head;
    *ret_size = size;
    *p += head + size;
    *left -= head + size;
    return 0;
}

static int der_append_head(Buf *b, uint8_t tag, size_t size)
{
    uint8_t head[4] = {tag, (uint8_t)size};
    size_t n = 2;

    if (size > 0xff) {
        head[1] = 0x82;
        head[2] = (uint8_t)(size >> 8);
        head[3] = (uint8_t)size;
        n = 4;
    } else if (size >= 0x80) {
        head[1] = 0x81;
        head[2] = (uint8_t)size;
        n = 3;
    }
    return buf_append(b, head, n);
}

static int der_append_octets(Buf *b, const uint8_t *data, size_t n)
{
    int r = der_append_head(b, DER_OCTETS, n);
    return r < 0 ? r : buf_append(b, data, n);
}

int tpm_keyfile_to_der(const TpmKeyFile *k, Buf *ret)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(TPM_KEYFILE_DER_MAX);
    uint8_t policy[TPM_POLICY_DER_MAX];
    int r = buf_append(&body, k->use == TPM_SEALED ? der_type_sealed : der_type, sizeof(der_type));

    if (r == 0 && !k->needs_auth)
        r = buf_append(&body, der_empty_auth, sizeof(der_empty_auth));
    if (r == 0 && k->bound)
        r = buf_append(&body, policy, tpm_policy_to_der(&k->policy, k->guarded, policy));
    if (r == 0)
        r = buf_append(&body, der_parent, sizeof(der_parent));
    if (r == 0)
        r = der_append_octets(&body, k->public, k->public_size);
    if (r == 0)
        r = der_append_octets(&body, k->private, k->private_size);
    if (r == 0)
        r = der_append_head(ret, DER_SEQUENCE, body.size);
    return r < 0 ? r : buf_append(ret, body.data, body.size);
}

/* Takes them off the front when they are there. */
static bool take(const uint8_t **p, size_t *left, const uint8_t *expected, size_t n)
{
    if (*left < n || memcmp(*p, expected, n) != 0) /* public */
        return false;
    *p += n;
    *left -= n;
    return true;
}

static int from_der(const uint8_t *type, read_public_t reader, const void *der, size_t n, TpmKeyFile **ret)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = NULL;
    _cleanup_(buf_done) Buf again = BUF_MAX(TPM_KEYFILE_DER_MAX);
    const uint8_t *p = der, *body, *public, *private;
    size_t left = n, size, public_size, private_size;
    TpmKeyPolicy policy;

    if (n > TPM_KEYFILE_DER_MAX || der_read(&p, &left, DER_SEQUENCE, &body, &size) < 0 || left != 0 ||
        !take(&body, &size, type, sizeof(der_type)))
        return -EBADMSG;
    bool needs_auth = !take(&body, &size, der_empty_auth, sizeof(der_empty_auth));
    size_t policy_size = tpm_policy_from_der(body, size, &policy);
    body += policy_size;
    size -= policy_size;
    if (!take(&body, &size, der_parent, sizeof(der_parent)))
        return -EBADMSG;
    if (der_read(&body, &size, DER_OCTETS, &public, &public_size) < 0 ||
        der_read(&body, &size, DER_OCTETS, &private, &private_size) < 0 || size != 0)
        return -EBADMSG;
    int r = from_blobs(reader, public, public_size, private, private_size, needs_auth,
                       policy_size > 0 ? &policy : NULL, &k);
    if (r == 0)
        r = tpm_keyfile_to_der(k, &again);
    if (r < 0)
        return r;
    if (again.size != n || memcmp(again.data, der, n) != 0) /* public */
        return -EBADMSG;
    *ret = TAKE_PTR(k);
    return 0;
}

int tpm_keyfile_from_der(const void *der, size_t n, TpmKeyFile **ret)
{
    return from_der(der_type, read_public, der, n, ret);
}

int tpm_sealed_from_der(const void *der, size_t n, TpmKeyFile **ret)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = NULL;
    int r = from_der(der_type_sealed, read_sealed, der, n, &k);

    if (r == 0 && (k->needs_auth || (k->bound && k->policy.measured)))
        r = -EBADMSG;
    if (r == 0)
        *ret = TAKE_PTR(k);
    return r;
}

static void bio_freep(BIO **bio)
{
    BIO_free(*bio);
}

int tpm_keyfile_to_pem(const TpmKeyFile *k, Buf *ret)
{
    if (k->software)
        return software_to_pem(k, ret);
    _cleanup_(buf_done) Buf der = BUF_MAX(TPM_KEYFILE_DER_MAX);
    _cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    int r = tpm_keyfile_to_der(k, &der);

    if (r < 0)
        return r;
    if (!bio || PEM_write_bio(bio, PEM_LABEL, "", der.data, (long)der.size) <= 0)
        return -ENOMEM;
    long n = BIO_get_mem_data(bio, &text);
    return n <= 0 ? -ENOMEM : buf_append(ret, text, (size_t)n);
}

static size_t without_space(const char *text, size_t n)
{
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    return n;
}

int tpm_keyfile_from_pem(const char *text, size_t n, TpmKeyFile **ret)
{
    if (n == 0 || n > TPM_KEYFILE_PEM_MAX)
        return -EBADMSG;
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *k = NULL;
    _cleanup_(buf_done) Buf again = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    _cleanup_(bio_freep) BIO *bio = BIO_new_mem_buf(text, (int)n);
    char *label = NULL, *header = NULL;
    unsigned char *der = NULL;
    long size = 0;

    if (!bio)
        return -ENOMEM;
    int r = PEM_read_bio(bio, &label, &header, &der, &size) == 1 && strcmp(label, PEM_LABEL) == 0
                ? tpm_keyfile_from_der(der, (size_t)size, &k)
                : -EBADMSG;
    OPENSSL_free(label);
    OPENSSL_free(header);
    OPENSSL_free(der);
    if (r == 0)
        r = tpm_keyfile_to_pem(k, &again);
    if (r < 0)
        return r;
    n = without_space(text, n);
    if (without_space(buf_text(&again), again.size) != n || memcmp(again.data, text, n) != 0) /* public */
        return -EBADMSG;
    *ret = TAKE_PTR(k);
    return 0;
}

TpmKeyUse tpm_keyfile_use(const TpmKeyFile *k)
{
    return k->use;
}

bool tpm_keyfile_needs_auth(const TpmKeyFile *k)
{
    return k->needs_auth;
}

bool tpm_keyfile_is_guarded(const TpmKeyFile *k)
{
    return k->guarded;
}

bool tpm_keyfile_is_imported(const TpmKeyFile *k)
{
    return k->imported;
}

bool tpm_keyfile_is_open(const TpmKeyFile *k)
{
    return k->open;
}

int tpm_keyfile_from_others(const char *text, size_t n, TpmKeyFile **ret)
{
    _cleanup_(buf_done) Buf der = BUF_MAX(TPM_KEYFILE_DER_MAX);
    const size_t at = DER_HEAD_SIZE + sizeof(der_type);
    int r = n > TPM_KEYFILE_PEM_MAX ? -EBADMSG : pem_read(text, n, PEM_LABEL, &der);

    if (r > 0 || (r == 0 && der.size < at + sizeof(der_empty_auth)))
        return -EBADMSG;
    if (r < 0)
        return r;
    uint8_t *yes = der.data + at + sizeof(der_empty_auth) - 1;
    if (memcmp(der.data + at, der_empty_auth, sizeof(der_empty_auth) - 1) == 0 && *yes != 0) /* public */
        *yes = 0xff;
    return tpm_keyfile_from_der(der.data, der.size, ret);
}

bool tpm_keyfile_is_software(const TpmKeyFile *k)
{
    return k->software;
}

const TpmKeyPolicy *tpm_keyfile_policy(const TpmKeyFile *k)
{
    return k->bound ? &k->policy : NULL;
}

const uint8_t *tpm_keyfile_name(const TpmKeyFile *k)
{
    return k->name;
}

const uint8_t *tpm_keyfile_spki(const TpmKeyFile *k, size_t *ret_size)
{
    *ret_size = sizeof(k->spki);
    return k->spki;
}

int tpm_modulus_from_spki(const void *spki, size_t n, uint8_t ret[static TPM_RSA_SIZE])
{
    const uint8_t *p = spki;

    if (n != sizeof(spki_head) + TPM_RSA_SIZE + sizeof(spki_tail) ||
        memcmp(p, spki_head, sizeof(spki_head)) != 0 ||                                  /* public */
        memcmp(p + sizeof(spki_head) + TPM_RSA_SIZE, spki_tail, sizeof(spki_tail)) != 0) /* public */
        return -EBADMSG;
    memcpy(ret, p + sizeof(spki_head), TPM_RSA_SIZE);
    return 0;
}

const uint8_t *tpm_keyfile_public(const TpmKeyFile *k, size_t *ret_size)
{
    *ret_size = k->public_size;
    return k->public;
}

const uint8_t *tpm_keyfile_private(const TpmKeyFile *k, size_t *ret_size)
{
    *ret_size = k->private_size;
    return k->private;
}
