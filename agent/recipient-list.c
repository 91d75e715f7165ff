/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/contacts.h"
#include "agent/key-cache.h"
#include "agent/recipient-list.h"
#include "agent/relays.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/export.h"

typedef struct Known {
    char kid[HASH_TEXT_SIZE];
    Buf spki;
    Buf issuer_serial;
} Known;

/* A device that a recipient names, to be asked for. */
typedef struct Pending {
    char who[HASH_TEXT_SIZE + 4];
    char relay[RELAY_TEXT_SIZE]; /* of its owner; "" */
    size_t owner;                /* in known */
} Pending;

struct RecipientList {
    Manager *m;
    recipient_list_t done;
    void *userdata;
    BusStrings names;
    Pending devices[RECIPIENTS_MAX];
    size_t n_devices;
    size_t at; /* the name, or behind the names the device, that is being asked for */
    char detail[256];
    ContactsRequest *request;
    size_t n_named, n; /* behind those named are recovery keys and devices */
    Known known[RECIPIENTS_MAX];
    SealKey keys[RECIPIENTS_MAX];
};

static int take(RecipientList *l, size_t i, const SealKey *key)
{
    Known *k = &l->known[i];
    int r;

    if (strlen(key->kid) != sizeof(k->kid) - 1)
        return -EINVAL;
    memcpy(k->kid, key->kid, sizeof(k->kid));
    k->spki = BUF_MAX(SPKI_SIZE_MAX);
    k->issuer_serial = BUF_MAX(ISSUER_SERIAL_SIZE_MAX);
    r = buf_append(&k->spki, key->spki, key->spki_size);
    if (r == 0 && key->issuer_serial_size > 0)
        r = buf_append(&k->issuer_serial, key->issuer_serial, key->issuer_serial_size);
    if (r == 0)
        l->keys[i] = (SealKey){.kid = k->kid,
                               .spki = k->spki.data,
                               .spki_size = k->spki.size,
                               .issuer_serial = k->issuer_serial.data,
                               .issuer_serial_size = k->issuer_serial.size};
    return r;
}

static bool is_there(const RecipientList *l, const char *kid)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->known[i].kid, kid) == 0)
            return true;
    return false;
}

static int take_recovery(RecipientList *l, const RecoveryKeys *recovery)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < recovery->n; i++) {
        const RsaKey *key = recovery->keys[i].decrypt;
        char kid[HASH_TEXT_SIZE];
        SealKey one = {.kid = kid};

        base64url_encode(rsa_key_thumbprint(key), KID_SIZE, kid);
        if (is_there(l, kid))
            continue;
        if (l->n == RECIPIENTS_MAX)
            return HMSG_ERROR_TOO_LARGE;
        one.spki = rsa_key_spki(key, &one.spki_size);
        r = take(l, l->n++, &one);
    }
    return r;
}

static int note_devices(RecipientList *l, const Recipient *p, size_t owner)
{
    for (size_t i = 0; i < p->devices.n; i++) {
        Pending *d = &l->devices[l->n_devices];
        char kid[HASH_TEXT_SIZE];

        if (l->n_devices == RECIPIENTS_MAX)
            return HMSG_ERROR_TOO_LARGE;
        base64url_encode(p->devices.list[i].kid, KID_SIZE, kid);
        (void)snprintf(d->who, sizeof(d->who), "key:%s", kid);
        (void)snprintf(d->relay, sizeof(d->relay), "%s", p->relay);
        d->owner = owner;
        l->n_devices++;
    }
    return 0;
}

static int take_named(RecipientList *l, const Recipient *p)
{
    const SealKey key = {.kid = p->kid, .spki = p->decrypt_spki.data, .spki_size = p->decrypt_spki.size};
    size_t i = l->at;
    int r = take(l, i, &key);

    if (r == 0)
        r = take_recovery(l, &p->recovery);
    return r == 0 ? note_devices(l, p, i) : r;
}

/* As for mail (outbox-targets.c): what is gone, blocked or does not agree is left out, another key is not. */
static int take_device(RecipientList *l, int r, const Recipient *p)
{
    const Pending *d = &l->devices[l->at - l->names.n];

    if (r == HMSG_ERROR_NOT_FOUND)
        return 0;
    if (r != 0)
        return r;
    if (p->trust == CONTACT_CHANGED) {
        (void)snprintf(l->detail, sizeof(l->detail), "The key of the device %.160s has changed", p->address);
        return HMSG_ERROR_UNTRUSTED;
    }
    if (p->trust == CONTACT_BLOCKED || is_there(l, p->kid) ||
        !contacts_device_agrees(l->m->contacts, l->known[d->owner].kid, p))
        return 0;
    if (l->n == RECIPIENTS_MAX)
        return HMSG_ERROR_TOO_LARGE;
    const SealKey key = {.kid = p->kid, .spki = p->decrypt_spki.data, .spki_size = p->decrypt_spki.size};
    r = take(l, l->n, &key);
    l->n += r == 0;
    return r == 0 ? take_recovery(l, &p->recovery) : r;
}

int recipient_list_new(Manager *m, const BusStrings *names, const BusBytesList *keys, recipient_list_t done,
                       void *userdata, RecipientList **ret)
{
    _cleanup_(recipient_list_freep) RecipientList *l = NULL;
    int r;

    if (names->n + keys->n == 0)
        return HMSG_ERROR_INVALID_ARGS;
    if (names->n + keys->n > RECIPIENTS_MAX)
        return HMSG_ERROR_TOO_LARGE;
    l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->m = m;
    l->done = done;
    l->userdata = userdata;
    l->names = *names;
    l->n = l->n_named = names->n + keys->n;
    for (size_t i = 0; i < keys->n; i++) {
        SealKey key;

        r = key_cache_read(m->key_cache, keys->items[i].data, keys->items[i].size, &key);
        if (r == 0)
            r = take(l, names->n + i, &key);
        if (r == 0 && key.recovery)
            r = take_recovery(l, key.recovery);
        if (r != 0)
            return r;
    }
    *ret = TAKE_PTR(l);
    return 0;
}

const char *recipient_list_refusal(const BusBytesList *keys)
{
    const char *why = NULL;

    for (size_t i = 0; i < keys->n && !why; i++)
        why = key_file_refusal(keys->items[i].data, keys->items[i].size, clock_realtime());
    return why;
}

RecipientList *recipient_list_free(RecipientList *l)
{
    if (!l)
        return NULL;
    contacts_request_free(l->request);
    for (size_t i = 0; i < l->n; i++) {
        buf_done(&l->known[i].spki);
        buf_done(&l->known[i].issuer_serial);
    }
    free(l);
    return NULL;
}

static void on_resolved(int r, const char *detail, const Recipient *recipient, void *userdata)
{
    RecipientList *l = userdata;
    _cleanup_(contacts_request_freep) ContactsRequest *request = TAKE_PTR(l->request); /* owns detail */

    if (l->at >= l->names.n) {
        l->detail[0] = 0;
        r = take_device(l, r, recipient);
        detail = l->detail[0] ? l->detail : detail;
    } else if (r == 0) {
        r = take_named(l, recipient);
    }
    if (r == 0) {
        l->at++;
        r = recipient_list_start(l);
        detail = NULL;
    }
    if (r != -EAGAIN)
        l->done(r, detail, l->userdata);
}

int recipient_list_start(RecipientList *l)
{
    const char *who = l->at < l->names.n ? l->names.items[l->at] : NULL;
    ResolveOptions options = {0};
    int r;

    if (l->at == l->names.n + l->n_devices)
        return 0;
    if (!l->m->contacts)
        return HMSG_ERROR_NOT_FOUND;
    if (!who) {
        const Pending *d = &l->devices[l->at - l->names.n];

        who = d->who;
        options = (ResolveOptions){.allow_untrusted = true, .relay = *d->relay ? d->relay : NULL};
    }
    r = contacts_resolve(l->m->contacts, who, &options, on_resolved, l, &l->request);
    return r == 0 ? -EAGAIN : r;
}

const SealKey *recipient_list_keys(const RecipientList *l, bool recovery, size_t *ret_n)
{
    *ret_n = recovery ? l->n : l->n_named;
    return l->keys;
}
