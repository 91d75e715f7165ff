/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the members of a relay's answers may look like, and arguments of the agent too: the forms of texts
 * that go on as they are. Pure functions; HMSG_ERROR_BAD_PACKAGE for another form. */

#include "libhmsg/wire/json.h"
#include "libhmsg/wire/limits.h"

bool text_is_id(const char *text);  /* base64url of 32 bytes: an id, a kid */
bool text_is_jws(const char *text); /* characters of a compact JWS, at most JWS_SIZE_MAX */

/* Owned by j. */
int answer_get_jws(const json_t *j, const char *name, const char **ret);
int answer_get_id(const json_t *j, const char *name, const char **ret);
int answer_get_state(const json_t *j, const char **ret); /* accepted, delivered, expired */
int answer_get_u64(const json_t *j, const char *name, uint64_t max, uint64_t *ret);

/* A waiting message, of a list or an event. */
typedef struct AnswerMail {
    uint64_t seq, size, expires;
    const char *id, *submitter;
} AnswerMail;
int answer_get_mail(const json_t *j, bool with_expires, AnswerMail *ret);

/* The ids among those asked for (n_asked texts of ids), each once; calls f for each. */
int answer_each_id(const json_t *j, const char *name, const char *const *asked, size_t n_asked,
                   int (*f)(const char *id, void *userdata), void *userdata);
