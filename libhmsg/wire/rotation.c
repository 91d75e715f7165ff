/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/rotation.h"

int rotation_step_put(json_t *steps, const char *rotate, const uint8_t *sign_spki, size_t n)
{
    _cleanup_(json_decrefp) json_t *step = json_object();
    int r = json_put_text(step, "rotate", rotate);
    if (r == 0)
        r = json_put_bytes(step, "sign", sign_spki, n);
    if (r == 0)
        r = json_array_append(steps, step) == 0 ? 0 : -ENOMEM;
    return r;
}

static int read_step(const json_t *step, int64_t now, RotateStatement *ret)
{
    static const char *const names[] = {"rotate", "sign", NULL};
    _cleanup_(buf_done) Buf spki = BUF_MAX(SPKI_SIZE_MAX);
    _cleanup_(rsa_key_freep) RsaKey *sign = NULL;
    const char *text = NULL;
    size_t n = 0;
    int r = json_is_object(step) ? json_check_names(step, names) : HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = json_get_text(step, "rotate", JWS_SIZE_MAX, &text, &n);
    if (r == 0)
        r = json_get_buf(step, "sign", &spki);
    if (r == 0)
        r = rsa_key_from_spki(spki.data, spki.size, &sign);
    if (r == 0)
        r = rotate_statement_parse(text, n, sign, now, ret);
    return r == HMSG_ERROR_TOO_LARGE ? HMSG_ERROR_BAD_PACKAGE : r;
}

int rotation_steps_parse(const json_t *steps, int64_t now, RotateStatement *ret, size_t *ret_n)
{
    size_t n = json_array_size(steps); /* 0 for what is no array */
    if (n == 0 || n > ROTATION_STEPS_MAX)
        return HMSG_ERROR_BAD_PACKAGE;
    for (size_t i = 0; i < n; i++) {
        int r = read_step(json_array_get(steps, i), now, &ret[i]);
        if (r != 0)
            return r;
    }
    *ret_n = n;
    return 0;
}

/* The pair that the i-th step ends: the first is that of from, each other was named by the step before. */
static int note(Rotation *rotation, const RotateStatement *steps, size_t i, const IdentityStatement *from)
{
    if (rotation->n == ROTATION_KEYS_MAX)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    RotationKeys *k = &rotation->keys[rotation->n++];
    memcpy(k->skid, i == 0 ? rsa_key_thumbprint(from->sign) : steps[i].skid, KID_SIZE);
    memcpy(k->kid, i == 0 ? rsa_key_thumbprint(from->decrypt) : steps[i - 1].next_kid, KID_SIZE);
    k->retired = steps[i].iat;
    return 0;
}

static bool same_keys(const IdentityStatement *a, const IdentityStatement *b)
{
    return rsa_key_equal(a->sign, b->sign) && rsa_key_equal(a->decrypt, b->decrypt) &&
           a->generation == b->generation;
}

static int parse_member(const json_t *link, const char *name, int64_t now, IdentityStatement *ret)
{
    const char *text = NULL;
    size_t n = 0;
    int r = json_get_text(link, name, JWS_SIZE_MAX, &text, &n);
    return r == 0 ? identity_statement_parse(text, n, now, ret) : r;
}

/* One link; *at is where the one before it ended, and then where this one ends. */
static int follow_link(const json_t *chain, size_t i, const IdentityStatement *current, int64_t now,
                       IdentityStatement *at, Rotation *rotation)
{
    static const char *const names[] = {"from", "steps", "to", NULL};
    const json_t *link = json_array_get(chain, i);
    _cleanup_(identity_statement_done) IdentityStatement from = {}, to = {};
    _cleanup_(freep) RotateStatement *steps = calloc(ROTATION_STEPS_MAX, sizeof(*steps));
    bool last = i + 1 == json_array_size(chain), named = json_has(link, "to");
    json_t *array = NULL;
    size_t n = 0;
    if (!steps)
        return -ENOMEM;
    int r = json_is_object(link) ? json_check_names(link, names) : HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = parse_member(link, "from", now, &from);
    if (r == 0 && i > 0 && !same_keys(&from, at))
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
    if (r == 0 && (named || !last))
        r = named ? parse_member(link, "to", now, &to)
                  : parse_member(json_array_get(chain, i + 1), "from", now, &to);
    if (r == 0)
        r = json_get_array(link, "steps", &array);
    if (r == 0)
        r = rotation_steps_parse(array, now, steps, &n);
    if (r == 0)
        r = rotate_statement_check(steps, n, &from, to.sign ? &to : current);
    if (r == 0 && i == 0)
        rotation->generation = from.generation;
    for (size_t k = 0; r == 0 && k < n; k++)
        r = note(rotation, steps, k, &from);
    rotation->recovered |= r == 0 && rotate_statement_is_recovery(&steps[0], &from);
    if (r != 0 || !to.sign)
        return r;
    identity_statement_done(at);
    *at = to;
    to = (IdentityStatement){};
    return 0;
}

/* Nobody comes back to a key that was given up, not even over several links. */
static bool none_again(const Rotation *rotation, const IdentityStatement *current)
{
    const uint8_t *sign = rsa_key_thumbprint(current->sign), *decrypt = rsa_key_thumbprint(current->decrypt);
    for (size_t i = 0; i < rotation->n; i++) {
        const RotationKeys *k = &rotation->keys[i];
        if (bytes_equal(k->skid, sign, KID_SIZE) || bytes_equal(k->skid, decrypt, KID_SIZE) ||
            bytes_equal(k->kid, sign, KID_SIZE) || bytes_equal(k->kid, decrypt, KID_SIZE))
            return false;
        for (size_t j = 0; j < i; j++)
            if (bytes_equal(k->skid, rotation->keys[j].skid, KID_SIZE) ||
                bytes_equal(k->kid, rotation->keys[j].kid, KID_SIZE))
                return false;
    }
    return true;
}

int rotation_chain_follow(const json_t *chain, const uint8_t asked[static KID_SIZE],
                          const IdentityStatement *current, int64_t now, Rotation *ret)
{
    _cleanup_(identity_statement_done) IdentityStatement at = {};
    _cleanup_(freep) Rotation *rotation = calloc(1, sizeof(*rotation));
    size_t n = json_array_size(chain);
    int r = 0;
    if (!rotation)
        return -ENOMEM;
    if (n == 0 || n > ROTATION_CHAIN_MAX)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = follow_link(chain, i, current, now, &at, rotation);
    if (r != 0)
        return r;
    bool begins = bytes_equal(rotation->keys[0].skid, asked, KID_SIZE) ||
                  bytes_equal(rotation->keys[0].kid, asked, KID_SIZE);
    /* the last statement may have been made anew since, for the same keys */
    bool ends = !at.sign || !json_has(json_array_get(chain, n - 1), "to") || same_keys(&at, current);
    if (!begins || !ends || !none_again(rotation, current))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    *ret = *rotation;
    return 0;
}
