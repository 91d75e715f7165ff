/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement-internal.h"

#define RECEIPT_ROOM 511u /* what it needs, so that it is printed once */

static const char *const durabilities[DURABILITY_MAX_] = {
    [DURABILITY_DISK] = "disk", [DURABILITY_QUORUM] = "quorum"};

int receipt_prepare(const Receipt *q, const EcKey *online, JwsDraft *ret)
{
    if (q->durability >= DURABILITY_MAX_)
        return -EINVAL;
    /* A relay makes one for each message: no objects, since nothing in it has to be escaped. */
    char pin[HASH_TEXT_SIZE], id[HASH_TEXT_SIZE], body_sha256[HASH_TEXT_SIZE], recipient[HASH_TEXT_SIZE],
        submitter[HASH_TEXT_SIZE];
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_PAYLOAD_SIZE_MAX);
    base64url_encode(q->pin, PIN_SIZE, pin);
    base64url_encode(q->id, ID_SIZE, id);
    base64url_encode(q->body_sha256, SHA256_SIZE, body_sha256);
    base64url_encode(q->recipient, KID_SIZE, recipient);
    base64url_encode(q->submitter, KID_SIZE, submitter);
    int r = buf_reserve(&text, RECEIPT_ROOM);
    if (r == 0)
        r = buf_printf(&text,
                       "{\"pin\":\"%s\",\"id\":\"%s\",\"body_sha256\":\"%s\",\"recipient\":\"%s\","
                       "\"submitter\":\"%s\",\"durability\":\"%s\",\"iat\":%" PRId64 "}",
                       pin, id, body_sha256, recipient, submitter, durabilities[q->durability], q->iat);
    return r == 0 ? jws_prepare(JWS_ES256, JWS_RECEIPT, ec_key_thumbprint(online), buf_text(&text), text.size,
                                ret)
                  : r;
}

int receipt_parse(const char *text, size_t n, const EcKey *online, const uint8_t pin[static PIN_SIZE],
                  int64_t now, Receipt *ret)
{
    static const char *const names[] = {"pin",       "id",         "body_sha256", "recipient",
                                        "submitter", "durability", "iat",         NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    Receipt q = {};
    size_t durability = 0;
    int r = statement_open_ec(text, n, JWS_RECEIPT, online, names, &j);
    if (r == 0)
        r = statement_expect_bytes(j, "pin", pin, PIN_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "id", q.id, ID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "body_sha256", q.body_sha256, SHA256_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "recipient", q.recipient, KID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "submitter", q.submitter, KID_SIZE);
    if (r == 0)
        r = statement_get_choice(j, "durability", durabilities, DURABILITY_MAX_, &durability);
    if (r == 0)
        r = statement_get_past(j, "iat", now, &q.iat);
    if (r != 0)
        return r;
    memcpy(q.pin, pin, PIN_SIZE);
    q.durability = (Durability)durability;
    *ret = q;
    return 0;
}
