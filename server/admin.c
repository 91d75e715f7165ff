/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/crypto.h"
#include "libhmsg/wire/json.h"
#include "server/admin-write.h"

#define CODE_BYTES ((ADMIN_CODE_SIZE - 1) / 2) /* random ones of an invitation: nobody guesses them */
#define DAY 86400
#define NUMBER_DIGITS_MAX 18u

/* A port that is not known before the relay listens is any. */
static bool is_ours(const Relay *ours, const Relay *theirs)
{
    return strcmp(ours->host, theirs->host) == 0 && (ours->port == 0 || ours->port == theirs->port);
}

/* The number that a client has in the store; 0: it is something else. */
static int64_t client_number(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits <= NUMBER_DIGITS_MAX && !text[digits] ? strtoll(text, NULL, 10) : 0;
}

static int find_number(const Admin *a, int64_t number, StoreIdentity *ret)
{
    int64_t found = number - 1;
    int r = store_next_identity(a->reader, &found, ret);
    return found == number ? r : r == 0 || r == -EBADMSG ? HMSG_ERROR_NOT_FOUND : r;
}

/* -EBADMSG: there is one of this number, of whom nothing can be read. */
static int find_client(const Admin *a, const char *text, StoreIdentity *ret)
{
    int64_t number = client_number(text);
    uint8_t kid[KID_SIZE];
    Address address;
    if (number > 0)
        return find_number(a, number, ret);
    if (address_parse(text, &address) == 0)
        return is_ours(a->relay, &address.relay) ? store_find_name(a->reader, address.name, ret)
                                                 : HMSG_ERROR_INVALID_ARGS;
    if (base64url_decode_exact(text, strlen(text), kid, KID_SIZE) != 0)
        return HMSG_ERROR_INVALID_ARGS;
    return store_find_key(a->reader, kid, ret);
}

static int put_address(const Admin *a, const StoreIdentity *i, json_t *j)
{
    Address address = {.relay = *a->relay};
    _cleanup_(buf_done) Buf text = BUF_MAX(ADDRESS_SIZE_MAX);
    memcpy(address.name, i->name, sizeof(address.name));
    int r = i->name[0] ? address_format(&address, false, &text) : 0;
    return r == 0 ? json_put_text(j, "address", buf_text(&text)) : r;
}

static int put_client(const Admin *a, const StoreIdentity *i, json_t *j)
{
    StoreUse use = {};
    int r = store_use(a->reader, i->kid, &use);
    if (r == 0)
        r = put_address(a, i, j);
    if (r == 0)
        r = json_put_bytes(j, "key", i->kid, KID_SIZE);
    if (r == 0)
        r = json_put_number(j, "created", i->created);
    if (r == 0)
        r = json_put_number(j, "messages", (int64_t)use.messages);
    if (r == 0)
        r = json_put_number(j, "bytes", (int64_t)use.bytes);
    return r == 0 ? json_put(j, "blocked", json_boolean(i->blocked)) : r;
}

static int emit_client(const Admin *a, const StoreIdentity *i, admin_emit_t emit, void *userdata)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = j ? put_client(a, i, j) : -ENOMEM;
    return r == 0 ? emit(userdata, j) : r;
}

/* Of whom no more can be told. */
static int emit_damaged(int64_t number, admin_emit_t emit, void *userdata)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = j ? json_put(j, "damaged", json_true()) : -ENOMEM;
    if (r == 0)
        r = json_put_number(j, "number", number);
    return r == 0 ? emit(userdata, j) : r;
}

/* One look at a time, so that the relay is not kept from cleaning its log. */
static int list_clients(const Admin *a, admin_emit_t emit, void *userdata)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    int64_t number = 0;
    int r = i ? 0 : -ENOMEM;
    while (r == 0) {
        int64_t before = number;
        r = store_next_identity(a->reader, &number, i);
        if (r == 0)
            r = emit_client(a, i, emit, userdata);
        else if (r == -EBADMSG && number > before)
            r = emit_damaged(number, emit, userdata);
    }
    return r == HMSG_ERROR_NOT_FOUND ? 0 : r;
}

static int delete_client(const Admin *a, const StoreIdentity *i)
{
    StoreWrite w = {.kind = STORE_UNREGISTER};
    memcpy(w.unregister.skid, i->skid, KID_SIZE);
    memcpy(w.unregister.name, i->name, sizeof(w.unregister.name));
    return admin_write(a, &w);
}

/* By which key he may be logged in is not known: what he asks for is not there any more. */
static int delete_damaged(const Admin *a, int64_t number)
{
    StoreWrite w = {.kind = STORE_UNREGISTER, .unregister.number = number};
    return admin_write(a, &w);
}

static int change_client(const Admin *a, const AdminRequest *q, admin_emit_t emit, void *userdata)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    const int64_t number = client_number(q->client);
    int r = i ? find_client(a, q->client, i) : -ENOMEM;
    if (r == -EBADMSG && number > 0 && q->kind == ADMIN_CLIENT_SHOW)
        return emit_damaged(number, emit, userdata);
    if (r == -EBADMSG && number > 0 && q->kind == ADMIN_CLIENT_DELETE)
        return delete_damaged(a, number);
    if (r != 0)
        return r;
    if (q->kind == ADMIN_CLIENT_SHOW)
        return emit_client(a, i, emit, userdata);
    if (q->kind == ADMIN_CLIENT_DELETE)
        return delete_client(a, i);
    StoreWrite w = {.kind = STORE_BLOCK, .block.blocked = q->kind == ADMIN_CLIENT_BLOCK};
    memcpy(w.block.skid, i->skid, KID_SIZE);
    return admin_write(a, &w);
}

static int emit_invite(const StoreInvite *i, const char *code, admin_emit_t emit, void *userdata)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = j ? json_put_number(j, "number", i->number) : -ENOMEM;
    if (r == 0 && code)
        r = json_put_text(j, "code", code);
    if (r == 0)
        r = json_put_number(j, "uses", (int64_t)i->uses);
    if (r == 0)
        r = json_put_number(j, "created", i->created);
    if (r == 0)
        r = json_put_number(j, "expires", i->expires);
    return r == 0 ? emit(userdata, j) : r;
}

static int create_invite(const Admin *a, const AdminRequest *q, admin_emit_t emit, void *userdata)
{
    uint8_t random[CODE_BYTES];
    char code[ADMIN_CODE_SIZE];
    StoreInvite i = {.uses = (uint64_t)q->uses, .created = clock_realtime()};
    i.expires = i.created + q->days * DAY;
    int r = crypto_random(random, sizeof(random));
    if (r != 0)
        return r;
    hex_encode(random, sizeof(random), code);
    StoreWrite w = {.kind = STORE_INVITE,
                    .invite = {.code = code, .uses = i.uses, .now = i.created, .expires = i.expires}};
    r = admin_write(a, &w);
    i.number = w.invite.number;
    if (r == 0)
        r = emit_invite(&i, code, emit, userdata);
    bytes_wipe(random, sizeof(random));
    bytes_wipe(code, sizeof(code));
    return r;
}

static int list_invites(const Admin *a, admin_emit_t emit, void *userdata)
{
    StoreInvite i = {};
    int r = 0;
    while (r == 0) {
        r = store_next_invite(a->reader, &i);
        if (r == 0)
            r = emit_invite(&i, NULL, emit, userdata);
    }
    return r == HMSG_ERROR_NOT_FOUND ? 0 : r;
}

int admin_run(const Admin *a, const AdminRequest *q, admin_emit_t emit, void *userdata)
{
    StoreWrite revoke = {.kind = STORE_REVOKE, .revoke.number = q->number};
    switch (q->kind) {
    case ADMIN_CLIENT_LIST:
        return list_clients(a, emit, userdata);
    case ADMIN_INVITE_CREATE:
        return create_invite(a, q, emit, userdata);
    case ADMIN_INVITE_LIST:
        return list_invites(a, emit, userdata);
    case ADMIN_INVITE_REVOKE:
        return admin_write(a, &revoke);
    default:
        return change_client(a, q, emit, userdata);
    }
}

const char *admin_problem(int r)
{
    switch (r) {
    case HMSG_ERROR_NOT_FOUND:
        return "there is no such client, or no such invitation";
    case HMSG_ERROR_INVALID_ARGS:
        return "it is neither an address of this relay, as name@host:port, nor the id of a key, nor a number";
    case -ETIMEDOUT:
        return "the store has not answered in time, as when a standby of its database is away: it may do it "
               "still";
    case -EAGAIN:
        return "too much waits for the store: try again";
    case -EBADMSG:
        return "the client is damaged: it can only be deleted, by its number (hmsg-relay store check)";
    case HMSG_ERROR_QUOTA_EXCEEDED:
        return "there are as many invitations as there may be: revoke some";
    default:
        return r < 0 ? strerror(-r) : error_message(r);
    }
}
