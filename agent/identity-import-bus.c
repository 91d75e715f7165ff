/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "agent/identity-bus-internal.h"
#include "agent/pin.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/key-import.h"

#define PASSWORD_SIZE_MIN 1u
#define PASSWORD_SIZE_MAX 256u
#define KEY_SIZE_MIN 1u

typedef struct ImportOptions {
    const char *generation;
    int key, sign_key, password, pin;
    PolicyOptions policy;
} ImportOptions;

typedef struct ImportSecrets {
    Secret *key, *sign_key, *password, *pin;
} ImportSecrets;

static void import_secrets_done(ImportSecrets *s)
{
    secret_free(s->key);
    secret_free(s->sign_key);
    secret_free(s->password);
    secret_free(s->pin);
}

/* fd -1: there is none. */
static int read_secret(int fd, const char *what, size_t min, size_t max, Secret **ret, sd_bus_error *error)
{
    int r = fd < 0 ? 0 : memfd_read(fd, min, max, ret);

    if (r == HMSG_ERROR_INVALID_ARGS)
        sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "A %s is a memfd of %zu to %zu bytes", what, min,
                          max);
    return r;
}

static int read_secrets(const ImportOptions *o, ImportSecrets *ret, sd_bus_error *error)
{
    int r = read_secret(o->key, "key", KEY_SIZE_MIN, KEY_IMPORT_SIZE_MAX, &ret->key, error);

    if (r == 0)
        r = read_secret(o->sign_key, "key", KEY_SIZE_MIN, KEY_IMPORT_SIZE_MAX, &ret->sign_key, error);
    if (r == 0)
        r = read_secret(o->password, "password", PASSWORD_SIZE_MIN, PASSWORD_SIZE_MAX, &ret->password, error);
    return r == 0 ? identity_read_pin(o->pin, &ret->pin, error) : r;
}

int identity_method_import(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption options[] = {
        {"generation", 's', offsetof(ImportOptions, generation)},
        {"sign_key", 'h', offsetof(ImportOptions, sign_key)},
        {"password", 'h', offsetof(ImportOptions, password)},
        {"pin", 'h', offsetof(ImportOptions, pin)},
        {"pcrs", 's', offsetof(ImportOptions, policy.pcrs)},
        {"policy_key", 'h', offsetof(ImportOptions, policy.key)},
        {"policy_password", 'h', offsetof(ImportOptions, policy.password)},
    };
    ImportOptions o = {.generation = GENERATION_COUNTER,
                       .key = -1,
                       .sign_key = -1,
                       .password = -1,
                       .pin = -1,
                       .policy = {NULL, -1, -1}};
    _cleanup_(identity_policy_secrets_done) PolicySecrets policy = {0};
    _cleanup_(import_secrets_done) ImportSecrets s = {NULL};
    Manager *m = userdata;
    IdentityCall *c = NULL;
    int r = sd_bus_message_read_basic(message, 'h', &o.key);

    if (r >= 0)
        r = bus_read_options(message, options, ELEMENTSOF(options), &o, error);
    if (r == 0 && !identity_is_generation(o.generation))
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "The generation is \"counter\" or \"none\"");
    if (r == 0 && o.policy.pcrs && strcmp(o.generation, GENERATION_COUNTER) != 0)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "Keys that are bound to PCRs have a counter");
    if (r == 0)
        r = read_secrets(&o, &s, error);
    if (r == 0 && o.policy.pcrs)
        r = identity_policy_options_read(&o.policy, &policy, error);
    if (r == 0)
        r = identity_call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, NULL);
    IdentityPolicyKey policy_key = {.pem = policy.key, .password = policy.password};
    IdentityImport import = {.decrypt = s.key,
                             .sign = s.sign_key,
                             .password = s.password,
                             .policy_key = o.policy.pcrs ? &policy_key : NULL,
                             .pcrs = policy.mask};
    r = identity_import(m->identity, &import, s.pin, strcmp(o.generation, GENERATION_COUNTER) == 0,
                        identity_call_created, c, &c->work);
    return identity_call_begun(c, r, NULL);
}
