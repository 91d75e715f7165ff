/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The directory of the fake relay: whom it knows, and as what the agent has registered. */

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/rotation.h"
#include "tests/unit/agent/fake-courier-internal.h"

static char *make_binding(FakeCourier *f, const char *name, const IdentityStatement *s)
{
    int64_t now = clock_realtime();
    Binding b = {.iat = now, .exp = now + 600};
    JwsDraft draft = {0};

    memcpy(b.pin, f->pin, PIN_SIZE);
    g_strlcpy(b.name, f->fault == FAULT_BINDING_NAME ? "mallory" : name, sizeof(b.name));
    memcpy(b.skid, rsa_key_thumbprint(s->sign), KID_SIZE);
    memcpy(b.kid, rsa_key_thumbprint(s->decrypt), KID_SIZE);
    if (f->fault == FAULT_BINDING_KEYS)
        b.kid[0] ^= 1;
    memcpy(b.statement_sha256, s->sha256, SHA256_SIZE);
    /* such a binding is not of the wire's own making when a name is empty */
    g_assert_cmpint(binding_prepare(&b, f->online, &draft), ==, 0);
    return fake_sign_online(f, &draft, f->fault == FAULT_BINDING_FORGED);
}

/* What a registration and a rotation have in common. */
static void read_application(FakeCourier *f, sd_bus_message *m, IdentityStatement *s, const char **statement,
                             RegisterRequest *q)
{
    uint8_t right[SHA256_SIZE];
    const char *request;
    const void *answer;
    size_t n;
    RequestBinding b = fake_expected(f);
    int64_t now = clock_realtime();

    g_assert_cmpint(sd_bus_message_read(m, "ss", statement, &request), >, 0);
    g_assert_cmpint(sd_bus_message_read_array(m, 'y', &answer, &n), >=, 0);
    g_assert_cmpint(identity_statement_parse(*statement, strlen(*statement), now, s), ==, 0);
    g_assert_cmpint(MATCH_NONCE(f, b, register_request_parse(request, strlen(request), s->sign, &b, now, q)),
                    ==, 0);
    g_assert_cmpint(pop_answer(f->pop, request, strlen(request), right), ==, 0);
    g_assert_cmpuint(n, ==, SHA256_SIZE);
    g_assert_true(bytes_equal(answer, right, SHA256_SIZE));
    g_assert_true(bytes_equal(q->statement_sha256, s->sha256, SHA256_SIZE));
}

static int answer_application(FakeCourier *f, sd_bus_message *m, const char *name, const IdentityStatement *s)
{
    g_autofree char *binding = make_binding(f, name, s), *relay = fake_relay_statement(f);

    return sd_bus_reply_method_return(m, "ss", binding, relay);
}

bool fake_courier_has_us(const FakeCourier *f)
{
    return f->own_statement != NULL;
}

unsigned fake_courier_devices(const FakeCourier *f)
{
    _cleanup_(identity_statement_done) IdentityStatement s = {0};

    g_assert_true(fake_own_identity(f, &s));
    return (unsigned)s.devices.n;
}

static void take_statement(FakeCourier *f, const char *statement, const char *name)
{
    g_autofree char *kept = g_strdup(name);

    g_free(f->own_statement);
    g_free(f->own_name);
    f->own_statement = g_strdup(statement);
    f->own_name = g_steal_pointer(&kept);
}

/* Leads from some keys to those of s. */
static unsigned follow(const char *text, const IdentityStatement *s)
{
    _cleanup_(identity_statement_done) IdentityStatement from = {0};
    _cleanup_(json_decrefp) json_t *chain = NULL;
    g_autofree Rotation *rotation = g_new0(Rotation, 1);

    g_assert_cmpint(json_parse_array(text, strlen(text), &chain), ==, 0);
    const char *first = json_string_value(json_object_get(json_array_get(chain, 0), "from"));
    g_assert_nonnull(first);
    g_assert_cmpint(identity_statement_parse(first, strlen(first), clock_realtime(), &from), ==, 0);
    g_assert_cmpstr(from.address, ==, s->address);
    g_assert_cmpint(
        rotation_chain_follow(chain, rsa_key_thumbprint(from.sign), s, clock_realtime(), rotation), ==, 0);
    return (unsigned)json_array_size(chain);
}

static unsigned read_chain(sd_bus_message *m, const IdentityStatement *s)
{
    const char *key, *text;
    unsigned n = 0;

    g_assert_cmpint(sd_bus_message_enter_container(m, 'a', "{sv}"), >, 0);
    while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
        g_assert_cmpint(sd_bus_message_read(m, "s", &key), >, 0);
        g_assert_cmpint(sd_bus_message_read(m, "v", "s", &text), >, 0);
        if (strcmp(key, "chain") == 0)
            n = follow(text, s);
        g_assert_cmpint(sd_bus_message_exit_container(m), >=, 0);
    }
    return n;
}

int fake_method_register(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    _cleanup_(identity_statement_done) IdentityStatement s = {0}, own = {0};
    FakeCourier *f = userdata;
    const char *statement;
    RegisterRequest q;
    int r = fake_enter(f, m, false, e);

    if (r < 0)
        return r;
    read_application(f, m, &s, &statement, &q);
    if (strcmp(q.name, "taken") == 0 ||
        (fake_own_identity(f, &own) && *q.name && g_strcmp0(q.name, f->own_name) == 0 &&
         !rsa_key_equal(own.sign, s.sign)))
        return fake_fail(e, "Conflict", "The name is taken");
    f->links = read_chain(m, &s);
    if (f->links > 0 && f->fault == FAULT_CHAIN)
        return fake_fail(e, "Refused", "This relay knows nothing of chains");
    f->registered = true;
    take_statement(f, statement, q.name);
    if (f->fault == FAULT_REGISTER_LOST)
        return fake_fail(e, "Unreachable", "Lost");
    return answer_application(f, m, q.name, &s);
}

static void retire(FakeCourier *f, const RsaKey *key)
{
    char *kid = g_malloc(HASH_TEXT_SIZE);

    base64url_encode(rsa_key_thumbprint(key), KID_SIZE, kid);
    g_ptr_array_add(f->own_former, kid);
}

int fake_method_rotate(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    _cleanup_(identity_statement_done) IdentityStatement s = {0}, from = {0};
    _cleanup_(json_decrefp) json_t *j = NULL;
    RotateStatement steps[ROTATION_STEPS_MAX];
    FakeCourier *f = userdata;
    const char *statement, *text;
    RegisterRequest q;
    size_t n = 0;
    int r = fake_enter(f, m, false, e);

    if (r < 0)
        return r;
    read_application(f, m, &s, &statement, &q);
    g_assert_cmpint(q.method, ==, REGISTER_ROTATE);
    g_assert_cmpint(sd_bus_message_read(m, "s", &text), >, 0);
    g_assert_cmpint(json_parse_array(text, strlen(text), &j), ==, 0);
    g_assert_cmpint(rotation_steps_parse(j, clock_realtime(), steps, &n), ==, 0);
    g_assert_cmpint(
        identity_statement_parse(f->own_statement, strlen(f->own_statement), clock_realtime(), &from), ==, 0);
    g_assert_cmpint(rotate_statement_check(steps, n, &from, &s), ==, 0);
    f->n_steps = (unsigned)n;
    retire(f, from.sign);
    retire(f, from.decrypt);
    take_statement(f, statement, f->own_name);
    if (f->fault == FAULT_ROTATE_LOST)
        return fake_fail(e, "Unreachable", "Lost");
    return answer_application(f, m, f->own_name, &s);
}

int fake_method_unregister(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    _cleanup_(identity_statement_done) IdentityStatement own = {0};
    FakeCourier *f = userdata;
    RequestBinding b = fake_expected(f);
    const char *request;
    RegisterRequest q;
    int r = fake_enter(f, m, false, e);

    if (r < 0)
        return r;
    g_assert_cmpint(sd_bus_message_read_basic(m, 's', &request), >, 0);
    if (!fake_own_identity(f, &own) ||
        MATCH_NONCE(
            f, b, register_request_parse(request, strlen(request), own.sign, &b, clock_realtime(), &q)) != 0)
        return fake_fail(e, "NotFound", "No such key");
    g_assert_cmpint(q.method, ==, REGISTER_UNREGISTER);
    f->registered = f->logged_in = f->listening = false;
    g_clear_pointer(&f->own_statement, g_free);
    return sd_bus_reply_method_return(m, "");
}

static const Entry *find_entry(const FakeCourier *f, const char *text)
{
    for (guint i = 0; i < f->entries->len; i++) {
        const Entry *x = g_ptr_array_index(f->entries, i);

        if (g_strcmp0(x->name, text) == 0 || strcmp(x->person->kid, text) == 0 ||
            strcmp(x->person->skid, text) == 0)
            return x;
    }
    return NULL;
}

static bool is_own(const FakeCourier *f, const IdentityStatement *s, const char *text)
{
    char kid[HASH_TEXT_SIZE], skid[HASH_TEXT_SIZE];

    base64url_encode(rsa_key_thumbprint(s->decrypt), KID_SIZE, kid);
    base64url_encode(rsa_key_thumbprint(s->sign), KID_SIZE, skid);
    for (guint i = 0; i < f->own_former->len; i++)
        if (strcmp(g_ptr_array_index(f->own_former, i), text) == 0)
            return true;
    return strcmp(kid, text) == 0 || strcmp(skid, text) == 0;
}

int fake_method_lookup(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    _cleanup_(identity_statement_done) IdentityStatement s = {0};
    g_autofree char *binding = NULL, *relay = NULL;
    FakeCourier *f = userdata;
    const char *text, *statement = f->own_statement, *name = f->own_name, *chain = "[]";
    const Entry *x;
    int r = fake_enter(f, m, false, e);

    if (r < 0)
        return r;
    g_assert_cmpint(sd_bus_message_read_basic(m, 's', &text), >, 0);
    x = find_entry(f, text);
    if (x) {
        statement = x->statement;
        name = x->name ? x->name : "";
        chain = x->chain ? x->chain : chain;
    }
    if (!statement)
        return fake_fail(e, "NotFound", "Nobody");
    g_assert_cmpint(identity_statement_parse(statement, strlen(statement), clock_realtime(), &s), ==, 0);
    if (!x && !is_own(f, &s, text))
        return fake_fail(e, "NotFound", "Nobody");
    binding = make_binding(f, name, &s);
    relay = fake_relay_statement(f);
    return sd_bus_reply_method_return(m, "ssss", statement, binding, relay, chain);
}
