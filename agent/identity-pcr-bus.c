/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "agent/identity-bus-internal.h"
#include "agent/pin.h"
#include "libhmsg/base/error.h"
#include "libhmsg/tpm/pcr.h"
#include "libhmsg/wire/key-import.h"

#define PASSWORD_SIZE_MAX 256u
#define PCR_TEXT_MAX 64u

void identity_pcrs_text(uint32_t mask, char ret[static IDENTITY_PCRS_SIZE])
{
    int at = 0;

    ret[0] = 0;
    for (unsigned pcr = 0; pcr < TPM_PCR_MAX; pcr++)
        if ((mask >> pcr & 1) != 0 && (size_t)at < IDENTITY_PCRS_SIZE)
            at += snprintf(ret + at, IDENTITY_PCRS_SIZE - (size_t)at, "%s%u", at > 0 ? "," : "", pcr);
}

/* "7,11". */
static int parse_pcrs(const char *text, uint32_t *ret)
{
    uint32_t mask = 0;

    if (strlen(text) > PCR_TEXT_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    for (;;) {
        unsigned pcr = 0, digits = 0;

        for (; *text >= '0' && *text <= '9' && digits < 2; text++, digits++)
            pcr = pcr * 10 + (unsigned)(*text - '0');
        if (digits == 0 || pcr >= TPM_PCR_MAX || (mask >> pcr & 1) != 0)
            return HMSG_ERROR_INVALID_ARGS;
        mask |= UINT32_C(1) << pcr;
        if (*text == 0)
            break;
        if (*text++ != ',')
            return HMSG_ERROR_INVALID_ARGS;
    }
    *ret = mask;
    return tpm_pcr_mask_is_valid(mask) ? 0 : HMSG_ERROR_INVALID_ARGS;
}

static int read_secret(int fd, size_t max, Secret **ret)
{
    return fd < 0 ? 0 : memfd_read(fd, 1, max, ret);
}

int identity_policy_options_read(const PolicyOptions *o, PolicySecrets *ret, sd_bus_error *error)
{
    int r = parse_pcrs(o->pcrs, &ret->mask);

    if (r != 0)
        return bus_fail(error, r, "PCRs are up to 8 numbers below 24, as 7,11");
    if (o->key < 0)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "PCRs need a policy key");
    return identity_policy_key_read(o->key, o->password, ret, error);
}

int identity_policy_key_read(int key, int password, PolicySecrets *ret, sd_bus_error *error)
{
    int r = read_secret(key, KEY_IMPORT_SIZE_MAX, &ret->key);

    if (r == 0)
        r = read_secret(password, PASSWORD_SIZE_MAX, &ret->password);
    return r == HMSG_ERROR_INVALID_ARGS ? bus_fail(error, r, "Keys and passwords come in memfds") : r;
}

void identity_policy_secrets_done(PolicySecrets *s)
{
    secret_free(s->key);
    secret_free(s->password);
}

static void on_approved(int r, const char *detail, void *userdata)
{
    _cleanup_(identity_call_freep) IdentityCall *c = userdata;

    if (r == 0)
        (void)request_reply(c->request, "");
    else
        (void)request_fail(c->request, r, detail);
}

int identity_method_approve(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption options[] = {{"password", 'h', 0}};
    _cleanup_(identity_policy_secrets_done) PolicySecrets s = {0};
    Manager *m = userdata;
    IdentityCall *c = NULL;
    int key = -1, password = -1;
    int r = sd_bus_message_read_basic(message, 'h', &key);

    if (r >= 0)
        r = bus_read_options(message, options, ELEMENTSOF(options), &password, error);
    if (r == 0)
        r = identity_policy_key_read(key, password, &s, error);
    if (r == 0)
        r = identity_call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, NULL);
    IdentityPolicyKey policy_key = {.pem = s.key, .password = s.password};
    r = identity_approve(m->identity, &policy_key, on_approved, c, &c->work);
    return identity_call_begun(
        c, r, r == HMSG_ERROR_INVALID_ARGS ? "The keys are not bound to PCRs: nothing needs approval" : NULL);
}
