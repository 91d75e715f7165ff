/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "agent/launcher.h"
#include "agent/store.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/rotation.h"
#include "tests/lib/process.h"
#include "tests/unit/agent/fake-courier-internal.h"

static FakeCourier *current; /* the doubles have no other way to it */

int launcher_start_courier(Launcher *l, int *ret_fd);
int contacts_resolve(Contacts *c, const char *recipient, const ResolveOptions *options,
                     contacts_resolve_t done, void *userdata, ContactsRequest **ret);

int fake_fail(sd_bus_error *e, const char *name, const char *text)
{
    g_autofree char *full = g_strconcat(ERROR_NAME, name, NULL);

    return sd_bus_error_set(e, full, text);
}

/* What every method begins with. */
int fake_enter(FakeCourier *f, sd_bus_message *m, bool login, sd_bus_error *e)
{
    const char *member = sd_bus_message_get_member(m), *relay;
    gpointer n = g_hash_table_lookup(f->counts, member);

    g_hash_table_insert(f->counts, g_strdup(member), GUINT_TO_POINTER(GPOINTER_TO_UINT(n) + 1));
    g_assert_cmpint(sd_bus_message_read_basic(m, 's', &relay), >, 0);
    if (*f->former && strcmp(relay, f->former) == 0)
        return fake_fail(e, "PinMismatch", "It has another key");
    g_assert_cmpstr(relay, ==, strcmp(member, "Probe") == 0 ? HOST ":7443" : f->relay);
    if (f->fault == FAULT_UNREACHABLE)
        return fake_fail(e, "Unreachable", "Nobody answers");
    if (f->fault == FAULT_PIN)
        return fake_fail(e, "PinMismatch", "pin=xxx It has another key");
    if (login && f->fault == FAULT_LOGIN_LOST) {
        f->fault = FAULT_NONE;
        f->logged_in = false;
    }
    return login && !f->logged_in ? fake_fail(e, "LoginRequired", "Log in") : 0;
}

char *fake_relay_statement(FakeCourier *f)
{
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);
    int64_t now = clock_realtime();
    RelayStatement s = {.identity = f->identity, .online = f->online, .nbf = now, .exp = now + 3600};
    s.ticks = f->ticks;
    s.has_next_pin = f->next_private != NULL;
    memcpy(s.next_pin, f->next_pin, PIN_SIZE);
    EVP_PKEY *key = f->fault == FAULT_STATEMENT ? test_rsa_new(2048) : f->identity_private;

    g_assert_cmpint(relay_statement_prepare(&s, &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, key, &jws), ==, 0);
    if (key != f->identity_private)
        EVP_PKEY_free(key);
    return g_strdup(buf_text(&jws));
}

char *fake_sign_online(FakeCourier *f, JwsDraft *draft, bool forged)
{
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    g_assert_cmpint(jws_sign_ec(draft, forged ? f->other_online : f->online, &jws), ==, 0);
    jws_draft_done(draft);
    return g_strdup(buf_text(&jws));
}

static int method_probe(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    FakeCourier *f = userdata;
    g_autofree char *statement = NULL;
    sd_bus_message *reply = NULL;
    int r = fake_enter(f, m, false, e);

    if (r < 0)
        return r;
    statement = fake_relay_statement(f);
    g_assert_cmpint(sd_bus_message_new_method_return(m, &reply), >=, 0);
    g_assert_cmpint(sd_bus_message_append_array(reply, 'y', f->pin, PIN_SIZE), >=, 0);
    g_assert_cmpint(sd_bus_message_append(reply, "ss", statement, f->successions), >=, 0);
    r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

static int reply_nonce(FakeCourier *f, sd_bus_message *m, const Buf *middle)
{
    sd_bus_message *reply = NULL;
    int r;

    uint8_t *nonce = f->nonces[f->n_nonces++ % FAKE_NONCES];

    g_assert_cmpint(crypto_random(nonce, NONCE_SIZE), ==, 0);
    g_assert_cmpint(sd_bus_message_new_method_return(m, &reply), >=, 0);
    g_assert_cmpint(sd_bus_message_append_array(reply, 'y', nonce, NONCE_SIZE), >=, 0);
    if (middle)
        g_assert_cmpint(sd_bus_message_append_array(reply, 'y', middle->data, middle->size), >=, 0);
    g_assert_cmpint(sd_bus_message_append_array(reply, 'y', f->exporter, EXPORTER_SIZE), >=, 0);
    r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

static int method_nonce(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    int r = fake_enter(userdata, m, false, e);

    return r < 0 ? r : reply_nonce(userdata, m, NULL);
}

static int method_challenge(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    _cleanup_(buf_done) Buf pop = BUF_MAX(RSA_SIZE_MAX);
    _cleanup_(rsa_key_freep) RsaKey *key = NULL;
    FakeCourier *f = userdata;
    const void *spki;
    size_t n;
    uint8_t pin[PIN_SIZE];
    int r = fake_enter(f, m, false, e);

    if (r < 0)
        return r;
    g_assert_cmpint(sd_bus_message_read_array(m, 'y', &spki, &n), >=, 0);
    g_assert_cmpint(rsa_key_from_spki(spki, n, &key), ==, 0);
    memcpy(pin, f->pin, PIN_SIZE);
    pin[0] ^= f->fault == FAULT_POP;
    f->pop = secret_free(f->pop);
    g_assert_cmpint(pop_make(key, pin, &f->pop, &pop), ==, 0);
    return reply_nonce(f, m, &pop);
}

bool fake_own_identity(const FakeCourier *f, IdentityStatement *ret)
{
    if (!f->own_statement)
        return false;
    g_assert_cmpint(
        identity_statement_parse(f->own_statement, strlen(f->own_statement), clock_realtime(), ret), ==, 0);
    return true;
}

/* By the key that is registered, when one is, else by that of now. NULL: by another. */
static const RsaKey *read_login(FakeCourier *f, const char *request, const IdentityStatement *own,
                                LoginRequest *q)
{
    const RsaKey *key = own->sign ? own->sign : identity_public(f->m->identity)->sign;
    RequestBinding b = fake_expected(f);

    if (f->fault == FAULT_UNKNOWN_KEY && !f->registered)
        return NULL;
    return MATCH_NONCE(f, b, login_request_parse(request, strlen(request), key, &b, clock_realtime(), q)) == 0
               ? key
               : NULL;
}

static int method_login(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    _cleanup_(identity_statement_done) IdentityStatement registered = {0};
    g_autofree char *response = NULL, *relay = NULL;
    _cleanup_(secret_freep) Secret *own = NULL;
    FakeCourier *f = userdata;
    int64_t now = clock_realtime();
    LoginResponse answer = {.iat = now, .exp = now + 60};
    JwsDraft draft = {0};
    const RsaKey *key;
    const char *request;
    LoginRequest q;
    int r = fake_enter(f, m, false, e);

    if (r < 0)
        return r;
    g_assert_cmpint(sd_bus_message_read_basic(m, 's', &request), >, 0);
    (void)fake_own_identity(f, &registered);
    key = read_login(f, request, &registered, &q);
    if (!key)
        return fake_fail(e, "NotFound", "No such key");
    memcpy(f->skid, rsa_key_thumbprint(key), KID_SIZE);
    memcpy(answer.pin, f->pin, PIN_SIZE);
    memcpy(answer.skid, f->skid, KID_SIZE);
    memcpy(answer.nonce, f->nonce, NONCE_SIZE);
    answer.nonce[0] ^= f->fault == FAULT_LOGIN_NONCE;
    g_assert_cmpint(x25519_generate(&own, answer.epk), ==, 0);
    f->ack = secret_free(f->ack);
    g_assert_cmpint(ack_key_derive(own, q.epk, f->nonce, f->pin, f->skid, &f->ack), ==, 0);
    g_assert_cmpint(login_response_prepare(&answer, f->online, &draft), ==, 0);
    response = fake_sign_online(f, &draft, false);
    relay = fake_relay_statement(f);
    f->logged_in = true;
    return sd_bus_reply_method_return(m, "ss", response, relay);
}

static int method_forget(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    FakeCourier *f = userdata;
    int r = fake_enter(f, m, false, e);

    f->logged_in = f->listening = false;
    return r < 0 ? r : sd_bus_reply_method_return(m, "");
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Probe", "s", "ayss", method_probe, 0),
    SD_BUS_METHOD("Nonce", "s", "ayay", method_nonce, 0),
    SD_BUS_METHOD("Challenge", "say", "ayayay", method_challenge, 0),
    SD_BUS_METHOD("Register", "sssaya{sv}", "ss", fake_method_register, 0),
    SD_BUS_METHOD("Rotate", "sssays", "ss", fake_method_rotate, 0),
    SD_BUS_METHOD("Unregister", "ss", "", fake_method_unregister, 0),
    SD_BUS_METHOD("LookupName", "sss", "ssss", fake_method_lookup, 0),
    SD_BUS_METHOD("LookupKid", "sss", "ssss", fake_method_lookup, 0),
    SD_BUS_METHOD("Login", "ss", "ss", method_login, 0),
    SD_BUS_METHOD("Submit", "ssshtts", "ss", fake_method_submit, 0),
    SD_BUS_METHOD("Status", "ss", "s", fake_method_status, 0),
    SD_BUS_METHOD("List", "st", "a(tstst)b", fake_method_list, 0),
    SD_BUS_METHOD("Fetch", "ssh", "t", fake_method_fetch, 0),
    SD_BUS_METHOD("Acknowledge", "sasay", "as", fake_method_acknowledge, 0),
    SD_BUS_METHOD("Grant", "sayttay", "t", fake_method_grant, 0),
    SD_BUS_METHOD("Capabilities", "s", "a(tttt)", fake_method_capabilities, 0),
    SD_BUS_METHOD("Revoke", "stay", "", fake_method_revoke, 0),
    SD_BUS_METHOD("Settings", "s", "ttt", fake_method_settings, 0),
    SD_BUS_METHOD("SetSettings", "sttayay", "", fake_method_set_settings, 0),
    SD_BUS_METHOD("Listen", "s", "", fake_method_listen, 0),
    SD_BUS_METHOD("Forget", "s", "", method_forget, 0),
    SD_BUS_VTABLE_END,
};

/* In place of the launcher's: the other end is served in this loop. */
int launcher_start_courier(Launcher *l, int *ret_fd)
{
    FakeCourier *f = current;
    sd_id128_t id;
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), ==, 0);
    g_assert_cmpint(sd_id128_randomize(&id), >=, 0);
    g_assert_cmpint(sd_bus_new(&f->bus), >=, 0);
    g_assert_cmpint(sd_bus_set_fd(f->bus, pair[1], pair[1]), >=, 0);
    g_assert_cmpint(sd_bus_set_server(f->bus, true, id), >=, 0);
    g_assert_cmpint(sd_bus_negotiate_fds(f->bus, true), >=, 0);
    g_assert_cmpint(
        sd_bus_add_object_vtable(f->bus, NULL, "/org/hmsg/Courier1", "org.hmsg.Courier1", vtable, f), >=, 0);
    g_assert_cmpint(sd_bus_start(f->bus), >=, 0);
    g_assert_cmpint(sd_bus_attach_event(f->bus, f->m->event, SD_EVENT_PRIORITY_NORMAL), >=, 0);
    *ret_fd = pair[0];
    return 0;
}

static void entry_free(gpointer p)
{
    Entry *x = p;

    g_free(x->name);
    g_free(x->statement);
    g_free(x->chain);
    g_free(x);
}

/* f->identity_private is its key from now on. */
static void take_key(FakeCourier *f)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(sizeof(f->relay) - 1);
    Relay relay = {.host = HOST, .port = 7443, .has_pin = true};

    f->identity = rsa_key_free(f->identity);
    g_assert_cmpint(rsa_key_from_evp(f->identity_private, &f->identity), ==, 0);
    g_assert_cmpint(rsa_key_pin(f->identity, f->pin), ==, 0);
    memcpy(relay.pin, f->pin, PIN_SIZE);
    g_assert_cmpint(relay_format_full(&relay, &text), ==, 0);
    g_strlcpy(f->relay, buf_text(&text), sizeof(f->relay));
}

void fake_courier_announce(FakeCourier *f)
{
    _cleanup_(rsa_key_freep) RsaKey *public = NULL;

    EVP_PKEY_free(f->next_private);
    f->next_private = test_rsa_new(2048);
    g_assert_cmpint(rsa_key_from_evp(f->next_private, &public), ==, 0);
    g_assert_cmpint(rsa_key_pin(public, f->next_pin), ==, 0);
}

void fake_courier_tick(FakeCourier *f, uint64_t number, uint8_t id)
{
    f->ticks.number = number > 0 ? number : f->ticks.number + 1;
    if (f->ticks.n < TICKS_MAX)
        f->ticks.n++;
    memmove(f->ticks.ids[1], f->ticks.ids[0], (f->ticks.n - 1) * TICK_SIZE);
    memset(f->ticks.ids[0], id, TICK_SIZE);
}

static void sign_succession(FakeCourier *f, EVP_PKEY *signer)
{
    Succession s = {.identity = f->identity, .iat = clock_realtime()};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    memcpy(s.next_pin, f->next_pin, PIN_SIZE);
    g_assert_cmpint(succession_prepare(&s, &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, signer, &jws), ==, 0);
    g_free(f->successions);
    f->successions = g_strdup_printf("[\"%s\"]", buf_text(&jws));
}

void fake_courier_change_key(FakeCourier *f, Signer signer)
{
    if (!f->next_private)
        fake_courier_announce(f);
    if (signer != SIGNER_NONE)
        sign_succession(f, signer == SIGNER_FORMER ? f->identity_private : f->next_private);
    g_strlcpy(f->former, f->relay, sizeof(f->former));
    EVP_PKEY_free(f->identity_private);
    f->identity_private = g_steal_pointer(&f->next_private);
    take_key(f);
}

FakeCourier *fake_courier_new(Double *d)
{
    FakeCourier *f = g_new0(FakeCourier, 1);

    current = f;
    f->kept_fd = -1;
    f->d = d;
    f->m = double_manager(d);
    f->folder = test_folder_new();
    f->m->places.data_dir = f->folder;
    g_assert_cmpint(store_new(f->folder, "", NULL, &f->m->store), ==, 0);
    f->identity_private = test_rsa_new(2048);
    take_key(f);
    f->successions = g_strdup("");
    g_assert_cmpint(ec_key_generate(&f->online), ==, 0);
    g_assert_cmpint(ec_key_generate(&f->other_online), ==, 0);
    memset(f->exporter, 'e', sizeof(f->exporter));
    f->counts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    f->letters = g_ptr_array_new_with_free_func(fake_letter_free);
    f->entries = g_ptr_array_new_with_free_func(entry_free);
    f->own_former = g_ptr_array_new_with_free_func(g_free);
    f->submitted = BUF_MAX(64u << 20);
    f->emitted = g_string_new("");
    return f;
}

void fake_courier_die(FakeCourier *f)
{
    if (!f->bus)
        return;
    sd_bus_detach_event(f->bus);
    f->bus = sd_bus_close_unref(f->bus);
    f->logged_in = f->listening = false;
}

void fake_courier_free(FakeCourier *f)
{
    if (!f)
        return;
    fake_courier_die(f);
    f->m->store = store_free(f->m->store);
    EVP_PKEY_free(f->identity_private);
    EVP_PKEY_free(f->next_private);
    g_free(f->successions);
    (void)rsa_key_free(f->identity);
    (void)ec_key_free(f->online);
    (void)ec_key_free(f->other_online);
    (void)secret_free(f->pop);
    (void)secret_free(f->ack);
    g_hash_table_unref(f->counts);
    g_ptr_array_unref(f->letters);
    g_ptr_array_unref(f->entries);
    g_ptr_array_unref(f->own_former);
    g_free(f->own_statement);
    g_free(f->own_name);
    g_string_free(f->emitted, TRUE);
    buf_done(&f->submitted);
    g_free(f->submitted_capability);
    g_free(f->capability);
    (void)fd_close(f->kept_fd);
    test_folder_remove(f->folder);
    g_free(f);
}

void fake_courier_fault(FakeCourier *f, Fault fault)
{
    f->fault = fault;
}

const char *fake_courier_relay(const FakeCourier *f)
{
    return f->relay;
}

void fake_courier_disconnect(FakeCourier *f)
{
    f->logged_in = f->listening = false;
    g_assert_cmpint(sd_bus_emit_signal(f->bus, "/org/hmsg/Courier1", "org.hmsg.Courier1", "Disconnected",
                                       "ss", f->relay, "gone"),
                    >=, 0);
}

unsigned fake_courier_links(const FakeCourier *f)
{
    return f->links;
}

void fake_courier_forget(FakeCourier *f)
{
    f->registered = f->logged_in = f->listening = false;
    g_clear_pointer(&f->own_statement, g_free);
    g_ptr_array_set_size(f->own_former, 0);
}

unsigned fake_courier_steps(const FakeCourier *f)
{
    return f->n_steps;
}

unsigned fake_courier_count(const FakeCourier *f, const char *method)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(f->counts, method));
}

void fake_courier_know(FakeCourier *f, const TestPerson *p, const char *name)
{
    Entry *x = g_new0(Entry, 1);
    g_autofree char *address = g_strconcat(name ? name : "home", "@" HOST, NULL);

    x->person = p;
    x->name = g_strdup(name);
    x->statement = test_person_statement(p, address);
    g_ptr_array_add(f->entries, x);
}

int manager_emit(Manager *m, const char *interface, const char *member, const char *types, ...)
{
    va_list ap;

    g_string_append(current->emitted, member);
    va_start(ap, types);
    for (const char *t = types; *t == 's'; t++)
        g_string_append_printf(current->emitted, " %s", va_arg(ap, const char *));
    va_end(ap);
    g_string_append_c(current->emitted, '\n');
    return 0;
}

char *fake_courier_emitted(FakeCourier *f)
{
    char *text = g_strdup(f->emitted->str);

    g_string_truncate(f->emitted, 0);
    return text;
}

void fake_courier_resolve(FakeCourier *f, const TestPerson *p, int r)
{
    f->resolved = p;
    f->resolve_result = r;
}

/* Answers within the call of another request's loop: contacts are not what is tested. */
typedef struct Resolution {
    contacts_resolve_t done;
    void *userdata;
    bool device;
} Resolution;

static int on_resolve(sd_event_source *source, void *userdata)
{
    g_autofree Resolution *q = userdata;
    FakeCourier *f = current;
    Recipient p = {.address = g_strdup(q->device ? "bob+laptop@" HOST : "bob@" HOST),
                   .relay = g_strdup(f->relay),
                   .trust = q->device ? f->device.trust : CONTACT_PINNED};
    const TestPerson *who = q->device ? f->device.person : f->resolved;
    const int r = q->device ? f->device.r : f->resolve_result;
    const uint8_t *spki;
    size_t n = 0;

    (void)sd_event_source_unref(source);
    if (r == 0) {
        memcpy(p.kid, who->kid, sizeof(p.kid));
        memcpy(p.skid, who->skid, sizeof(p.skid));
        if (!q->device && f->device.person) {
            p.devices.n = 1;
            memcpy(p.devices.list[0].kid, rsa_key_thumbprint(f->device.person->decrypt), KID_SIZE);
            memcpy(p.devices.list[0].skid, rsa_key_thumbprint(f->device.person->sign), KID_SIZE);
        }
        spki = rsa_key_spki(who->decrypt, &n);
        p.decrypt_spki = BUF_MAX(SPKI_SIZE_MAX);
        g_assert_cmpint(buf_append(&p.decrypt_spki, spki, n), ==, 0);
    }
    q->done(r, "as told", r == 0 ? &p : NULL, q->userdata);
    buf_done(&p.decrypt_spki);
    g_free(p.address);
    g_free(p.relay);
    return 0;
}

int contacts_resolve(Contacts *c, const char *recipient, const ResolveOptions *options,
                     contacts_resolve_t done, void *userdata, ContactsRequest **ret)
{
    Resolution *q = g_new0(Resolution, 1);
    sd_event_source *source = NULL;

    *q = (Resolution){done, userdata, g_str_has_prefix(recipient, "key:")};
    if (q->device) { /* asked for where the owner is, and never from what is pinned alone */
        g_assert_cmpstr(options->relay, ==, current->relay);
        g_assert_true(options->fresh && options->allow_untrusted);
        g_assert_cmpstr(recipient + 4, ==, current->device.person->kid);
    }
    g_assert_cmpint(sd_event_add_defer(current->m->event, &source, on_resolve, q), >=, 0);
    *ret = NULL;
    return 0;
}

int contacts_capability(Contacts *c, const char *recipient, const char *kid, char ret[static HASH_TEXT_SIZE])
{
    (void)g_strlcpy(ret, current->capability ? current->capability : "", HASH_TEXT_SIZE);
    return 0;
}

void fake_courier_capability(FakeCourier *f, const char *code)
{
    g_free(f->capability);
    f->capability = g_strdup(code);
}

const char *fake_courier_submitted_capability(const FakeCourier *f)
{
    return f->submitted_capability;
}

bool contacts_device_agrees(Contacts *c, const char *owner_kid, const Recipient *device)
{
    g_assert_cmpstr(owner_kid, ==, current->resolved->kid);
    g_assert_cmpstr(device->kid, ==, current->device.person->kid);
    return current->device.agrees;
}

void fake_courier_device(FakeCourier *f, const FakeDevice *d)
{
    f->device = *d;
}
