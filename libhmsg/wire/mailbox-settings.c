/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/mailbox-settings.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"

#define DIGEST_LABEL "hmsg/1 mailbox settings"
#define MAC_LABEL "hmsg/1 settings"
#define RULE_SIZE (1u + KID_SIZE)
#define LABEL(text)                                                                                          \
    {                                                                                                        \
        text, sizeof(text) - 1                                                                               \
    }

void mailbox_settings_done(MailboxSettings *s)
{
    free(s->senders);
    *s = (MailboxSettings){};
}

static int compare(const void *a, const void *b)
{
    return memcmp(((const SenderRule *)a)->skid, ((const SenderRule *)b)->skid, KID_SIZE); /* public */
}

int mailbox_settings_check(MailboxSettings *s)
{
    if (s->revision > GENERATION_MAX || s->n_senders > SENDER_RULES_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    if (s->lifetime != 0 && (s->lifetime < MAILBOX_LIFETIME_MIN || s->lifetime > MESSAGE_EXPIRY_MAX))
        return HMSG_ERROR_INVALID_ARGS;
    if (s->n_senders > 0)
        qsort(s->senders, s->n_senders, sizeof(*s->senders), compare);
    for (size_t i = 1; i < s->n_senders; i++)
        if (compare(&s->senders[i - 1], &s->senders[i]) == 0)
            return HMSG_ERROR_INVALID_ARGS;
    return 0;
}

int mailbox_settings_digest(const MailboxSettings *s, uint8_t ret[static SHA256_SIZE])
{
    _cleanup_(freep) uint8_t *rules = malloc(s->n_senders * RULE_SIZE + 1);
    const uint64_t numbers[] = {htobe64(s->lifetime), htobe64(s->n_senders)};
    if (!rules)
        return -ENOMEM;
    for (size_t i = 0; i < s->n_senders; i++) {
        rules[i * RULE_SIZE] = s->senders[i].allowed;
        memcpy(rules + i * RULE_SIZE + 1, s->senders[i].skid, KID_SIZE);
    }
    const Chunk chunks[] = {
        LABEL(DIGEST_LABEL), {numbers, sizeof(numbers)}, {rules, s->n_senders * RULE_SIZE}};
    return crypto_sha256_chunks(chunks, ELEMENTSOF(chunks), ret);
}

int mailbox_settings_mac(const Secret *key, const uint8_t pin[static PIN_SIZE], const MailboxSettings *s,
                         uint8_t ret[static SHA256_SIZE])
{
    const uint64_t revision = htobe64(s->revision);
    uint8_t digest[SHA256_SIZE];
    int r = mailbox_settings_digest(s, digest);
    if (r != 0)
        return r;
    const Chunk chunks[] = {
        LABEL(MAC_LABEL), {pin, PIN_SIZE}, {&revision, sizeof(revision)}, {digest, sizeof(digest)}};
    return crypto_hmac_sha256(secret_bytes(key), secret_size(key), chunks, ELEMENTSOF(chunks), ret);
}

static int put_senders(const MailboxSettings *s, bool allowed, const char *name, json_t *j)
{
    _cleanup_(json_decrefp) json_t *list = json_array();
    char text[HASH_TEXT_SIZE];
    int r = list ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < s->n_senders; i++) {
        if (s->senders[i].allowed != allowed)
            continue;
        base64url_encode(s->senders[i].skid, KID_SIZE, text);
        r = json_array_append_new(list, json_string(text)) == 0 ? 0 : -ENOMEM;
    }
    return r == 0 ? json_put(j, name, json_incref(list)) : r;
}

int mailbox_settings_put(const MailboxSettings *s, json_t *j)
{
    int r = json_put_number(j, "revision", (int64_t)s->revision);
    if (r == 0)
        r = json_put_number(j, "lifetime", (int64_t)s->lifetime);
    if (r == 0)
        r = put_senders(s, true, "allowed", j);
    return r == 0 ? put_senders(s, false, "blocked", j) : r;
}

static int get_senders(const json_t *list, bool allowed, MailboxSettings *s)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        SenderRule *rule = &s->senders[s->n_senders++];
        rule->allowed = allowed;
        if (!json_is_string(item) || base64url_decode_exact(json_string_value(item), json_string_length(item),
                                                            rule->skid, KID_SIZE) != 0)
            return HMSG_ERROR_BAD_PACKAGE;
    }
    return 0;
}

int mailbox_settings_get(const json_t *j, MailboxSettings *ret)
{
    _cleanup_(mailbox_settings_done) MailboxSettings s = {};
    json_t *allowed = NULL, *blocked = NULL;
    int64_t revision = 0, lifetime = 0;
    int r = json_get_number(j, "revision", 1, (int64_t)GENERATION_MAX, &revision);
    if (r == 0)
        r = json_get_number(j, "lifetime", 0, (int64_t)MESSAGE_EXPIRY_MAX, &lifetime);
    if (r == 0)
        r = json_get_array(j, "allowed", &allowed);
    if (r == 0)
        r = json_get_array(j, "blocked", &blocked);
    if (r != 0)
        return r;
    if (json_array_size(allowed) + json_array_size(blocked) > SENDER_RULES_MAX)
        return HMSG_ERROR_BAD_PACKAGE;
    s.revision = (uint64_t)revision;
    s.lifetime = (uint64_t)lifetime;
    s.senders = calloc(json_array_size(allowed) + json_array_size(blocked) + 1, sizeof(*s.senders));
    if (!s.senders)
        return -ENOMEM;
    r = get_senders(allowed, true, &s);
    if (r == 0)
        r = get_senders(blocked, false, &s);
    if (r == 0 && mailbox_settings_check(&s) != 0)
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0) {
        *ret = s;
        s = (MailboxSettings){};
    }
    return r;
}
