/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/courier/answer.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

#define JWS_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
#define STATE_SIZE_MAX 16u

bool text_is_id(const char *text)
{
    uint8_t bytes[ID_SIZE];

    return base64url_decode_exact(text, strnlen(text, HASH_TEXT_SIZE), bytes, sizeof(bytes)) == 0;
}

bool text_is_jws(const char *text)
{
    size_t n = strnlen(text, JWS_SIZE_MAX + 1);

    return n > 0 && n <= JWS_SIZE_MAX && strspn(text, JWS_CHARACTERS) == n;
}

static int get_text(const json_t *j, const char *name, size_t max, const char **ret)
{
    int r = json_get_text(j, name, max, ret, NULL);

    return r > 0 ? HMSG_ERROR_BAD_PACKAGE : r;
}

int answer_get_jws(const json_t *j, const char *name, const char **ret)
{
    const char *text;
    int r = get_text(j, name, JWS_SIZE_MAX, &text);

    if (r == 0 && !text_is_jws(text))
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        *ret = text;
    return r;
}

int answer_get_id(const json_t *j, const char *name, const char **ret)
{
    const char *text;
    int r = get_text(j, name, HASH_TEXT_SIZE, &text);

    if (r == 0 && !text_is_id(text))
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        *ret = text;
    return r;
}

int answer_get_state(const json_t *j, const char **ret)
{
    static const char *const states[] = {"accepted", "delivered", "expired"};
    const char *text;
    int r = get_text(j, "state", STATE_SIZE_MAX, &text);

    if (r != 0)
        return r;
    for (size_t i = 0; i < ELEMENTSOF(states); i++)
        if (strcmp(text, states[i]) == 0) {
            *ret = states[i];
            return 0;
        }
    return HMSG_ERROR_BAD_PACKAGE;
}

int answer_get_u64(const json_t *j, const char *name, uint64_t max, uint64_t *ret)
{
    int64_t v;
    int r = json_get_number(j, name, 0, max > INT64_MAX ? INT64_MAX : (int64_t)max, &v);

    if (r == 0)
        *ret = (uint64_t)v;
    return r;
}

int answer_get_mail(const json_t *j, bool with_expires, AnswerMail *ret)
{
    AnswerMail mail = {0};
    int r;

    if (!json_is_object(j))
        return HMSG_ERROR_BAD_PACKAGE;
    r = answer_get_u64(j, "seq", INT64_MAX, &mail.seq);
    if (r == 0)
        r = answer_get_id(j, "id", &mail.id);
    if (r == 0)
        r = answer_get_u64(j, "size", INT64_MAX, &mail.size);
    if (r == 0)
        r = answer_get_id(j, "submitter", &mail.submitter);
    if (r == 0 && with_expires)
        r = answer_get_u64(j, "expires", TIME_MAX, &mail.expires);
    if (r == 0)
        *ret = mail;
    return r;
}

int answer_each_id(const json_t *j, const char *name, const char *const *asked, size_t n_asked,
                   int (*f)(const char *id, void *userdata), void *userdata)
{
    _cleanup_(freep) bool *seen = NULL;
    json_t *list = NULL, *item;
    size_t i, k;
    int r;

    r = json_get_array(j, name, &list);
    if (r != 0)
        return r;
    if (json_array_size(list) > n_asked)
        return HMSG_ERROR_BAD_PACKAGE;
    seen = calloc(n_asked + 1, sizeof(*seen));
    if (!seen)
        return -ENOMEM;
    json_array_foreach (list, i, item) {
        const char *id = json_string_value(item);

        for (k = 0; id && k < n_asked && (seen[k] || strcmp(asked[k], id) != 0); k++)
            ;
        if (!id || k == n_asked)
            return HMSG_ERROR_BAD_PACKAGE;
        seen[k] = true;
        r = f(asked[k], userdata);
        if (r != 0)
            return r;
    }
    return 0;
}
