/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "server/handler.h"

/* Takes the pop secret; challenge (NULL: none) is its encrypted form. */
static int answer_nonce(HttpRequest *r, Secret *pop, const uint8_t *kid, const Buf *challenge)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    uint8_t nonce[NONCE_SIZE];
    int e = client_nonce_new(http_request_client(r), pop, kid, nonce);
    if (e == 0)
        e = json_put_bytes(j, "nonce", nonce, sizeof(nonce));
    if (e == 0 && challenge)
        e = json_put_bytes(j, "pop", challenge->data, challenge->size);
    if (e == 0)
        http_answer_json(r, 200, j);
    return handler_result(e);
}

/* POST /v1/nonces */
int handle_nonce(HttpRequest *r)
{
    static const char *const names[] = {NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    int e = handler_limit(r, LIMIT_NONCE);
    if (e == 0)
        e = http_request_json(r, names, &j);
    return e == 0 ? answer_nonce(r, NULL, NULL, NULL) : e;
}

/* POST /v1/challenges */
int handle_challenge(HttpRequest *r)
{
    static const char *const names[] = {"decrypt_spki", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(buf_done) Buf spki = BUF_MAX(SPKI_SIZE_MAX), challenge = BUF_MAX(RSA_SIZE_MAX);
    _cleanup_(rsa_key_freep) RsaKey *key = NULL;
    _cleanup_(secret_freep) Secret *pop = NULL;
    int e = handler_limit(r, LIMIT_NONCE);
    if (e == 0)
        e = http_request_json(r, names, &j);
    if (e != 0)
        return e;
    if (json_get_buf(j, "decrypt_spki", &spki) != 0)
        return PROBLEM_BAD_REQUEST;
    e = rsa_key_from_spki(spki.data, spki.size, &key);
    if (e == 0)
        e = pop_make(key, relay_key_pin(handlers_of(r)->key), &pop, &challenge);
    if (e != 0)
        return handler_result(e);
    return answer_nonce(r, TAKE_PTR(pop), rsa_key_thumbprint(key), &challenge);
}
