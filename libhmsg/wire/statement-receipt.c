/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement-internal.h"

static const char *const durabilities[DURABILITY_MAX_] = {
    [DURABILITY_DISK] = "disk", [DURABILITY_QUORUM] = "quorum"};

int receipt_prepare(const Receipt *q, const EcKey *online, JwsDraft *ret)
{
    if (q->durability >= DURABILITY_MAX_)
        return -EINVAL;
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_bytes(j, "pin", q->pin, PIN_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "id", q->id, ID_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "body_sha256", q->body_sha256, SHA256_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "recipient", q->recipient, KID_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "submitter", q->submitter, KID_SIZE);
    if (r == 0)
        r = json_put_text(j, "durability", durabilities[q->durability]);
    if (r == 0)
        r = json_put_number(j, "iat", q->iat);
    return r == 0 ? statement_draft(j, JWS_ES256, JWS_RECEIPT, ec_key_thumbprint(online), ret) : r;
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
