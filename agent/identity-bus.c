/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/identity-bus-internal.h"
#include "agent/password.h"
#include "agent/pin.h"
#include "agent/relays.h"
#include "agent/vtables.h"
#include "libhmsg/base/error.h"

#define PROTECTION "tpm"
#define PROTECTION_IN_SOFTWARE "software"
#define GENERATION_NONE "none"

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

/* Former decrypt keys that still work, and when the last of them is destroyed. */
static int append_former(Manager *m, sd_bus_message *reply)
{
    int64_t until = 0;
    unsigned n = identity_former(m->identity, &until);
    int r = bus_append_u64(reply, "former", n);

    return r >= 0 && n > 0 ? bus_append_u64(reply, "former_until", (uint64_t)until) : r;
}

int identity_append(Manager *m, sd_bus_message *reply)
{
    const IdentityPublic *p = identity_public(m->identity);
    char pcrs[IDENTITY_PCRS_SIZE];
    int r;

    if (!p)
        return -ENOENT;
    r = sd_bus_message_open_container(reply, 'a', "{sv}");
    if (r >= 0)
        r = append_addresses_entry(m, reply);
    if (r >= 0)
        r = bus_append_string(reply, "protection", protection_text(p->protection));
    if (r >= 0)
        r = bus_append_string(reply, "kid", p->kid);
    if (r >= 0)
        r = bus_append_string(reply, "skid", p->skid);
    if (r >= 0)
        r = bus_append_string(reply, "fingerprint", p->fingerprint);
    if (r >= 0)
        r = bus_append_u64(reply, "generation", p->generation);
    if (r >= 0)
        r = bus_append_bool(reply, "bound", p->bound);
    identity_pcrs_text(identity_pcrs(m->identity), pcrs);
    if (r >= 0 && *pcrs)
        r = bus_append_string(reply, "pcrs", pcrs);
    if (r >= 0)
        r = append_former(m, reply);
    if (r >= 0)
        r = identity_recovery_append(reply, &p->recovery);
    if (r >= 0)
        r = bus_append_u64(reply, "created", (uint64_t)p->created);
    if (r >= 0)
        r = bus_append_bool(reply, "pin", p->has_pin);
    if (r >= 0)
        r = bus_append_string(reply, "state", identity_state_name(identity_state(m->identity)));
    if (r >= 0 && p->protection != PROTECTION_SOFTWARE)
        r = bus_append_string(reply, "srk_name", p->srk_name);
    return r >= 0 ? sd_bus_message_close_container(reply) : r;
}

void identity_call_created(int r, const char *detail, void *userdata)
{
    _cleanup_(identity_call_freep) IdentityCall *c = userdata;
    sd_bus_message *reply = NULL;

    if (r == 0)
        r = request_reply_new(c->request, &reply);
    if (r >= 0 && reply)
        r = identity_append(c->m, reply);
    if (r >= 0 && reply)
        r = request_send(c->request, reply);
    else
        (void)request_fail(c->request, r, detail);
    sd_bus_message_unref(reply);
}

int identity_read_pin(int fd, Secret **ret, sd_bus_error *error)
{
    int r = fd < 0 ? 0 : pin_read_fd(fd, ret);

    if (r == HMSG_ERROR_INVALID_ARGS)
        sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                          "A PIN is a memfd of %u to %u bytes without control characters", PIN_SIZE_MIN,
                          PIN_SIZE_MAX);
    return r;
}

bool identity_is_generation(const char *text)
{
    return strcmp(text, GENERATION_COUNTER) == 0 || strcmp(text, GENERATION_NONE) == 0;
}

/* Of keys in software; NULL: none. INVALID_ARGS, with words. */
static int check_password(const Secret *password, sd_bus_error *error)
{
    if (!password)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "Keys in software need a password, as the PIN");
    if (password_bits(password) >= PASSWORD_BITS_MIN)
        return 0;
    return bus_fail(
        error, HMSG_ERROR_INVALID_ARGS,
        "The password is all that protects keys in software, and is too easy to guess: take some 20 "
        "letters, or 12 characters of all kinds");
}

static int method_create(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    struct CreateOptions {
        const char *protection, *generation;
        int pin;
        PolicyOptions policy;
        RecoveryOptions recovery;
    } o = {PROTECTION, GENERATION_COUNTER, -1, {NULL, -1, -1}, {.none = false}};
    static const BusOption options[] = {
        {"protection", 's', offsetof(struct CreateOptions, protection)},
        {"generation", 's', offsetof(struct CreateOptions, generation)},
        {"pin", 'h', offsetof(struct CreateOptions, pin)},
        {"pcrs", 's', offsetof(struct CreateOptions, policy.pcrs)},
        {"policy_key", 'h', offsetof(struct CreateOptions, policy.key)},
        {"policy_password", 'h', offsetof(struct CreateOptions, policy.password)},
        RECOVERY_OPTIONS(struct CreateOptions, recovery),
    };
    _cleanup_(recovery_keys_done) RecoveryKeys recovery = {0};
    _cleanup_(identity_policy_secrets_done) PolicySecrets policy = {0};
    _cleanup_(secret_freep) Secret *pin = NULL;
    Manager *m = userdata;
    IdentityCall *c = NULL;
    bool software, named = false;
    int r;

    r = bus_read_options(message, options, ELEMENTSOF(options), &o, error);
    software = r == 0 && strcmp(o.protection, PROTECTION_IN_SOFTWARE) == 0;
    if (r == 0 && !software && strcmp(o.protection, PROTECTION) != 0)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "The protection is \"tpm\" or \"software\"");
    if (r == 0 && !identity_is_generation(o.generation))
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "The generation is \"counter\" or \"none\"");
    if (r == 0)
        r = identity_read_pin(o.pin, &pin, error);
    if (r == 0 && software)
        r = check_password(pin, error);
    if (r == 0 && o.policy.pcrs && (software || strcmp(o.generation, GENERATION_COUNTER) != 0))
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS,
                        "Keys that are bound to PCRs are in the TPM, with a counter");
    if (r == 0 && o.policy.pcrs)
        r = identity_policy_options_read(&o.policy, &policy, error);
    if (r == 0)
        r = identity_recovery_read(&o.recovery, &recovery, &named, error);
    if (r == 0)
        r = identity_call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, NULL);
    IdentityPolicyKey key = {.pem = policy.key, .password = policy.password};
    if (software)
        r = identity_create_software(m->identity, pin, identity_call_created, c, &c->work);
    else if (o.policy.pcrs)
        r = identity_create_measured(m->identity, &key, policy.mask, pin, identity_call_created, c, &c->work);
    else
        r = identity_create(m->identity, pin, strcmp(o.generation, GENERATION_COUNTER) == 0,
                            identity_call_created, c, &c->work);
    return identity_recovery_begun(c, r, NULL, named, &recovery);
}

typedef struct RotateOptions {
    const char *generation;
    uint64_t grace;
    RecoveryOptions recovery;
} RotateOptions;
#define ROTATE_OPTIONS_NONE ((RotateOptions){.grace = UINT64_MAX})

/* INVALID_ARGS, with words. */
static int read_rotation(const RotateOptions *o, IdentityRotation *ret, sd_bus_error *error)
{
    ret->has_grace = o->grace != UINT64_MAX;
    ret->grace = o->grace;
    ret->bind = o->generation != NULL;
    if (ret->has_grace && ret->grace > IDENTITY_GRACE_MAX)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "Former keys stay 366 days at most");
    if (ret->bind && strcmp(o->generation, GENERATION_COUNTER) != 0)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS,
                        "Rotated keys can begin to have the generation \"counter\"");
    return 0;
}

const char *identity_rotation_detail(int r)
{
    return r == HMSG_ERROR_QUOTA_EXCEEDED ? "Keys are being made already, or too many former keys still work"
                                          : NULL;
}

static int method_rotate(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption options[] = {
        {"generation", 's', offsetof(RotateOptions, generation)},
        {"grace", 't', offsetof(RotateOptions, grace)},
        RECOVERY_OPTIONS(RotateOptions, recovery),
        {"no_recovery", 'b', offsetof(RotateOptions, recovery.none)},
    };
    _cleanup_(recovery_keys_done) RecoveryKeys recovery = {0};
    bool named = false;
    RotateOptions o = ROTATE_OPTIONS_NONE;
    IdentityRotation rotation = {0};
    Manager *m = userdata;
    IdentityCall *c = NULL;
    int r;

    r = bus_read_options(message, options, ELEMENTSOF(options), &o, error);
    if (r != 0)
        return bus_fail(error, r, NULL);
    r = read_rotation(&o, &rotation, error);
    if (r == 0)
        r = identity_recovery_read(&o.recovery, &recovery, &named, error);
    if (r != 0)
        return bus_fail(error, r, NULL);
    if (unlock_first(m, message))
        return 1;
    r = identity_call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, NULL);
    r = identity_rotate(m->identity, &rotation, identity_call_created, c, &c->work);
    return identity_recovery_begun(c, r, identity_rotation_detail(r), named, &recovery);
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
        r = identity_append(m, reply);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
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
    _cleanup_(identity_call_freep) IdentityCall *c = userdata;

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
    bool force, keep_key;
    RotateOptions rotate;
} PinOptions;

/* The call with its PINs, each NULL when it is absent. */
static int call_with_pins(sd_bus_message *message, Manager *m, bool two, IdentityCall **ret, PinOptions *o,
                          Secret **ret_pin, Secret **ret_new, sd_bus_error *error)
{
    static const BusOption options[] = {
        {"pin", 'h', offsetof(PinOptions, pin)},
        {"force", 'b', offsetof(PinOptions, force)},
        {"new_pin", 'h', offsetof(PinOptions, new_pin)},
        {"keep_key", 'b', offsetof(PinOptions, keep_key)},
        {"grace", 't', offsetof(PinOptions, rotate.grace)},
    };
    int r;

    *o = (PinOptions){.pin = -1, .new_pin = -1, .rotate = ROTATE_OPTIONS_NONE};
    r = bus_read_options(message, options, two ? ELEMENTSOF(options) : 2, o, error);
    if (r == 0)
        r = identity_read_pin(o->pin, ret_pin, error);
    if (r == 0)
        r = identity_read_pin(o->new_pin, ret_new, error);
    if (r == 0)
        r = identity_call_new(m, message, ret);
    if (r == 0)
        (*ret)->force = o->force;
    return r;
}

static int method_unlock(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(secret_freep) Secret *pin = NULL, *none = NULL;
    PinOptions o;
    Manager *m = userdata;
    IdentityCall *c = NULL;
    int r;

    r = call_with_pins(message, m, false, &c, &o, &pin, &none, error);
    if (r != 0)
        return bus_fail(error, r, NULL);
    r = identity_unlock(m->identity, pin, c->force, on_unlocked, c, &c->work);
    if (r == HMSG_ERROR_LOCKED && sd_bus_message_get_allow_interactive_authorization(message) > 0)
        r = unlocker_wait(m->unlocker, c->force, on_unlocked, c, &c->wait);
    return identity_call_begun(c, r, pin_detail(r));
}

static bool is_software(Manager *m)
{
    const IdentityPublic *p = identity_public(m->identity);

    return p && p->protection == PROTECTION_SOFTWARE;
}

static int method_set_pin(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(secret_freep) Secret *pin = NULL, *next = NULL;
    IdentityRotation rotation = {0};
    PinOptions o;
    Manager *m = userdata;
    IdentityCall *c = NULL;
    int r;

    r = call_with_pins(message, m, true, &c, &o, &pin, &next, error);
    if (r != 0)
        return bus_fail(error, r, NULL);
    r = read_rotation(&o.rotate, &rotation, error);
    if (r == 0 && is_software(m))
        r = check_password(next, error);
    if (r != 0) {
        r = identity_call_begun(c, HMSG_ERROR_INVALID_ARGS, error->message);
        sd_bus_error_free(error);
        return r;
    }
    r = identity_set_pin(m->identity, pin, next, c->force, o.keep_key ? NULL : &rotation, on_unlocked, c,
                         &c->work);
    return identity_call_begun(c, r,
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
    const IdentityPublic *p = identity_public(m->identity);

    return sd_bus_message_append_basic(reply, 's', p ? protection_text(p->protection) : "");
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
    SD_BUS_METHOD_WITH_ARGS("Import", SD_BUS_ARGS("h", key, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", identity), identity_method_import,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Approve", SD_BUS_ARGS("h", policy_key, "a{sv}", options), SD_BUS_NO_RESULT,
                            identity_method_approve, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ToApprove", SD_BUS_ARGS("a{sv}", options),
                            SD_BUS_RESULT("ay", message, "a{sv}", info), identity_method_to_approve,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ApproveSigned", SD_BUS_ARGS("ay", signature, "a{sv}", options), SD_BUS_NO_RESULT,
                            identity_method_approve_signed, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Rotate", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a{sv}", identity),
                            method_rotate, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Recover", SD_BUS_ARGS("s", address, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", identity), identity_method_recover,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("AddDevice", SD_BUS_ARGS("s", address, "a{sv}", options), SD_BUS_NO_RESULT,
                            identity_method_add_device, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("RemoveDevice", SD_BUS_ARGS("s", address, "a{sv}", options), SD_BUS_NO_RESULT,
                            identity_method_remove_device, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ListDevices", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("aa{sv}", devices),
                            identity_method_list_devices, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Show", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a{sv}", identity),
                            method_show, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ExportPublic", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("ay", exported),
                            identity_method_export, SD_BUS_VTABLE_UNPRIVILEGED),
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
