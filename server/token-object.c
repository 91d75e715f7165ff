/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The key among a token's objects. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/der.h"
#include "server/token-internal.h"

#define NEW_ID_SIZE 16u /* of a key that is made here */
#define ID_MAX 256u     /* bytes of one that is there */
#define LABEL_PREFIX "hmsg-relay-"
#define LABEL_BYTES 4u
#define TEMPLATE_MAX 12u

static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static const unsigned char exponent[] = {1, 0, 1};

typedef struct Template {
    CK_ATTRIBUTE all[TEMPLATE_MAX];
    CK_ULONG n;
} Template;

/* Cryptoki lacks const: what a template points to is only read when it is one to find or to make by. */
static void add(Template *t, CK_ATTRIBUTE_TYPE type, const void *value, size_t n)
{
    t->all[t->n++] = (CK_ATTRIBUTE){type, (void *)(uintptr_t)value, n};
}

/* What the URI says of the object's name. */
static void add_name(Template *t, P11KitUri *uri)
{
    static const CK_ATTRIBUTE_TYPE names[] = {CKA_LABEL, CKA_ID};

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        const CK_ATTRIBUTE *a = p11_kit_uri_get_attribute(uri, names[i]);

        if (a)
            t->all[t->n++] = *a;
    }
}

static int find(Token *t, Template *template, CK_OBJECT_HANDLE *ret)
{
    CK_OBJECT_HANDLE found[2];
    CK_ULONG n = 0;
    int r = token_result("C_FindObjectsInit",
                         t->module->C_FindObjectsInit(t->session, template->all, template->n));

    if (r != 0)
        return r;
    r = token_result("C_FindObjects", t->module->C_FindObjects(t->session, found, ELEMENTSOF(found), &n));
    (void)t->module->C_FindObjectsFinal(t->session);
    if (r == 0 && n != 1)
        r = n == 0 ? HMSG_ERROR_NOT_FOUND : -ENOTUNIQ;
    if (r == 0)
        *ret = found[0];
    return r;
}

/* 0 when it has none. */
static size_t read_attribute(Token *t, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *to, size_t max)
{
    CK_ATTRIBUTE a = {type, to, max};
    CK_RV rv = t->module->C_GetAttributeValue(t->session, object, &a, 1);

    return rv == CKR_OK && a.ulValueLen <= max ? a.ulValueLen : 0;
}

/* SubjectPublicKeyInfo { { rsaEncryption, NULL }, { modulus, 65537 } } */
static int make_public(const uint8_t *modulus, size_t n, RsaKey **ret)
{
    static const uint8_t algorithm[] = {DER_SEQUENCE, 13,   DER_OID, 9, 0x2a, 0x86,     0x48, 0x86,
                                        0xf7,         0x0d, 1,       1, 1,    DER_NULL, 0};
    _cleanup_(buf_done) Buf b = BUF_MAX(SPKI_SIZE_MAX), spki = BUF_MAX(SPKI_SIZE_MAX);
    int r = n > 0 && (modulus[0] & 0x80) != 0 ? buf_append(&b, "", 1) : 0; /* no negative number */

    if (r == 0)
        r = buf_append(&b, modulus, n);
    if (r == 0)
        r = der_wrap(&b, 0, DER_INTEGER);
    if (r == 0)
        r = der_append(&b, DER_INTEGER, exponent, sizeof(exponent));
    if (r == 0)
        r = der_wrap(&b, 0, DER_SEQUENCE);
    if (r == 0)
        r = buf_append(&spki, "", 1); /* no unused bits */
    if (r == 0)
        r = buf_append(&spki, b.data, b.size);
    if (r == 0)
        r = der_wrap(&spki, 0, DER_BIT_STRING);
    buf_truncate(&b, 0);
    if (r == 0)
        r = buf_append(&b, algorithm, sizeof(algorithm));
    if (r == 0)
        r = buf_append(&b, spki.data, spki.size);
    if (r == 0)
        r = der_wrap(&b, 0, DER_SEQUENCE);
    return r == 0 ? rsa_key_from_spki(b.data, b.size, ret) : r;
}

/* Some tokens have the modulus at the public key alone, which has the same id. */
static int read_public(Token *t, CK_OBJECT_HANDLE key, RsaKey **ret)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_OBJECT_HANDLE public = 0;
    uint8_t modulus[RSA_SIZE_MAX + 1], id[ID_MAX], *at = modulus;
    size_t n = read_attribute(t, key, CKA_MODULUS, modulus, sizeof(modulus)), id_size;
    Template template = {.n = 0};

    if (n == 0) {
        id_size = read_attribute(t, key, CKA_ID, id, sizeof(id));
        add(&template, CKA_CLASS, &class, sizeof(class));
        add(&template, CKA_ID, id, id_size);
        int r = id_size > 0 ? find(t, &template, &public) : HMSG_ERROR_NOT_FOUND;
        if (r != 0)
            return r;
        n = read_attribute(t, public, CKA_MODULUS, modulus, sizeof(modulus));
    }
    while (n > 0 && *at == 0) {
        at++;
        n--;
    }
    t->size = n;
    return make_public(at, n, ret);
}

int token_look_up(Token *t, RsaKey **ret)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_KEY_TYPE type = CKK_RSA;
    Template template = {.n = 0};
    int r;

    add(&template, CKA_CLASS, &class, sizeof(class));
    add(&template, CKA_KEY_TYPE, &type, sizeof(type));
    add_name(&template, t->uri);
    r = find(t, &template, &t->key);
    return r == 0 ? read_public(t, t->key, ret) : r;
}

static int generate(Token *t, unsigned bits)
{
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    CK_OBJECT_HANDLE public, private;
    CK_ULONG size = bits;
    Template a = {.n = 0}, b = {.n = 0};

    add(&a, CKA_TOKEN, &yes, sizeof(yes));
    add(&a, CKA_VERIFY, &yes, sizeof(yes));
    add(&a, CKA_ENCRYPT, &yes, sizeof(yes));
    add(&a, CKA_MODULUS_BITS, &size, sizeof(size));
    add(&a, CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent));
    add_name(&a, t->uri);
    add(&b, CKA_TOKEN, &yes, sizeof(yes));
    add(&b, CKA_PRIVATE, &yes, sizeof(yes));
    add(&b, CKA_SENSITIVE, &yes, sizeof(yes));
    add(&b, CKA_EXTRACTABLE, &no, sizeof(no));
    add(&b, CKA_SIGN, &yes, sizeof(yes));
    add(&b, CKA_DECRYPT, &yes, sizeof(yes));
    add_name(&b, t->uri);
    return token_result("C_GenerateKeyPair", t->module->C_GenerateKeyPair(t->session, &mechanism, a.all, a.n,
                                                                          b.all, b.n, &public, &private));
}

int token_make_key(Token *t, unsigned bits, RsaKey **ret)
{
    int r;

    if (bits != 2048 && bits != 3072 && bits != RSA_BITS_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    (void)pthread_mutex_lock(&t->lock);
    r = token_look_up(t, ret);
    if (r == 0) {
        *ret = rsa_key_free(*ret);
        r = -EEXIST;
    } else if (r == HMSG_ERROR_NOT_FOUND)
        r = generate(t, bits);
    (void)pthread_mutex_unlock(&t->lock);
    return r == 0 ? token_find_key(t, ret) : r;
}

int token_find_key(Token *t, RsaKey **ret)
{
    int r;

    (void)pthread_mutex_lock(&t->lock);
    r = token_look_up(t, ret);
    t->found = r == 0;
    (void)pthread_mutex_unlock(&t->lock);
    return r;
}

static int set_name(P11KitUri *uri, CK_ATTRIBUTE_TYPE type, const void *name, size_t n)
{
    CK_ATTRIBUTE a = {type, (void *)(uintptr_t)name, n};

    return p11_kit_uri_set_attribute(uri, &a) == P11_KIT_URI_OK ? 0 : -ENOMEM;
}

static int append_uri(P11KitUri *uri, Buf *ret)
{
    char *text = NULL;
    int r = p11_kit_uri_format(uri, P11_KIT_URI_FOR_ANY, &text) == P11_KIT_URI_OK ? 0 : -ENOMEM;

    if (r == 0)
        r = buf_append_string(ret, text);
    free(text);
    return r;
}

int token_uri_renew(const char *text, bool keep_label, Buf *ret)
{
    P11KitUri *uri = NULL;
    uint8_t id[NEW_ID_SIZE];
    char label[sizeof(LABEL_PREFIX) + 2 * LABEL_BYTES];
    int r = token_parse_uri(text, &uri);

    if (r != 0)
        return r;
    r = crypto_random(id, sizeof(id));
    if (r == 0)
        r = set_name(uri, CKA_ID, id, sizeof(id));
    (void)snprintf(label, sizeof(label), LABEL_PREFIX "%02x%02x%02x%02x", id[0], id[1], id[2], id[3]);
    if (r == 0 && (!keep_label || !p11_kit_uri_get_attribute(uri, CKA_LABEL)))
        r = set_name(uri, CKA_LABEL, label, strlen(label));
    if (r == 0)
        r = append_uri(uri, ret);
    p11_kit_uri_free(uri);
    return r;
}

int token_key_uri(Token *t, Buf *ret)
{
    uint8_t id[ID_MAX];
    size_t n;
    int r;

    (void)pthread_mutex_lock(&t->lock);
    n = t->found && t->session ? read_attribute(t, t->key, CKA_ID, id, sizeof(id)) : 0;
    r = n > 0 ? set_name(t->uri, CKA_ID, id, n) : 0;
    if (r == 0)
        r = append_uri(t->uri, ret);
    (void)pthread_mutex_unlock(&t->lock);
    return r;
}
