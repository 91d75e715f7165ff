/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/outbox-targets.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

#define DETAIL_SIZE 512u

struct OutboxTargets {
    Contacts *contacts;
    bool trust_relay;
    char **asked;   /* those named, and behind them their devices */
    size_t *owners; /* of a device: the target that names it */
    size_t n_named, n_asked, resolved;
    OutboxTarget *targets;
    size_t n;
    ContactsRequest *ask;
    char detail[DETAIL_SIZE];
    outbox_targets_t done;
    void *userdata;
};

OutboxTargets *outbox_targets_free(OutboxTargets *t)
{
    if (!t)
        return NULL;
    (void)contacts_request_free(t->ask);
    for (size_t i = 0; i < t->n_asked; i++)
        free(t->asked[i]);
    for (size_t i = 0; i < t->n; i++) {
        buf_done(&t->targets[i].spki);
        recovery_keys_done(&t->targets[i].recovery);
    }
    free(t->asked);
    free(t->owners);
    free(t->targets);
    free(t);
    return NULL;
}

int outbox_targets_new(Contacts *c, const char *const *recipients, size_t n, bool trust_relay,
                       OutboxTargets **ret)
{
    _cleanup_(outbox_targets_freep) OutboxTargets *t = calloc(1, sizeof(*t));
    const size_t max = n * (1 + DEVICES_MAX);

    if (n == 0 || n > RECIPIENTS_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    if (!t)
        return -ENOMEM;
    t->contacts = c;
    t->trust_relay = trust_relay;
    t->n_named = n;
    t->asked = calloc(max, sizeof(*t->asked));
    t->owners = calloc(max, sizeof(*t->owners));
    t->targets = calloc(max, sizeof(*t->targets));
    if (!t->asked || !t->owners || !t->targets)
        return -ENOMEM;
    for (; t->n_asked < n; t->n_asked++) {
        t->asked[t->n_asked] = strdup(recipients[t->n_asked]);
        if (!t->asked[t->n_asked])
            return -ENOMEM;
    }
    *ret = TAKE_PTR(t);
    return 0;
}

void outbox_targets_stop(OutboxTargets *t)
{
    if (t)
        t->ask = contacts_request_free(t->ask);
}

OutboxTarget *outbox_targets_get(OutboxTargets *t, size_t *ret_n)
{
    *ret_n = t->n;
    return t->targets;
}

static bool is_target(const OutboxTargets *t, const char *kid)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->targets[i].kid, kid) == 0)
            return true;
    return false;
}

static int add_target(OutboxTargets *t, const Recipient *p)
{
    OutboxTarget *target = &t->targets[t->n];
    int r;

    if (is_target(t, p->kid))
        return 0;
    if (!*p->relay) {
        (void)snprintf(t->detail, sizeof(t->detail), "No mailbox of %.80s is known", t->asked[t->resolved]);
        return HMSG_ERROR_NOT_FOUND;
    }
    target->spki = BUF_MAX(SPKI_SIZE_MAX);
    r = buf_append(&target->spki, p->decrypt_spki.data, p->decrypt_spki.size);
    if (r != 0)
        return r;
    recovery_keys_copy(&p->recovery, &target->recovery);
    memcpy(target->kid, p->kid, sizeof(target->kid));
    (void)snprintf(target->relay, sizeof(target->relay), "%s", p->relay);
    (void)snprintf(target->recipient, sizeof(target->recipient), "%s", *p->address ? p->address : p->kid);
    t->n++;
    return 0;
}

/* The devices of the target that was added last are asked for behind all that is asked for already. */
static int add_devices(OutboxTargets *t, const Recipient *p)
{
    for (size_t i = 0; i < p->devices.n; i++) {
        char kid[HASH_TEXT_SIZE];
        int r;

        base64url_encode(p->devices.list[i].kid, KID_SIZE, kid);
        r = string_printf(&t->asked[t->n_asked], "key:%s", kid);
        if (r != 0)
            return r;
        t->owners[t->n_asked++] = t->n - 1;
    }
    return 0;
}

static int add_named(OutboxTargets *t, const Recipient *p)
{
    size_t before = t->n;
    int r = add_target(t, p);

    return r == 0 && t->n > before ? add_devices(t, p) : r;
}

/* One that is gone, blocked, or does not agree to be a device of this owner gets nothing. One that has
 * another key is not left out in silence. */
static int add_device(OutboxTargets *t, int r, const Recipient *p)
{
    const OutboxTarget *owner = &t->targets[t->owners[t->resolved]];

    if (r == HMSG_ERROR_NOT_FOUND)
        return 0;
    if (r != 0)
        return r;
    if (p->trust == CONTACT_CHANGED) {
        (void)snprintf(t->detail, sizeof(t->detail),
                       "The key of %.120s, a device of %.120s, has changed; compare fingerprints with them, "
                       "then run \"hmsgctl contact verify %.120s\"",
                       p->address, owner->recipient, p->address);
        return HMSG_ERROR_UNTRUSTED;
    }
    if (p->trust == CONTACT_BLOCKED || !*p->relay || !contacts_device_agrees(t->contacts, owner->kid, p))
        return 0;
    return add_target(t, p);
}

static int resolve_next(OutboxTargets *t, bool *ret_end);

static void on_resolved(int r, const char *detail, const Recipient *recipient, void *userdata)
{
    OutboxTargets *t = userdata;
    bool end = false;

    (void)snprintf(t->detail, sizeof(t->detail), "%s", r == 0 ? "" : detail);
    if (t->resolved >= t->n_named)
        r = add_device(t, r, recipient);
    else if (r == 0)
        r = add_named(t, recipient);
    t->ask = contacts_request_free(t->ask);
    t->resolved++;
    if (r == 0)
        r = resolve_next(t, &end);
    if (r != 0 || end)
        t->done(r, r == 0 ? "" : *t->detail ? t->detail : error_message(r), t->userdata);
}

static int resolve_next(OutboxTargets *t, bool *ret_end)
{
    ResolveOptions options = {.trust_relay = t->trust_relay, .fresh = true};

    *ret_end = t->resolved == t->n_asked;
    if (*ret_end)
        return 0;
    if (t->resolved >= t->n_named)
        options = (ResolveOptions){
            .fresh = true, .allow_untrusted = true, .relay = t->targets[t->owners[t->resolved]].relay};
    return contacts_resolve(t->contacts, t->asked[t->resolved], &options, on_resolved, t, &t->ask);
}

int outbox_targets_start(OutboxTargets *t, outbox_targets_t done, void *userdata)
{
    bool end = false; /* there is one at least */

    t->done = done;
    t->userdata = userdata;
    return resolve_next(t, &end);
}
