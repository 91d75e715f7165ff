/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests of contacts: how they end, and the look-up by name that most of them come to. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/contacts-internal.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

int contacts_request_new(Contacts *c, void (*deliver)(ContactsRequest *q), void *userdata,
                         ContactsRequest **ret)
{
    ContactsRequest *q = calloc(1, sizeof(*q));

    if (!q)
        return -ENOMEM;
    q->c = c;
    q->deliver = deliver;
    q->userdata = userdata;
    DL_APPEND(c->requests, q);
    *ret = q;
    return 0;
}

ContactsRequest *contacts_request_free(ContactsRequest *q)
{
    if (!q)
        return NULL;
    if (q->c)
        DL_DELETE(q->c->requests, q);
    (void)sd_event_source_disable_unref(q->defer);
    (void)sd_event_source_disable_unref(q->patience);
    (void)relays_request_free(q->lookup);
    for (size_t i = 0; i < q->n_relays; i++)
        free(q->relays[i]);
    free(q->relays);
    free(q->name);
    (void)contact_free(q->pinned);
    free(q->detail);
    (void)contact_free(q->found);
    free(q);
    return NULL;
}

static int on_defer(sd_event_source *source, void *userdata)
{
    ContactsRequest *q = userdata;

    q->defer = sd_event_source_disable_unref(q->defer);
    q->deliver(q);
    return 0;
}

void contacts_request_finish(ContactsRequest *q, int r, const char *format, ...)
{
    q->r = r;
    q->patience = sd_event_source_disable_unref(q->patience);
    if (r != 0 && format) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&q->detail, format, ap) < 0)
            q->detail = NULL;
        va_end(ap);
    }
    r = sd_event_add_defer(q->c->m->event, &q->defer, on_defer, q);
    if (r < 0)
        (void)sd_event_exit(q->c->m->event, r);
}

int contacts_request_set_relays(ContactsRequest *q, const char *relay)
{
    const char *const *ours = NULL;
    size_t n = 1;

    if (!relay) {
        n = q->c->m->relays ? relays_ours(q->c->m->relays, &ours) : 0;
        if (n == 0)
            return 0;
    }
    q->relays = calloc(n, sizeof(*q->relays));
    if (!q->relays)
        return -ENOMEM;
    for (q->n_relays = 0; q->n_relays < n; q->n_relays++) {
        q->relays[q->n_relays] = strdup(relay ? relay : ours[q->n_relays]);
        if (!q->relays[q->n_relays])
            return -ENOMEM;
    }
    return 0;
}

void contacts_finish_trusted(ContactsRequest *q, Contact *p)
{
    ContactTrust trust = contact_trust(p);
    const char *label = contact_label(p);

    if (trust == CONTACT_BLOCKED && !q->options.allow_untrusted) {
        contacts_request_finish(q, HMSG_ERROR_UNTRUSTED,
                                "%s is blocked; \"hmsgctl contact allow %s\" takes that back", label, label);
        (void)contact_free(p);
    } else if (trust == CONTACT_CHANGED && !q->options.allow_untrusted) {
        contacts_request_finish(q, HMSG_ERROR_UNTRUSTED,
                                "The key of %s has changed; compare fingerprints with them, then run "
                                "\"hmsgctl contact verify %s\"",
                                label, label);
        (void)contact_free(p);
    } else {
        q->found = p;
        contacts_request_finish(q, 0, NULL);
    }
}

/* The store's answer when the directory gives none. */
static bool pinned_serves(const ContactsRequest *q, int r)
{
    if (!q->pinned || !q->pinned->relay)
        return false;
    /* for a message there must be a mailbox; for a file the key is enough */
    return r == HMSG_ERROR_RELAY_UNAVAILABLE || (r == HMSG_ERROR_NOT_FOUND && !q->options.fresh);
}

static void on_name(int r, const char *detail, const DirectoryEntry *entry, void *userdata)
{
    _cleanup_(buf_done) Buf address = BUF_MAX(ADDRESS_SIZE_MAX);
    ContactsRequest *q = userdata;
    Contact *p = NULL;

    q->lookup = relays_request_free(q->lookup);
    if (r != 0 && pinned_serves(q, r)) {
        contacts_finish_trusted(q, TAKE_PTR(q->pinned));
        return;
    }
    if (r != 0) {
        contacts_request_finish(q, r, "%s", detail);
        return;
    }
    r = address_format(&q->address, false, &address);
    if (r == 0)
        r = contacts_pin(q->c, buf_text(&address), entry, &p);
    if (r == 0)
        contacts_finish_trusted(q, p);
    else
        contacts_request_finish(q, r, NULL);
}

static int on_silence(sd_event_source *source, uint64_t usec, void *userdata)
{
    on_name(HMSG_ERROR_RELAY_UNAVAILABLE, error_message(HMSG_ERROR_RELAY_UNAVAILABLE), NULL, userdata);
    return 0;
}

int contacts_pinned_kid(ContactsRequest *q, char ret[static CONTACT_KID_TEXT])
{
    _cleanup_(buf_done) Buf address = BUF_MAX(ADDRESS_SIZE_MAX);
    _cleanup_(contact_freep) Contact *p = NULL;
    int r;

    ret[0] = 0;
    r = address_format(&q->address, false, &address);
    if (r == 0)
        r = contact_store_find(q->c->store, CONTACT_BY_ADDRESS, buf_text(&address), &p);
    if (r == 0)
        memcpy(ret, p->keys.kid, CONTACT_KID_TEXT);
    return r == HMSG_ERROR_NOT_FOUND ? 0 : r;
}

static void on_led(int r, const char *detail, const DirectoryEntry *entry, void *userdata)
{
    _cleanup_(buf_done) Buf address = BUF_MAX(ADDRESS_SIZE_MAX);
    ContactsRequest *q = userdata;
    Contact *p = NULL;

    q->lookup = relays_request_free(q->lookup);
    if (r != 0) {
        contacts_request_finish(q, r, "%s", detail);
        return;
    }
    r = address_format(&q->address, false, &address);
    if (r == 0)
        r = contacts_pin(q->c, buf_text(&address), entry, &p);
    if (r == 0)
        q->then(q, p);
    else
        contacts_request_finish(q, r, NULL);
}

/* The contact at an address has other keys than the directory, and no way from them is known. */
static int is_unexplained(ContactsRequest *q, const char *address, const DirectoryEntry *entry, bool *ret)
{
    _cleanup_(contact_freep) Contact *p = NULL;
    char kid[CONTACT_KID_TEXT], from[CONTACT_KID_TEXT] = "";
    int r;

    r = contact_store_find(q->c->store, CONTACT_BY_ADDRESS, address, &p);
    *ret = false;
    if (r != 0)
        return r == HMSG_ERROR_NOT_FOUND ? 0 : r;
    base64url_encode(rsa_key_thumbprint(entry->identity->decrypt), KID_SIZE, kid);
    if (entry->rotation)
        base64url_encode(entry->rotation->keys[0].kid, KID_SIZE, from);
    *ret = p->keys.skid[0] && strcmp(p->keys.kid, kid) != 0 && strcmp(p->keys.kid, from) != 0;
    return 0;
}

int contacts_pin_led(ContactsRequest *q, const char *address, const DirectoryEntry *entry,
                     void (*then)(ContactsRequest *q, Contact *p))
{
    char kid[CONTACT_KID_TEXT];
    bool unexplained = false;
    Contact *p = NULL;
    int r;

    r = address ? is_unexplained(q, address, entry, &unexplained) : 0;
    if (r != 0)
        return r;
    if (!unexplained) {
        r = contacts_pin(q->c, address, entry, &p);
        if (r == 0)
            then(q, p);
        return r;
    }
    q->then = then;
    r = address_parse(address, &q->address);
    if (r == 0)
        r = contacts_pinned_kid(q, kid);
    if (r == 0)
        r = relay_parse(entry->relay, &q->address.relay);
    if (r != 0)
        return r;
    return relays_lookup_name(q->c->m->relays, &q->address.relay, q->address.name, kid, false, on_led, q,
                              &q->lookup);
}

int contacts_ask_name(ContactsRequest *q)
{
    char kid[CONTACT_KID_TEXT];
    int r = 0;

    if (!q->c->m->relays)
        return HMSG_ERROR_RELAY_UNAVAILABLE;
    if (pinned_serves(q, HMSG_ERROR_RELAY_UNAVAILABLE))
        r = sd_event_add_time_relative(q->c->m->event, &q->patience, CLOCK_BOOTTIME,
                                       CONTACT_PATIENCE_SECONDS * UINT64_C(1000000), 0, on_silence, q);
    if (r >= 0)
        r = contacts_pinned_kid(q, kid);
    if (r != 0)
        return r;
    return relays_lookup_name(q->c->m->relays, &q->address.relay, q->address.name, *kid ? kid : NULL,
                              q->options.trust_relay, on_name, q, &q->lookup);
}
