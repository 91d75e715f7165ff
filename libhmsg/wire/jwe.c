/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/jwe.h"

#include <errno.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/flat.h"

/* A member's text, base64url or a JWS: the same in both forms. */
typedef struct Part {
    const char *text; /* NULL: not there */
    size_t n;
} Part;

typedef struct Parts {
    Part protected_text, sender, encrypted_key, iv, ciphertext, tag, signature;
} Parts;

static int read_part(const Flat *j, const char *name, Part *ret)
{
    return flat_get_text(j, name, JWE_SIZE_MAX, &ret->text, &ret->n);
}

/* What both forms call the same. */
static int read_common(const Flat *j, Parts *p)
{
    int r = read_part(j, "protected", &p->protected_text);
    if (r == 0)
        r = read_part(j, "iv", &p->iv);
    return r == 0 ? read_part(j, "ciphertext", &p->ciphertext) : r;
}

static int read_package(const Flat *j, Parts *p)
{
    int r = read_common(j, p);
    if (r == 0)
        r = read_part(j, "encrypted_aes_key", &p->encrypted_key);
    if (r == 0)
        r = read_part(j, "mac", &p->tag);
    if (r == 0 && flat_has(j, "signature"))
        r = read_part(j, "signature", &p->signature);
    if (r == 0 && flat_has(j, "sender_public_key"))
        r = read_part(j, "sender_public_key", &p->sender);
    return r;
}

static int read_unprotected(const Flat *j, Flat *unprotected, Parts *p)
{
    static const char *const names[] = {"hmsg-sender", "hmsg-signature", NULL};
    int r = flat_get_object(j, "unprotected", unprotected);
    if (r == 0)
        r = flat_check_names(unprotected, names);
    if (r == 0)
        r = read_part(unprotected, "hmsg-sender", &p->sender);
    return r == 0 ? read_part(unprotected, "hmsg-signature", &p->signature) : r;
}

static int read_jwe(const Flat *j, Flat *unprotected, Parts *p)
{
    static const char *const names[] = {"protected", "unprotected", "encrypted_key", "iv", "ciphertext",
                                        "tag",       NULL};
    int r = flat_check_names(j, names);
    if (r == 0)
        r = read_common(j, p);
    if (r == 0)
        r = read_part(j, "encrypted_key", &p->encrypted_key);
    if (r == 0)
        r = read_part(j, "tag", &p->tag);
    if (r == 0 && flat_has(j, "unprotected"))
        r = read_unprotected(j, unprotected, p);
    return r;
}

static int put(Buf *b, const char *before, const Part *p)
{
    int r = buf_append_string(b, before);
    if (r == 0)
        r = buf_append(b, p->text, p->n);
    return r == 0 ? buf_append_string(b, "\"") : r;
}

static int write_package(const Parts *p, Buf *b)
{
    int r = put(b, "{\"hmsg\":1,\"protected\":\"", &p->protected_text);
    if (r == 0 && p->sender.text)
        r = put(b, ",\"sender_public_key\":\"", &p->sender);
    if (r == 0)
        r = put(b, ",\"encrypted_aes_key\":\"", &p->encrypted_key);
    if (r == 0)
        r = put(b, ",\"iv\":\"", &p->iv);
    if (r == 0)
        r = put(b, ",\"ciphertext\":\"", &p->ciphertext);
    if (r == 0)
        r = put(b, ",\"mac\":\"", &p->tag);
    if (r == 0 && p->signature.text)
        r = put(b, ",\"signature\":\"", &p->signature);
    return r == 0 ? buf_append_string(b, "}") : r;
}

static int write_unprotected(const Parts *p, Buf *b)
{
    int r = put(b, ",\"unprotected\":{\"hmsg-sender\":\"", &p->sender);
    if (r == 0)
        r = put(b, ",\"hmsg-signature\":\"", &p->signature);
    return r == 0 ? buf_append_string(b, "}") : r;
}

static int write_jwe(const Parts *p, Buf *b)
{
    int r = put(b, "{\"protected\":\"", &p->protected_text);
    if (r == 0 && p->sender.text)
        r = write_unprotected(p, b);
    if (r == 0)
        r = put(b, ",\"encrypted_key\":\"", &p->encrypted_key);
    if (r == 0)
        r = put(b, ",\"iv\":\"", &p->iv);
    if (r == 0)
        r = put(b, ",\"ciphertext\":\"", &p->ciphertext);
    if (r == 0)
        r = put(b, ",\"tag\":\"", &p->tag);
    return r == 0 ? buf_append_string(b, "}") : r;
}

static int check_package(const char *text, size_t n)
{
    _cleanup_(package_freep) Package *p = NULL;
    return package_parse(text, n, PACKAGE_MESSAGE, &p);
}

int jwe_from_package(const char *text, size_t n, Buf *ret)
{
    _cleanup_(flat_done) Flat j = {.n = 0};
    Parts parts = {};
    size_t before = ret->size;
    int r = check_package(text, n);
    if (r == 0)
        r = flat_parse(text, n, &j);
    if (r == 0)
        r = read_package(&j, &parts);
    if (r == 0)
        r = write_jwe(&parts, ret);
    if (r != 0)
        buf_truncate(ret, before);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

int jwe_to_package(const char *text, size_t n, Buf *ret)
{
    if (n > JWE_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(flat_done) Flat j = {.n = 0}, unprotected = {.n = 0};
    Parts parts = {};
    size_t before = ret->size;
    int r = flat_parse(text, n, &j);
    if (r == 0)
        r = read_jwe(&j, &unprotected, &parts);
    if (r == 0)
        r = write_package(&parts, ret);
    if (r == 0) /* what a package may be is said in one place */
        r = check_package(buf_text(ret) + before, ret->size - before);
    if (r != 0)
        buf_truncate(ret, before);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

/* It stays as it is when it can be read. */
static int keep(const char *text, size_t n, WireFormat format, Buf *ret)
{
    _cleanup_(buf_done) Buf package = BUF_MAX(PACKAGE_SIZE_MAX);
    int r = format == FORMAT_JWE ? jwe_to_package(text, n, &package) : check_package(text, n);
    if (r == 0)
        r = buf_append(ret, text, n);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

int jwe_convert(const char *text, size_t n, WireFormat to, Buf *ret)
{
    WireFormat format = wire_format_detect(text, n);
    if (format != FORMAT_PACKAGE && format != FORMAT_JWE)
        return HMSG_ERROR_BAD_PACKAGE;
    if (format == to)
        return keep(text, n, format, ret);
    return format == FORMAT_JWE ? jwe_to_package(text, n, ret) : jwe_from_package(text, n, ret);
}
