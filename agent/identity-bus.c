/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/bus-util.h"
#include "agent/identity.h"
#include "agent/pin.h"
#include "agent/relays.h"
#include "agent/request.h"
#include "agent/unlocker.h"
#include "agent/vtables.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/export.h"

#define PROTECTION "tpm"

/* A call that waits for the TPM. */
typedef struct Call {
    Manager *m;
    Request *request;
    IdentityWork *work;
    UnlockWait *wait;
    bool force; /* of Unlock and SetPin */
} Call;

static Call *call_free(Call *c)
{
    if (!c)
        return NULL;
    identity_work_free(c->work);
    unlock_wait_free(c->wait);
    request_free(c->request);
    free(c);
    return NULL;
}
DEFINE_CLEANUP(Call *, call_free)

static void call_cancel(void *userdata)
{
    call_free(userdata);
}

static int call_new(Manager *m, sd_bus_message *message, Call **ret)
{
    Call *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->m = m;
    r = request_new(m->access, message, call_cancel, c, &c->request);
    if (r != 0) {
        free(c);
        return r;
    }
    *ret = c;
    return 0;
}

/* The work has been begun, or not: then the error is the answer. */
static int call_begun(Call *c, int r, const char *detail)
{
    if (r == 0)
        return 1;
    if (r == HMSG_ERROR_TPM_UNAVAILABLE)
        detail = identity_tpm_status(c->m->identity, NULL);
    (void)request_fail(c->request, r, detail);
    call_free(c);
    return 1;
}

static int append_address(const char *address, const char *relay, const char *state, const char *error,
                          void *userdata)
{
    int r = sd_bus_message_append_basic(userdata, 's', address);

    return r < 0 ? r : 0;
}

static int append_addresses(Manager *m, sd_bus_message *reply)
{
    int r = sd_bus_message_open_container(reply, 'a', "s");

    if (r >= 0 && m->relays)
        r = relays_each_registration(m->relays, append_address, reply);
    return r >= 0 ? sd_bus_message_close_container(reply) : r;
}

static int append_addresses_entry(Manager *m, sd_bus_message *reply)
{
    int r = sd_bus_message_open_container(reply, 'e', "sv");

    if (r >= 0)
        r = sd_bus_message_append_basic(reply, 's', "addresses");
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'v', "as");
    if (r >= 0)
        r = append_addresses(m, reply);
    for (unsigned i = 0; i < 2 && r >= 0; i++)
        r = sd_bus_message_close_container(reply);
    return r;
}

static int append_identity(Manager *m, sd_bus_message *reply)
{
    const IdentityPublic *p = identity_public(m->identity);
    int r;

    if (!p)
        return -ENOENT;
    r = sd_bus_message_open_container(reply, 'a', "{sv}");
    if (r >= 0)
        r = append_addresses_entry(m, reply);
    if (r >= 0)
        r = bus_append_string(reply, "protection", PROTECTION);
    if (r >= 0)
        r = bus_append_string(reply, "kid", p->kid);
    if (r >= 0)
        r = bus_append_string(reply, "skid", p->skid);
    if (r >= 0)
        r = bus_append_string(reply, "fingerprint", p->fingerprint);
    if (r >= 0)
        r = bus_append_u64(reply, "generation", p->generation);
    if (r >= 0)
        r = bus_append_u64(reply, "created", (uint64_t)p->created);
    if (r >= 0)
        r = bus_append_bool(reply, "pin", p->has_pin);
    if (r >= 0)
        r = bus_append_string(reply, "state", identity_state_name(identity_state(m->identity)));
    if (r >= 0)
        r = bus_append_string(reply, "srk_name", p->srk_name);
    return r >= 0 ? sd_bus_message_close_container(reply) : r;
}

static void on_created(int r, const char *detail, void *userdata)
{
    _cleanup_(call_freep) Call *c = userdata;
    sd_bus_message *reply = NULL;

    if (r == 0)
        r = request_reply_new(c->request, &reply);
    if (r >= 0 && reply)
        r = append_identity(c->m, reply);
    if (r >= 0 && reply)
        r = request_send(c->request, reply);
    else
        (void)request_fail(c->request, r, detail);
    sd_bus_message_unref(reply);
}

/* fd -1: there is none. */
static int read_pin(int fd, Secret **ret, sd_bus_error *error)
{
    int r = fd < 0 ? 0 : pin_read_fd(fd, ret);

    if (r == HMSG_ERROR_INVALID_ARGS)
        sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                          "A PIN is a memfd of %u to %u bytes without control characters", PIN_SIZE_MIN,
                          PIN_SIZE_MAX);
    return r;
}

static int method_create(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    struct CreateOptions {
        const char *protection;
        int pin;
    } o = {PROTECTION, -1};
    static const BusOption options[] = {
        {"protection", 's', offsetof(struct CreateOptions, protection)},
        {"pin", 'h', offsetof(struct CreateOptions, pin)},
    };
    _cleanup_(secret_freep) Secret *pin = NULL;
    Manager *m = userdata;
    Call *c = NULL;
    int r;

    r = bus_read_options(message, options, ELEMENTSOF(options), &o, error);
    if (r == 0 && strcmp(o.protection, PROTECTION) != 0)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "The only protection is \"tpm\"");
    if (r == 0)
        r = read_pin(o.pin, &pin, error);
    if (r == 0)
        r = call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, NULL);
    return call_begun(c, identity_create(m->identity, pin, on_created, c, &c->work), NULL);
}

static int method_show(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    sd_bus_message *reply = NULL;
    int r;

    r = bus_read_no_options(message, error);
    if (r == 0 && !identity_public(m->identity))
        r = HMSG_ERROR_NO_IDENTITY;
    if (r != 0)
        return bus_fail(error, r, NULL);
    r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0)
        r = append_identity(m, reply);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

static int send_exported(Call *c, const Buf *exported)
{
    sd_bus_message *reply = NULL;
    int r;

    r = request_reply_new(c->request, &reply);
    if (r >= 0)
        r = sd_bus_message_append_array(reply, 'y', exported->data, exported->size);
    if (r >= 0)
        r = request_send(c->request, reply);
    sd_bus_message_unref(reply);
    return r < 0 ? r : 0;
}

static void on_statement(int r, const char *detail, const char *jws, void *userdata)
{
    _cleanup_(buf_done) Buf exported = BUF_MAX(KEY_FILE_SIZE_MAX);
    _cleanup_(call_freep) Call *c = userdata;

    if (r == 0)
        r = export_write(jws, strlen(jws), &exported);
    if (r == 0)
        r = send_exported(c, &exported);
    if (r != 0)
        (void)request_fail(c->request, r, detail);
}

static void on_csr(int r, const char *detail, const char *pem, void *userdata)
{
    _cleanup_(buf_done) Buf exported = BUF_MAX(KEY_FILE_SIZE_MAX);
    _cleanup_(call_freep) Call *c = userdata;

    if (r == 0)
        r = buf_append_string(&exported, pem);
    if (r == 0)
        r = send_exported(c, &exported);
    if (r != 0)
        (void)request_fail(c->request, r, detail);
}

/* Stops at the first. */
static int take_address(const char *address, const char *relay, const char *state, const char *error,
                        void *userdata)
{
    int r = buf_append_string(userdata, address);

    return r < 0 ? r : 1;
}

static int first_address(Call *c, Buf *ret)
{
    int r = c->m->relays ? relays_each_registration(c->m->relays, take_address, ret) : 0;

    return r < 0 ? r : 0;
}

static int export_statement(Call *c)
{
    _cleanup_(buf_done) Buf input = BUF_MAX(JWS_SIZE_MAX);
    _cleanup_(buf_done) Buf address = BUF_MAX(ADDRESS_SIZE_MAX);
    Identity *i = c->m->identity;
    int r = first_address(c, &address);

    if (r == 0)
        r = identity_export_statement(identity_public(i), buf_text(&address), &input);
    if (r == 0)
        r = identity_sign_jws(i, buf_text(&input), on_statement, c, &c->work);
    return call_begun(c, r, NULL);
}

/* subject: NULL for the first address. */
static int export_csr(Call *c, const char *subject)
{
    _cleanup_(buf_done) Buf address = BUF_MAX(ADDRESS_SIZE_MAX);
    int r = subject ? 0 : first_address(c, &address);

    if (r == 0)
        r = identity_sign_csr(c->m->identity, subject ? subject : buf_text(&address), on_csr, c, &c->work);
    return call_begun(
        c, r,
        r == HMSG_ERROR_INVALID_ARGS
            ? "A certificate request needs a subject of 1 to 64 characters, none of them a control"
            : NULL);
}

static int export_key(Call *c, KeyTextForm form)
{
    _cleanup_(buf_done) Buf exported = BUF_MAX(KEY_FILE_SIZE_MAX);
    int r;

    r = identity_export_key(identity_public(c->m->identity), form, &exported);
    if (r == 0)
        r = send_exported(c, &exported);
    call_free(c);
    return r < 0 ? r : 1;
}

typedef enum ExportFormat {
    EXPORT_IDENTITY,
    EXPORT_PEM,
    EXPORT_JWK,
    EXPORT_OPENSSH,
    EXPORT_CSR
} ExportFormat;

static int read_format(const char *text, ExportFormat *ret)
{
    static const char *const names[] = {"identity", "pem", "jwk", "openssh", "csr"};

    for (size_t i = 0; i < ELEMENTSOF(names); i++)
        if (strcmp(text, names[i]) == 0) {
            *ret = (ExportFormat)i;
            return 0;
        }
    return HMSG_ERROR_INVALID_ARGS;
}

static int method_export(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    struct ExportOptions {
        const char *format, *subject;
    } o = {"identity", NULL};
    static const BusOption options[] = {
        {"format", 's', offsetof(struct ExportOptions, format)},
        {"subject", 's', offsetof(struct ExportOptions, subject)},
    };
    ExportFormat format = EXPORT_IDENTITY;
    Manager *m = userdata;
    Call *c = NULL;
    int r;

    r = bus_read_options(message, options, ELEMENTSOF(options), &o, error);
    if (r == 0 && read_format(o.format, &format) != 0)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS,
                        "The formats are identity, pem, jwk, openssh and csr");
    if (r == 0 && o.subject && format != EXPORT_CSR)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "Only a certificate request has a subject");
    if (r == 0 && !identity_public(m->identity))
        r = HMSG_ERROR_NO_IDENTITY;
    if (r == 0 && (format == EXPORT_IDENTITY || format == EXPORT_CSR) && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, NULL);
    switch (format) {
    case EXPORT_PEM:
        return export_key(c, KEY_TEXT_PEM);
    case EXPORT_JWK:
        return export_key(c, KEY_TEXT_JWK);
    case EXPORT_OPENSSH:
        return export_key(c, KEY_TEXT_OPENSSH);
    case EXPORT_CSR:
        return export_csr(c, o.subject);
    case EXPORT_IDENTITY:
    default:
        return export_statement(c);
    }
}

static int method_delete(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption options[] = {{"confirm", 's', 0}};
    const char *confirm = NULL;
    Manager *m = userdata;
    int r;

    r = bus_read_options(message, options, ELEMENTSOF(options), &confirm, error);
    if (r == 0)
        r = identity_delete(m->identity, confirm);
    if (r == HMSG_ERROR_INVALID_ARGS)
        return bus_fail(error, r, "The option \"confirm\" must hold the kid of the identity");
    if (r != 0)
        return bus_fail(error, r, NULL);
    return sd_bus_reply_method_return(message, "");
}

static int method_lock(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    int r;

    r = bus_read_no_options(message, error);
    if (r == 0)
        r = identity_lock(m->identity);
    if (r != 0)
        return bus_fail(error, r, NULL);
    return sd_bus_reply_method_return(message, "");
}

static void on_unlocked(int r, const char *detail, void *userdata)
{
    _cleanup_(call_freep) Call *c = userdata;

    if (r == 0)
        (void)request_reply(c->request, "");
    else
        (void)request_fail(c->request, r, detail);
}

/* Why a PIN was not even tried. */
static const char *pin_detail(int r)
{
    if (r == HMSG_ERROR_LOCKED)
        return "The identity has a PIN, which is needed";
    if (r == HMSG_ERROR_QUOTA_EXCEEDED)
        return "Another PIN is being tried";
    return r == HMSG_ERROR_INVALID_ARGS ? "The identity has no PIN" : NULL;
}

/* Of Unlock, but for the last, and SetPin. */
typedef struct PinOptions {
    int pin, new_pin;
    bool force;
} PinOptions;

/* The call with its PINs, each NULL when it is absent. */
static int call_with_pins(sd_bus_message *message, Manager *m, bool two, Call **ret, Secret **ret_pin,
                          Secret **ret_new, sd_bus_error *error)
{
    static const BusOption options[] = {
        {"pin", 'h', offsetof(PinOptions, pin)},
        {"force", 'b', offsetof(PinOptions, force)},
        {"new_pin", 'h', offsetof(PinOptions, new_pin)},
    };
    PinOptions o = {.pin = -1, .new_pin = -1};
    int r;

    r = bus_read_options(message, options, two ? ELEMENTSOF(options) : 2, &o, error);
    if (r == 0)
        r = read_pin(o.pin, ret_pin, error);
    if (r == 0)
        r = read_pin(o.new_pin, ret_new, error);
    if (r == 0)
        r = call_new(m, message, ret);
    if (r == 0)
        (*ret)->force = o.force;
    return r;
}

static int method_unlock(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(secret_freep) Secret *pin = NULL, *none = NULL;
    Manager *m = userdata;
    Call *c = NULL;
    int r;

    r = call_with_pins(message, m, false, &c, &pin, &none, error);
    if (r != 0)
        return bus_fail(error, r, NULL);
    r = identity_unlock(m->identity, pin, c->force, on_unlocked, c, &c->work);
    if (r == HMSG_ERROR_LOCKED && sd_bus_message_get_allow_interactive_authorization(message) > 0)
        r = unlocker_wait(m->unlocker, c->force, on_unlocked, c, &c->wait);
    return call_begun(c, r, pin_detail(r));
}

static int method_set_pin(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(secret_freep) Secret *pin = NULL, *next = NULL;
    Manager *m = userdata;
    Call *c = NULL;
    int r;

    r = call_with_pins(message, m, true, &c, &pin, &next, error);
    if (r != 0)
        return bus_fail(error, r, NULL);
    r = identity_set_pin(m->identity, pin, next, c->force, on_unlocked, c, &c->work);
    return call_begun(c, r,
                      r == HMSG_ERROR_DENIED
                          ? "The keys were made without a PIN: the TPM would not count wrong ones"
                          : pin_detail(r));
}

static int get_state(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;

    return sd_bus_message_append_basic(reply, 's', identity_state_name(identity_state(m->identity)));
}

static int get_addresses(sd_bus *bus, const char *path, const char *interface, const char *property,
                         sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    return append_addresses(userdata, reply);
}

static int get_protection(sd_bus *bus, const char *path, const char *interface, const char *property,
                          sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;

    return sd_bus_message_append_basic(reply, 's', identity_public(m->identity) ? PROTECTION : "");
}

static int get_fingerprint(sd_bus *bus, const char *path, const char *interface, const char *property,
                           sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    const IdentityPublic *p = identity_public(m->identity);

    return sd_bus_message_append_basic(reply, 's', p ? p->fingerprint : "");
}

const sd_bus_vtable identity_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Create", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a{sv}", identity),
                            method_create, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Show", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a{sv}", identity),
                            method_show, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ExportPublic", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("ay", exported),
                            method_export, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Delete", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_delete,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Lock", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_lock,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Unlock", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_unlock,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetPin", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_set_pin,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("State", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Addresses", "as", get_addresses, 0, 0),
    SD_BUS_PROPERTY("Protection", "s", get_protection, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Fingerprint", "s", get_fingerprint, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_VTABLE_END,
};
