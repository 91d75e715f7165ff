/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the owner of a mailbox has its relay do with what comes in (docs/protocol.md, "Settings of a
 * mailbox"): how long messages wait at most, whose are not taken, and who is no stranger. The relay is told
 * all of it at once, so that nothing of what was told before matters. The owner's agent makes the MAC, with
 * the key of its login: whoever only holds the connection changes nothing, and the revision keeps him from
 * bringing former settings back. */

#include "libhmsg/wire/crypto.h"
#include "libhmsg/wire/json.h"

typedef struct SenderRule {
    uint8_t skid[KID_SIZE]; /* of the sender's sign key; he keeps the rule when he has another one later */
    bool allowed;           /* counts as one who is registered there; else blocked */
} SenderRule;

typedef struct MailboxSettings {
    uint64_t revision;   /* grows with each change; at most GENERATION_MAX; 0: nothing was told yet */
    uint64_t lifetime;   /* seconds that a message waits at most; 0: as long as the relay lets it */
    SenderRule *senders; /* each key once, at most SENDER_RULES_MAX; mailbox_settings_done frees it */
    size_t n_senders;
} MailboxSettings;

void mailbox_settings_done(MailboxSettings *s);

/* Brings the senders into their order. HMSG_ERROR_INVALID_ARGS: more than SENDER_RULES_MAX, one is there
 * twice, a revision or a lifetime that cannot be (MAILBOX_LIFETIME_MIN to MESSAGE_EXPIRY_MAX, or 0). */
int mailbox_settings_check(MailboxSettings *s);

/* Both of settings that are checked. SHA-256("hmsg/1 mailbox settings" || lifetime || number of senders ||
 * for each of them 1 when allowed, else 0, as one byte, and its skid; in the order of their skids); numbers
 * as 64 bits big-endian. */
int mailbox_settings_digest(const MailboxSettings *s, uint8_t ret[static SHA256_SIZE]);
/* HMAC-SHA-256(key, "hmsg/1 settings" || pin || revision || digest); key as that of ack_mac. */
int mailbox_settings_mac(const Secret *key, const uint8_t pin[static PIN_SIZE], const MailboxSettings *s,
                         uint8_t ret[static SHA256_SIZE]);

/* The members "revision", "lifetime", "allowed" and "blocked" of j, the last two arrays of skids. */
int mailbox_settings_put(const MailboxSettings *s, json_t *j);
/* Checked. HMSG_ERROR_BAD_PACKAGE: not of their form, or what mailbox_settings_check refuses; a revision is
 * at least 1. */
int mailbox_settings_get(const json_t *j, MailboxSettings *ret);
