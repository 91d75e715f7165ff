/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/package.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/cms.h"
#include "libhmsg/wire/flat.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/package-internal.h"

Package *package_new(PackageKind kind)
{
    Package *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->kind = kind;
    p->protected_text = BUF_MAX(PROTECTED_TEXT_SIZE_MAX);
    p->encrypted_key = BUF_MAX(RSA_SIZE_MAX);
    p->ciphertext = BUF_MAX(CIPHERTEXT_SIZE_MAX);
    p->sender_spki = BUF_MAX(SPKI_SIZE_MAX);
    p->statement = BUF_MAX(JWS_SIZE_MAX);
    return p;
}

Package *package_free(Package *p)
{
    if (!p)
        return NULL;
    buf_done(&p->protected_text);
    buf_done(&p->encrypted_key);
    buf_done(&p->ciphertext);
    buf_done(&p->sender_spki);
    buf_done(&p->statement);
    free(p);
    return NULL;
}

/* Members of hm, the part of the protected header that is ours. */
static int parse_hm(const Flat *hm, Package *p)
{
    static const char *const names[] = {"v", "skid", "sid", "seq", "ts", "exp", "kc", "rcpts", NULL};
    int64_t number = 0;
    int r = flat_check_names(hm, names);
    if (r == 0)
        r = flat_get_number(hm, "v", PACKAGE_VERSION, PACKAGE_VERSION, &number);
    p->has_sender = flat_has(hm, "skid");
    if (r == 0 && p->has_sender)
        r = flat_get_bytes(hm, "skid", p->skid, KID_SIZE);
    if (r == 0)
        r = flat_get_bytes(hm, "sid", p->sid, SESSION_ID_SIZE);
    if (r == 0)
        r = flat_get_number(hm, "seq", 0, (int64_t)SEQUENCE_MAX, &number);
    if (r != 0)
        return r;
    p->seq = (uint64_t)number;
    r = flat_get_number(hm, "ts", 0, TIME_MAX, &p->ts);
    if (r == 0 && flat_has(hm, "exp"))
        r = flat_get_number(hm, "exp", p->ts > 0 ? p->ts : 1, p->ts + (int64_t)PACKAGE_EXPIRY_MAX, &p->exp);
    if (r == 0)
        r = flat_get_bytes(hm, "kc", p->kc, KEY_COMMITMENT_SIZE);
    /* A stream says how many can open it: then one of them could have changed it, and it needs its trailer.
     */
    number = 1;
    if (r == 0 && p->kind == PACKAGE_STREAM)
        r = flat_get_number(hm, "rcpts", 1, RECIPIENTS_MAX, &number);
    else if (r == 0 && flat_has(hm, "rcpts"))
        r = HMSG_ERROR_BAD_PACKAGE;
    p->recipients = (unsigned)number;
    return r;
}

int package_read_protected(const Flat *j, Package *p)
{
    static const char *const names[] = {"alg", "enc", "typ", "kid", "hm", NULL};
    const char *text = NULL;
    size_t n = 0;
    _cleanup_(buf_done) Buf plain = BUF_MAX(PROTECTED_TEXT_SIZE_MAX);
    _cleanup_(flat_done) Flat header = {.n = 0}, hm = {.n = 0};
    int r = flat_get_text(j, "protected", PROTECTED_TEXT_SIZE_MAX, &text, &n);
    if (r == 0)
        r = buf_append(&p->protected_text, text, n);
    if (r == 0 && base64url_decode(text, n, &plain) != 0)
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = flat_parse(buf_text(&plain), plain.size, &header);
    if (r == 0)
        r = flat_check_names(&header, names);
    if (r == 0)
        r = flat_expect_text(&header, "alg", "RSA-OAEP-256");
    if (r == 0)
        r = flat_expect_text(&header, "enc", "A256CBC-HS512");
    if (r == 0)
        r = flat_expect_text(&header, "typ", p->kind == PACKAGE_STREAM ? "hmsg-stream+json" : "hmsg+json");
    if (r == 0)
        r = flat_get_bytes(&header, "kid", p->kid, KID_SIZE);
    if (r == 0)
        r = flat_get_object(&header, "hm", &hm);
    return r == 0 ? parse_hm(&hm, p) : r;
}

int package_read_content(const Flat *j, Package *p)
{
    static const char *const names[] = {
        "hmsg",      "protected", "sender_public_key", "encrypted_aes_key", "iv", "ciphertext", "mac",
        "signature", NULL};
    int64_t version = 0;
    int r = flat_check_names(j, names);
    if (r == 0)
        r = flat_get_number(j, "hmsg", PACKAGE_VERSION, PACKAGE_VERSION, &version);
    if (r == 0)
        r = flat_get_bytes(j, "iv", p->iv, sizeof(p->iv));
    if (r == 0)
        r = flat_get_buf(j, "ciphertext", &p->ciphertext);
    if (r == 0)
        r = flat_get_bytes(j, "mac", p->tag, sizeof(p->tag));
    if (r == 0 && (p->ciphertext.size == 0 || p->ciphertext.size % AES_BLOCK != 0))
        r = HMSG_ERROR_BAD_PACKAGE;
    return r;
}

/* skid, sender_public_key and signature: all or none. */
static int read_sender(const Flat *j, Package *p)
{
    const char *text = NULL;
    size_t n = 0;
    if (flat_has(j, "sender_public_key") != p->has_sender || flat_has(j, "signature") != p->has_sender)
        return HMSG_ERROR_BAD_PACKAGE;
    if (!p->has_sender)
        return 0;
    int r = flat_get_buf(j, "sender_public_key", &p->sender_spki);
    if (r == 0)
        r = flat_get_text(j, "signature", JWS_SIZE_MAX, &text, &n);
    if (r == 0)
        r = buf_append(&p->statement, text, n);
    if (r == 0)
        r = crypto_sha256(text, n, p->statement_sha256);
    if (r == 0)
        r = crypto_sha256(p->sender_spki.data, p->sender_spki.size, p->spki_sha256);
    return r;
}

int package_read_session(const Flat *j, Package *p)
{
    int r = flat_get_buf(j, "encrypted_aes_key", &p->encrypted_key);
    size_t size = p->encrypted_key.size;
    if (r == 0 && size != 2048 / 8 && size != 3072 / 8 && size != 4096 / 8)
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = read_sender(j, p);
    if (r == 0)
        r = crypto_sha256(p->encrypted_key.data, size, p->ek_sha256);
    if (r == 0)
        r = package_recall_id(j, p, p->recall_id);
    return r;
}

int package_parse(const char *text, size_t n, PackageKind kind, Package **ret)
{
    if (n > PACKAGE_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(flat_done) Flat j = {.n = 0};
    _cleanup_(package_freep) Package *p = package_new(kind);
    if (!p)
        return -ENOMEM;
    int r = flat_parse(text, n, &j);
    if (r == 0)
        r = package_read_protected(&j, p);
    if (r == 0)
        r = package_read_content(&j, p);
    if (r == 0)
        r = package_read_session(&j, p);
    if (r == 0)
        *ret = TAKE_PTR(p);
    return r;
}

static bool kid_index(const Package *p, const uint8_t (*kids)[KID_SIZE], size_t n_kids, size_t *ret)
{
    for (size_t i = 0; i < n_kids; i++)
        if (bytes_equal(p->kid, kids[i], KID_SIZE)) {
            *ret = i;
            return true;
        }
    return false;
}

/* One of an array. HMSG_ERROR_NOT_FOR_US: of the others only the protected header is read, for its kid. */
static int take_element(const json_t *element, PackageKind kind, const uint8_t (*kids)[KID_SIZE],
                        size_t n_kids, Package **ret, size_t *ret_kid)
{
    _cleanup_(package_freep) Package *p = package_new(kind);
    _cleanup_(buf_done) Buf text = BUF_MAX(PACKAGE_LIST_SIZE_MAX);
    _cleanup_(flat_done) Flat j = {.n = 0};
    if (!p)
        return -ENOMEM;
    int r = json_is_object(element) ? json_write(element, &text) : HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = flat_parse(buf_text(&text), text.size, &j);
    if (r == 0)
        r = package_read_protected(&j, p);
    if (r == 0 && !kid_index(p, kids, n_kids, ret_kid))
        r = HMSG_ERROR_NOT_FOR_US;
    if (r == 0)
        r = package_read_content(&j, p);
    if (r == 0)
        r = package_read_session(&j, p);
    if (r == 0)
        *ret = TAKE_PTR(p);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

static int find_in_array(const json_t *array, PackageKind kind, const uint8_t (*kids)[KID_SIZE],
                         size_t n_kids, Package **ret, size_t *ret_kid)
{
    const json_t *element = NULL;
    size_t i = 0;
    if (json_array_size(array) > RECIPIENTS_MAX)
        return HMSG_ERROR_TOO_LARGE;
    json_array_foreach (array, i, element) {
        int r = take_element(element, kind, kids, n_kids, ret, ret_kid);
        if (r == 0)
            (*ret)->stage = PACKAGE_RECIPIENT_CHECKED;
        if (r != HMSG_ERROR_NOT_FOR_US)
            return r;
    }
    return json_array_size(array) > 0 ? HMSG_ERROR_NOT_FOR_US : HMSG_ERROR_BAD_PACKAGE;
}

int package_find_counted(const char *text, size_t n, PackageKind kind, const uint8_t (*kids)[KID_SIZE],
                         size_t n_kids, Package **ret, size_t *ret_kid, size_t *ret_count)
{
    size_t start = 0, index = 0;
    while (start < n &&
           (text[start] == ' ' || text[start] == '\t' || text[start] == '\r' || text[start] == '\n'))
        start++;
    if (start < n && text[start] == '[') {
        if (n > PACKAGE_LIST_SIZE_MAX)
            return HMSG_ERROR_TOO_LARGE;
        _cleanup_(json_decrefp) json_t *array = NULL;
        int r = json_parse_array(text, n, &array);
        if (r != 0)
            return r;
        *ret_count = json_array_size(array);
        return find_in_array(array, kind, kids, n_kids, ret, ret_kid);
    }
    _cleanup_(package_freep) Package *p = NULL;
    int r = package_parse(text, n, kind, &p);
    if (r != 0)
        return r;
    if (!kid_index(p, kids, n_kids, &index))
        return HMSG_ERROR_NOT_FOR_US;
    p->stage = PACKAGE_RECIPIENT_CHECKED;
    *ret = TAKE_PTR(p);
    *ret_kid = index;
    *ret_count = 1;
    return 0;
}

int package_find(const char *text, size_t n, PackageKind kind, const uint8_t (*kids)[KID_SIZE], size_t n_kids,
                 Package **ret, size_t *ret_kid)
{
    size_t count = 0;
    return package_find_counted(text, n, kind, kids, n_kids, ret, ret_kid, &count);
}

static bool is_base64url(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Five parts of base64url, and maybe white space behind. */
static bool is_compact_jwe(const char *text, size_t n)
{
    size_t dots = 0, i = 0;
    for (; i < n && (is_base64url(text[i]) || text[i] == '.'); i++)
        dots += text[i] == '.' ? 1 : 0;
    while (i < n && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n'))
        i++;
    return i == n && dots == 4;
}

static bool contains(const char *text, size_t n, const char *name)
{
    return text && memmem(text, n, name, strlen(name)) != NULL;
}

WireFormat wire_format_detect(const void *data, size_t n)
{
    const char *text = data;
    if (n >= 8 && bytes_equal(text, "hmsgstr1", 8))
        return FORMAT_STREAM;
    if (cms_is(data, n))
        return FORMAT_CMS;
    while (n > 0 && (*text == ' ' || *text == '\t' || *text == '\r' || *text == '\n')) {
        text++;
        n--;
    }
    if (n > 0 && *text == 'e') /* the base64url of an object begins so */
        return is_compact_jwe(text, n) ? FORMAT_JWE : FORMAT_UNKNOWN;
    if (n == 0 || (*text != '{' && *text != '['))
        return FORMAT_UNKNOWN;
    bool has_key = contains(text, n, "\"encrypted_aes_key\"");
    if (*text == '{' && !has_key && (contains(text, n, "\"encrypted_key\"") || contains(text, n, "\"tag\"")))
        return FORMAT_JWE;
    if (!contains(text, n, "\"protected\""))
        return has_key ? FORMAT_SEED : FORMAT_UNKNOWN;
    return FORMAT_PACKAGE;
}
