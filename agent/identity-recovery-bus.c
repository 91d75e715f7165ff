/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Recovery keys on the bus. Recover: the address names our keys as recovery keys, or did when we rotated
 * them; the directory is asked, our keys are rotated by a statement that counts for the address as well, and
 * its relay is told like any other. */

#include <errno.h>
#include <string.h>

#include "agent/contacts.h"
#include "agent/identity-bus-internal.h"
#include "agent/relays.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/export.h"

#define RECOVERY_BITS 2048u /* what identity import takes into every TPM */

static int read_key(const BusBytes *bytes, KeyFile **ret, sd_bus_error *error)
{
    int r = key_file_read(bytes->data, bytes->size, clock_realtime(), ret);

    if (r > 0)
        return bus_fail(
            error, HMSG_ERROR_INVALID_ARGS,
            "A recovery key is a public key in PEM or JWK, a certificate, or an exported identity");
    if (r == 0 && (rsa_key_bits((*ret)->decrypt) != RECOVERY_BITS ||
                   ((*ret)->sign && rsa_key_bits((*ret)->sign) != RECOVERY_BITS)))
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "A recovery key has 2048 bits");
    return r;
}

static int add_named(const BusBytes *key, const BusBytes *sign_key, RecoveryKeys *k, sd_bus_error *error)
{
    _cleanup_(key_file_freep) KeyFile *file = NULL, *sign_file = NULL;
    int r = read_key(key, &file, error);

    if (r == 0 && sign_key->data)
        r = read_key(sign_key, &sign_file, error);
    if (r != 0)
        return r;
    r = recovery_keys_add(k, file->decrypt, sign_file ? sign_file->decrypt : file->sign);
    return r > 0 ? bus_fail(error, HMSG_ERROR_INVALID_ARGS,
                            "All recovery keys, to decrypt and to sign, must be different ones")
                 : r;
}

int identity_recovery_read(const RecoveryOptions *o, RecoveryKeys *ret, bool *ret_given, sd_bus_error *error)
{
    bool named = o->named[0].key.data;
    int r = 0;

    *ret_given = o->none || named;
    for (size_t i = 0; i < ELEMENTSOF(o->named); i++)
        if ((o->none && o->named[i].key.data) || (!o->named[i].key.data && o->named[i].sign_key.data) ||
            (!named && o->named[i].key.data))
            return bus_fail(error, HMSG_ERROR_INVALID_ARGS,
                            "A recovery key is named, with or without its sign key, and a further one behind "
                            "it; or there is none");
    for (size_t i = 0; r == 0 && i < ELEMENTSOF(o->named); i++)
        if (o->named[i].key.data)
            r = add_named(&o->named[i].key, &o->named[i].sign_key, ret, error);
    return r;
}

int identity_recovery_begun(IdentityCall *c, int r, const char *detail, bool given, const RecoveryKeys *k)
{
    if (r == 0 && given)
        identity_name_recovery(c->work, k);
    return identity_call_begun(c, r, detail);
}

int identity_recovery_append(sd_bus_message *m, const RecoveryKeys *k)
{
    char kids[RECOVERY_KEYS_MAX][HASH_TEXT_SIZE];
    const char *texts[RECOVERY_KEYS_MAX];

    for (size_t i = 0; i < k->n; i++) {
        base64url_encode(rsa_key_thumbprint(k->keys[i].decrypt), KID_SIZE, kids[i]);
        texts[i] = kids[i];
    }
    return k->n > 0 ? bus_append_strings(m, "recovery", texts, k->n) : 0;
}

/* A Recover that is under way. */
typedef struct Recovery {
    Manager *m;
    Request *request;
    RelaysRequest *lookup;
    IdentityWork *work;
    bool named; /* recovery keys of the new keys */
    RecoveryKeys names;
    char address[ADDRESS_SIZE_MAX + 1];
    char relay[RELAY_TEXT_SIZE];
    char lost_kid[HASH_TEXT_SIZE];
    uint8_t skid[KID_SIZE]; /* that signs for it */
} Recovery;

static Recovery *recovery_free(Recovery *c)
{
    if (!c)
        return NULL;
    (void)relays_request_free(c->lookup);
    (void)identity_work_free(c->work);
    (void)request_free(c->request);
    recovery_keys_done(&c->names);
    free(c);
    return NULL;
}
DEFINE_CLEANUP(Recovery *, recovery_free)

static void cancel(void *userdata)
{
    (void)recovery_free(userdata);
}

static void finish(Recovery *c, int r, const char *detail)
{
    sd_bus_message *reply = NULL;

    if (r == 0)
        r = request_reply_new(c->request, &reply);
    if (r >= 0 && reply)
        r = identity_append(c->m, reply);
    if (r >= 0 && reply)
        (void)request_send(c->request, reply);
    else
        (void)request_fail(c->request, r, detail);
    sd_bus_message_unref(reply);
    (void)recovery_free(c);
}

static void take_over(Recovery *c)
{
    finish(c, relays_take_over(c->m->relays, c->address, c->relay, c->lost_kid, c->skid), NULL);
}

static void on_rotated(int r, const char *detail, void *userdata)
{
    Recovery *c = userdata;

    if (r == 0)
        take_over(c);
    else
        finish(c, r, detail);
}

/* The recovery key that is ours, or that we have rotated since; NULL: none. */
static const RecoveryKey *find_ours(const Recovery *c, const IdentityStatement *s, bool *ret_rotated)
{
    const IdentityPublic *own = identity_public(c->m->identity);
    RotateStatement rotation;
    const char *text;

    for (size_t i = 0; own && i < s->recovery.n; i++) {
        const RecoveryKey *k = &s->recovery.keys[i];

        *ret_rotated = false;
        if (k->sign && rsa_key_equal(k->sign, own->sign))
            return k;
        for (size_t n = 0; k->sign && (text = identity_rotation(c->m->identity, n)); n++)
            if (rotate_statement_peek(text, strlen(text), &rotation) == 0 &&
                bytes_equal(rotation.skid, rsa_key_thumbprint(k->sign), KID_SIZE) &&
                rotation.generation > s->generation) {
                *ret_rotated = true;
                return k;
            }
    }
    return NULL;
}

static int rotate(Recovery *c, uint64_t after)
{
    const IdentityRotation rotation = {.after = after};
    int r = identity_rotate(c->m->identity, &rotation, on_rotated, c, &c->work);

    if (r == 0 && c->named)
        identity_name_recovery(c->work, &c->names);
    return r;
}

static void on_found(int r, const char *detail, const DirectoryEntry *entry, void *userdata)
{
    Recovery *c = userdata;
    const IdentityPublic *own = identity_public(c->m->identity);
    RelaysRequest *lookup = TAKE_PTR(c->lookup); /* owns entry and detail */
    const RecoveryKey *ours = NULL;
    bool rotated = false;

    if (r == 0 && own && rsa_key_equal(entry->identity->sign, own->sign)) {
        r = HMSG_ERROR_ALREADY_EXISTS;
        detail = "The address has your keys already";
    }
    if (r == 0)
        ours = find_ours(c, entry->identity, &rotated);
    if (r == 0 && !ours) {
        r = HMSG_ERROR_DENIED;
        detail = "The keys of the address name no recovery key of yours that may sign for it";
    }
    if (r == 0) {
        memcpy(c->address, entry->identity->address, sizeof(c->address));
        memcpy(c->relay, entry->relay, strnlen(entry->relay, sizeof(c->relay) - 1));
        memcpy(c->skid, rsa_key_thumbprint(ours->sign), KID_SIZE);
        base64url_encode(rsa_key_thumbprint(entry->identity->decrypt), KID_SIZE, c->lost_kid);
        if (!rotated) {
            r = rotate(c, entry->identity->generation);
            detail = identity_rotation_detail(r);
        }
    }
    if (r != 0)
        finish(c, r, detail);
    else if (rotated)
        take_over(c);
    (void)relays_request_free(lookup);
}

static int begin(Recovery *c, const char *address, bool trust_relay)
{
    Address a;
    int r = address_parse(address, &a);

    if (r == 0)
        r = identity_check(c->m->identity);
    return r == 0 ? relays_lookup_name(c->m->relays, &a.relay, a.name, NULL, trust_relay, on_found, c,
                                       &c->lookup)
                  : r;
}

int identity_method_recover(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    struct RecoverOptions {
        RecoveryOptions recovery;
        bool trust_relay;
    } o = {.trust_relay = false};
    static const BusOption options[] = {
        RECOVERY_OPTIONS(struct RecoverOptions, recovery),
        {"trust_relay", 'b', offsetof(struct RecoverOptions, trust_relay)},
    };
    _cleanup_(recovery_freep) Recovery *c = calloc(1, sizeof(*c));
    Manager *m = userdata;
    const char *address;
    int r;

    if (!c)
        return -ENOMEM;
    c->m = m;
    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = bus_read_options(message, options, ELEMENTSOF(options), &o, error);
    if (r == 0)
        r = identity_recovery_read(&o.recovery, &c->names, &c->named, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = request_new(m->access, message, cancel, c, &c->request);
    if (r == 0)
        r = begin(c, address, o.trust_relay);
    if (r != 0)
        return bus_fail(error, r, NULL);
    (void)TAKE_PTR(c);
    return 1;
}
