/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The three forms of JWE (RFC 7516 section 7), and the rules for their headers. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/jwe-message-internal.h"

int jwe_refuse(JweText *t, const char *why)
{
    t->why = why;
    return HMSG_ERROR_BAD_PACKAGE;
}

void jwe_text_done(JweText *t)
{
    json_decref(t->root);
    json_decref(t->protected_header);
    t->root = t->protected_header = NULL;
}

static int get_part(JweText *t, const json_t *j, const char *name, size_t max, const char *why, JwePart *ret)
{
    int r = json_get_text(j, name, max, &ret->text, &ret->n);
    return r == HMSG_ERROR_BAD_PACKAGE ? jwe_refuse(t, why) : r;
}

static int get_header(JweText *t, const json_t *j, const char *name, const char *why, json_t **ret)
{
    *ret = json_object_get(j, name);
    return *ret && !json_is_object(*ret) ? jwe_refuse(t, why) : 0;
}

static int read_recipient(JweText *t, json_t *j)
{
    JweRecipient *recipient = &t->recipients[t->n_recipients];
    if (!json_is_object(j))
        return jwe_refuse(t, "A recipient of the JWE is no object");
    int r = get_header(t, j, "header", "header of the JWE is no object", &recipient->header);
    if (r == 0)
        r = get_part(t, j, "encrypted_key", BASE64URL_SIZE(RSA_SIZE_MAX),
                     "encrypted_key of the JWE is missing or no text", &recipient->encrypted_key);
    if (r == 0)
        t->n_recipients++;
    return r;
}

static int read_recipients(JweText *t)
{
    const json_t *list = json_object_get(t->root, "recipients");
    json_t *element = NULL;
    size_t i = 0;
    int r = 0;
    if (!list)
        return read_recipient(t, t->root);
    if (json_has(t->root, "header") || json_has(t->root, "encrypted_key"))
        return jwe_refuse(t, "recipients of the JWE stands beside header or encrypted_key");
    if (!json_is_array(list) || json_array_size(list) == 0)
        return jwe_refuse(t, "recipients of the JWE is empty or no array");
    if (json_array_size(list) > RECIPIENTS_MAX)
        return HMSG_ERROR_TOO_LARGE;
    json_array_foreach (list, i, element) {
        r = read_recipient(t, element);
        if (r != 0)
            break;
    }
    return r;
}

static int read_json(const char *text, size_t n, JweText *t)
{
    bool twice = false;
    int r = json_parse_unique(text, n, &twice, &t->root);
    if (r != 0)
        return r == HMSG_ERROR_BAD_PACKAGE && twice ? jwe_refuse(t, "A member of the JWE is there twice") : r;
    if (!json_has(t->root, "protected"))
        return jwe_refuse(t, "The JWE has no protected header, where alg and enc belong");
    r = get_part(t, t->root, "protected", JWE_HEADER_SIZE_MAX, "protected of the JWE is no text",
                 &t->protected_text);
    if (r == 0)
        r = get_header(t, t->root, "unprotected", "unprotected of the JWE is no object", &t->unprotected);
    if (r == 0)
        r = get_part(t, t->root, "iv", JWE_HEADER_SIZE_MAX, "iv of the JWE is missing or no text", &t->iv);
    if (r == 0)
        r = get_part(t, t->root, "ciphertext", JWE_MESSAGE_SIZE_MAX,
                     "ciphertext of the JWE is missing or no text", &t->ciphertext);
    if (r == 0)
        r = get_part(t, t->root, "tag", JWE_HEADER_SIZE_MAX, "tag of the JWE is missing or no text", &t->tag);
    if (r == 0 && json_has(t->root, "aad"))
        r = get_part(t, t->root, "aad", JWE_AAD_SIZE_MAX, "aad of the JWE is no text", &t->aad);
    return r == 0 ? read_recipients(t) : r;
}

static int read_compact(const char *text, size_t n, JweText *t)
{
    JwePart *const parts[] = {&t->protected_text, &t->recipients[0].encrypted_key, &t->iv, &t->ciphertext,
                              &t->tag};
    for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
        const char *dot = n > 0 ? memchr(text, '.', n) : NULL;
        size_t size = dot ? (size_t)(dot - text) : n;
        if ((i + 1 < ELEMENTSOF(parts)) != (dot != NULL))
            return jwe_refuse(t, "A compact JWE has five parts");
        *parts[i] = (JwePart){text, size};
        text += dot ? size + 1 : size;
        n -= dot ? size + 1 : size;
    }
    t->n_recipients = 1;
    return t->protected_text.n > JWE_HEADER_SIZE_MAX ? HMSG_ERROR_TOO_LARGE : 0;
}

static int read_protected(JweText *t)
{
    _cleanup_(buf_done) Buf plain = BUF_MAX(JWE_HEADER_SIZE_MAX);
    bool twice = false;
    int r = base64url_decode(t->protected_text.text, t->protected_text.n, &plain);
    if (r == -EBADMSG)
        return jwe_refuse(t, "protected of the JWE is not base64url");
    if (r == 0)
        r = json_parse_unique(buf_text(&plain), plain.size, &twice, &t->protected_header);
    if (r == HMSG_ERROR_BAD_PACKAGE)
        return jwe_refuse(t, twice ? "A member of the JWE's protected header is there twice"
                                   : "The JWE's protected header is no JSON object");
    return r;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int jwe_text_read(const char *text, size_t n, JweText *ret)
{
    *ret = (JweText){.allow_oaep_sha1 = ret->allow_oaep_sha1};
    if (n > JWE_MESSAGE_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    while (n > 0 && is_space(*text)) {
        text++;
        n--;
    }
    while (n > 0 && is_space(text[n - 1]))
        n--;
    int r = n > 0 && *text == '{' ? read_json(text, n, ret) : read_compact(text, n, ret);
    return r == 0 ? read_protected(ret) : r;
}

/* What only the protected header may say. */
static int check_unprotected(JweText *t, const json_t *header)
{
    static const struct {
        const char *name, *why;
    } members[] = {
        {"alg", "alg is outside the protected header of the JWE"},
        {"enc", "enc is outside the protected header of the JWE"},
        {"zip", "zip: compressed JWE are refused"},
        {"crit", "crit is outside the protected header of the JWE"},
    };
    for (size_t i = 0; i < ELEMENTSOF(members); i++)
        if (json_has(header, members[i].name))
            return jwe_refuse(t, members[i].why);
    return 0;
}

/* RFC 7516 section 7.2.1: names of the three headers are disjoint. */
static int check_disjoint(JweText *t, json_t *a, const json_t *b)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach (a, name, value)
        if (json_has(b, name))
            return jwe_refuse(t, "A name is in two headers of the JWE");
    return 0;
}

static int check_alg(JweText *t)
{
    static const struct {
        const char *begin, *why;
    } refused[] = {
        {"RSA1_5", "alg RSA1_5 (PKCS #1 v1.5) is refused: it tells attackers too much"},
        {"RSA-OAEP-384", "alg of the JWE is not RSA-OAEP-256, which the TPM's key is bound to"},
        {"RSA-OAEP-512", "alg of the JWE is not RSA-OAEP-256, which the TPM's key is bound to"},
        {"RSA-OAEP",
         "alg RSA-OAEP uses SHA-1: only a key in software opens that, and only when it is allowed "
         "(allow_oaep_sha1)"},
        {"dir", "alg dir is refused: it has no encrypted key"},
        {"ECDH-ES", "alg ECDH-ES is refused: keys are RSA"},
    };
    const char *alg = json_string_value(json_object_get(t->protected_header, "alg"));
    if (!alg)
        return jwe_refuse(t, "alg is missing in the protected header of the JWE");
    if (strcmp(alg, "RSA-OAEP-256") == 0)
        return 0;
    t->oaep_sha1 = t->allow_oaep_sha1 && strcmp(alg, "RSA-OAEP") == 0;
    if (t->oaep_sha1)
        return 0;
    for (size_t i = 0; i < ELEMENTSOF(refused); i++)
        if (strncmp(alg, refused[i].begin, strlen(refused[i].begin)) == 0)
            return jwe_refuse(t, refused[i].why);
    return jwe_refuse(t, "alg of the JWE is not RSA-OAEP-256");
}

static int check_enc(JweText *t, JweEnc *ret)
{
    const char *enc = json_string_value(json_object_get(t->protected_header, "enc"));
    if (!enc)
        return jwe_refuse(t, "enc is missing in the protected header of the JWE");
    if (strcmp(enc, "A256CBC-HS512") == 0)
        *ret = JWE_A256CBC_HS512;
    else if (strcmp(enc, "A256GCM") == 0)
        *ret = JWE_A256GCM;
    else
        return jwe_refuse(t, "enc of the JWE is neither A256CBC-HS512 nor A256GCM");
    return 0;
}

int jwe_header_check(JweText *t, JweEnc *ret_enc)
{
    int r = check_unprotected(t, t->unprotected);
    for (size_t i = 0; r == 0 && i < t->n_recipients; i++)
        r = check_unprotected(t, t->recipients[i].header);
    if (r == 0)
        r = check_alg(t);
    if (r == 0)
        r = check_enc(t, ret_enc);
    if (r == 0 && json_has(t->protected_header, "zip"))
        r = jwe_refuse(t, "zip: compressed JWE are refused");
    if (r == 0 && json_has(t->protected_header, "crit"))
        r = jwe_refuse(t, "crit: the JWE asks for something that hmsg does not know");
    if (r == 0)
        r = check_disjoint(t, t->protected_header, t->unprotected);
    for (size_t i = 0; r == 0 && i < t->n_recipients; i++) {
        r = check_disjoint(t, t->recipients[i].header, t->protected_header);
        if (r == 0)
            r = check_disjoint(t, t->recipients[i].header, t->unprotected);
    }
    return r;
}

/* Its kid, wherever it is. */
static const json_t *kid_of(const JweText *t, size_t i)
{
    const json_t *kid = json_object_get(t->recipients[i].header, "kid");
    if (!kid)
        kid = json_object_get(t->protected_header, "kid");
    return kid ? kid : json_object_get(t->unprotected, "kid");
}

typedef enum KidMatch {
    KID_OURS,
    KID_OTHER,
    KID_UNKNOWN, /* none, or by a rule of its writer */
} KidMatch;

static KidMatch match_kid(const json_t *kid, const uint8_t (*kids)[KID_SIZE], size_t n_kids, size_t *ret)
{
    uint8_t bytes[KID_SIZE];
    if (!json_is_string(kid) ||
        base64url_decode_exact(json_string_value(kid), json_string_length(kid), bytes, sizeof(bytes)) != 0)
        return KID_UNKNOWN;
    for (size_t i = 0; i < n_kids; i++)
        if (bytes_equal(bytes, kids[i], KID_SIZE)) {
            *ret = i;
            return KID_OURS;
        }
    return KID_OTHER;
}

int jwe_header_find(JweText *t, const uint8_t (*kids)[KID_SIZE], size_t n_kids,
                    uint8_t ret_kid[static KID_SIZE], size_t *ret_index)
{
    size_t found = 0;
    for (size_t i = 0; i < t->n_recipients; i++) {
        size_t which = 0;
        KidMatch match = match_kid(kid_of(t, i), kids, n_kids, &which);
        /* of one recipient alone there is no choice: its key may have any name, or none */
        if (match != KID_OURS && (match != KID_UNKNOWN || t->n_recipients > 1 || n_kids == 0))
            continue;
        memcpy(ret_kid, kids[which], KID_SIZE);
        *ret_index = i;
        found++;
    }
    if (found == 1)
        return 0;
    if (found > 1)
        return jwe_refuse(t, "Several recipients of the JWE are this identity");
    if (t->n_recipients > 1)
        t->why = "No recipient of the JWE has the kid of our key";
    return HMSG_ERROR_NOT_FOR_US;
}
