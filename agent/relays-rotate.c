/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Telling relays of our new keys. A relay knows some former pair of keys; all rotations since then are told
 * at once, as the keys between sign nothing any more. Nothing is kept of what is still to be told: a
 * registration names the key that the relay has, and what a relay knows of us it says itself. So an end of
 * the agent, an answer that was lost, and a relay that comes back from long ago are all the same case. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/own-devices.h"
#include "agent/relays-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "libhmsg/wire/json.h"

/* The rotation that a sign key of ours has signed; SIZE_MAX: none. */
static size_t find_rotation(const Relays *r, const uint8_t skid[static KID_SIZE])
{
    RotateStatement s;
    const char *text;

    for (size_t i = 0; (text = identity_rotation(r->m->identity, i)); i++)
        if (rotate_statement_peek(text, strlen(text), &s) == 0 && bytes_equal(s.skid, skid, KID_SIZE))
            return i;
    return SIZE_MAX;
}

static size_t count_rotations(const Relays *r)
{
    size_t n = 0;

    while (identity_rotation(r->m->identity, n))
        n++;
    return n;
}

bool rotate_is_former(const Relays *r, const char *kid)
{
    _cleanup_(db_resetp) DbStatement *find = r->sql.own_by_kid;
    uint8_t skid[KID_SIZE];
    bool row = false;

    db_bind_text(find, 1, kid);
    if (db_step(find, &row) != 0 || !row ||
        base64url_decode_exact(db_column_text(find, 0, NULL), HASH_TEXT_SIZE - 1, skid, KID_SIZE) != 0)
        return false;
    return find_rotation(r, skid) != SIZE_MAX;
}

/* The key by which the relay knows us; "" when it is that of now, or we are not registered there. */
static int registered_kid(const Relays *r, const char *relay, char ret[static HASH_TEXT_SIZE])
{
    _cleanup_(db_resetp) DbStatement *find = r->sql.registration_at;
    bool row = false;
    int e;

    ret[0] = 0;
    db_bind_text(find, 1, relay);
    while ((e = db_step(find, &row)) == 0 && row) {
        const char *kid = db_column_text(find, 0, NULL);

        if (!rotate_is_former(r, kid))
            continue;
        (void)snprintf(ret, HASH_TEXT_SIZE, "%s", kid);
        return 0;
    }
    return e;
}

bool rotate_is_due(const Relays *r, const char *relay)
{
    char kid[HASH_TEXT_SIZE];

    return registered_kid(r, relay, kid) == 0 && kid[0] != 0;
}

int rotate_note_keys(Relays *r)
{
    const IdentityPublic *p = identity_public(r->m->identity);
    DbStatement *put = r->sql.own_put;
    const uint8_t *spki;
    size_t n = 0;

    if (!p)
        return 0;
    spki = rsa_key_spki(p->sign, &n);
    db_bind_text(put, 1, p->skid);
    db_bind_text(put, 2, p->kid);
    db_bind_bytes(put, 3, spki, n);
    return db_run(put);
}

/* The i-th rotation with the key that it is of, which for the first is in what the relay has of us. */
static int put_step(const Relays *r, size_t i, const RsaKey *first, json_t *steps)
{
    _cleanup_(db_resetp) DbStatement *find = r->sql.own_by_skid;
    const char *text = identity_rotation(r->m->identity, i);
    const void *spki = NULL;
    char skid[HASH_TEXT_SIZE];
    RotateStatement s;
    bool row = false;
    size_t n = 0;
    int e;

    if (first) {
        spki = rsa_key_spki(first, &n);
        return rotation_step_put(steps, text, spki, n);
    }
    e = rotate_statement_peek(text, strlen(text), &s);
    if (e != 0)
        return e;
    base64url_encode(s.skid, KID_SIZE, skid);
    db_bind_text(find, 1, skid);
    e = db_step(find, &row);
    if (e == 0 && row)
        spki = db_column_bytes(find, 0, &n);
    if (e != 0 || !spki)
        return e != 0 ? e : HMSG_ERROR_NOT_FOUND;
    return rotation_step_put(steps, text, spki, n);
}

/* By the key there or one that may recover it. */
size_t rotate_find_first(const Relays *r, const IdentityStatement *registered, const RsaKey **ret_signer)
{
    size_t first = find_rotation(r, rsa_key_thumbprint(registered->sign));

    *ret_signer = registered->sign;
    for (size_t i = 0; first == SIZE_MAX && i < registered->recovery.n; i++) {
        *ret_signer = registered->recovery.keys[i].sign;
        if (*ret_signer)
            first = find_rotation(r, rsa_key_thumbprint(*ret_signer));
    }
    return first;
}

int rotate_put_steps(const Relays *r, size_t first, size_t end, const RsaKey *signer, json_t *steps)
{
    size_t n = count_rotations(r);
    int e = 0;

    for (size_t i = first; e == 0 && i < n && i < end; i++)
        e = put_step(r, i, i == first ? signer : NULL, steps);
    return e;
}

/* From what the relay has to the keys of now. */
static int make_steps(RelaysRequest *q, const IdentityStatement *registered)
{
    const RsaKey *signer = NULL;
    size_t first = rotate_find_first(q->owner, registered, &signer);
    _cleanup_(json_decrefp) json_t *steps = json_array();
    int r = steps ? 0 : -ENOMEM;

    if (first == SIZE_MAX)
        return request_error(q, HMSG_ERROR_NOT_FOUND, "Relay %s:%u has keys of ours that lead nowhere",
                             q->asked.host, q->asked.port);
    if (r == 0)
        r = rotate_put_steps(q->owner, first, SIZE_MAX, signer, steps);
    buf_clear(&q->steps);
    return r == 0 ? json_write(steps, &q->steps) : r;
}

static int on_rotation_refused(RelaysRequest *q, const CourierError *e)
{
    /* one that names a time has only had too many of us, and is asked again */
    return request_error(q, e->error, "Relay %s:%u does not take our new keys%s: %s", q->asked.host,
                         q->asked.port, e->retry_after > 0 ? " yet" : "", e->detail);
}

static int on_former(RelaysRequest *q, sd_bus_message *reply)
{
    _cleanup_(identity_statement_done) IdentityStatement identity = {0};
    const IdentityPublic *p = identity_public(q->owner->m->identity);
    const char *statement, *binding, *relay_statement, *chain;
    Binding b = {0};
    int r;

    if (!p)
        return HMSG_ERROR_NO_IDENTITY;
    r = sd_bus_message_read(reply, "ssss", &statement, &binding, &relay_statement, &chain);
    if (r < 0)
        return -EBADMSG;
    r = directory_read(q, statement, binding, relay_statement, &identity, &b);
    if (r != 0)
        return r;
    memcpy(q->entry_name, b.name, sizeof(q->entry_name));
    base64url_encode(rsa_key_thumbprint(identity.decrypt), KID_SIZE, q->entry_kid);
    r = own_devices_digest(&identity.devices, q->devices);
    if (r != 0)
        return r;
    memcpy(q->previous, identity.sha256, SHA256_SIZE);
    q->has_previous = true;
    free(q->stored_address);
    q->stored_address = strdup(identity.address);
    if (!q->stored_address)
        return -ENOMEM;
    if (b.name[0])
        r = chain_note(q->owner, identity.address, rsa_key_thumbprint(identity.sign), statement,
                       identity.has_previous);
    if (r != 0)
        return r;
    /* the answer to the rotation was lost */
    if (rsa_key_equal(identity.sign, p->sign))
        return q->rotated(q);
    r = make_steps(q, &identity);
    q->refused = on_rotation_refused;
    return r == 0 ? register_rotated_start(q) : r;
}

/* The former key that is looked for next; "" when there is none left. First the one by which we were there
 * last, then the newest: the relay may have gone back to what it was, or we be a guest that forgot it. */
static int next_former(RelaysRequest *q, char ret[static HASH_TEXT_SIZE])
{
    size_t n = count_rotations(q->owner);
    const char *text;
    RotateStatement s;
    int r;

    ret[0] = 0;
    if (q->former == 0) {
        q->former = 1;
        r = registered_kid(q->owner, q->connection->text, ret);
        if (r != 0 || ret[0])
            return r;
    }
    if (q->former > RELAYS_FORMER_MAX || q->former > n)
        return 0;
    text = identity_rotation(q->owner->m->identity, n - q->former++);
    r = rotate_statement_peek(text, strlen(text), &s);
    if (r == 0)
        base64url_encode(s.skid, KID_SIZE, ret);
    return r;
}

static int ask_former(RelaysRequest *q);

static int on_former_refused(RelaysRequest *q, const CourierError *e)
{
    if (e->error == HMSG_ERROR_NOT_FOUND)
        return ask_former(q);
    return request_error(q, e->error, "Relay %s:%u: %s", q->asked.host, q->asked.port, e->detail);
}

static int ask_former(RelaysRequest *q)
{
    char key[HASH_TEXT_SIZE];
    sd_bus_message *call = NULL;
    int r;

    r = next_former(q, key);
    if (r != 0)
        return r;
    if (!key[0]) {
        q->refused = NULL;
        return q->not_rotated(q);
    }
    q->refused = on_former_refused;
    r = request_call_new(q, "LookupKid", &call);
    if (r != 0)
        return r;
    r = sd_bus_message_append(call, "ss", key, key);
    return request_call(q, call, r, false, on_former);
}

/* The relay has the keys of now. */
static int finish(RelaysRequest *q)
{
    int r = q->entry_name[0] ? register_store(q) : guests_note(q->connection);

    if (r != 0)
        return r;
    log_info("Relay %s:%u has our new keys", q->asked.host, q->asked.port);
    q->refused = NULL;
    return q->after_rotation(q);
}

int rotate_start(RelaysRequest *q, request_step_t rotated, request_step_t not_rotated)
{
    q->rotated = finish;
    q->after_rotation = rotated;
    q->not_rotated = not_rotated;
    q->former = 0;
    return ask_former(q);
}

int relays_take_over(Relays *r, const char *address, const char *relay, const char *lost_kid,
                     const uint8_t skid[static KID_SIZE])
{
    DbStatement *recovered = r->sql.recovered_put, *registration = r->sql.registration_put;
    _cleanup_(db_rollbackp) Db *t = store_db(r->m->store);
    char signer[HASH_TEXT_SIZE];
    int e;

    if (find_rotation(r, skid) == SIZE_MAX)
        return HMSG_ERROR_NOT_FOUND;
    base64url_encode(skid, KID_SIZE, signer);
    db_bind_text(recovered, 1, lost_kid);
    db_bind_text(recovered, 2, signer);
    db_bind_text(registration, 1, address);
    db_bind_text(registration, 2, relay);
    db_bind_text(registration, 3, lost_kid);
    db_bind_number(registration, 4, clock_realtime());
    db_bind_bytes(registration, 5, NULL, 0); /* as the lost keys said */
    e = db_begin(t);
    if (e == 0)
        e = db_run(recovered);
    if (e == 0)
        e = db_run(registration);
    if (e == 0)
        e = db_commit(t);
    if (e == 0)
        e = relays_load_ours(r);
    if (e == 0)
        login_keep_all(r, true);
    return e;
}

size_t relays_lost_kids(Relays *r, uint8_t (*ret)[KID_SIZE], size_t max)
{
    _cleanup_(db_resetp) DbStatement *find = r->sql.recovered;
    bool row = false;
    size_t n = 0;

    db_bind_number(find, 1, (int64_t)max);
    while (n < max && db_step(find, &row) == 0 && row)
        if (base64url_decode_exact(db_column_text(find, 0, NULL), HASH_TEXT_SIZE - 1, ret[n], KID_SIZE) == 0)
            n++;
    return n;
}
