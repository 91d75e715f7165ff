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

/* The number of a PCR that is not in *mask yet, which it joins. */
static int parse_pcr(const char **text, uint32_t *mask, unsigned *ret)
{
    unsigned pcr = 0, digits = 0;

    for (; **text >= '0' && **text <= '9' && digits < 2; (*text)++, digits++)
        pcr = pcr * 10 + (unsigned)(**text - '0');
    if (digits == 0 || pcr >= TPM_PCR_MAX || (*mask >> pcr & 1) != 0)
        return HMSG_ERROR_INVALID_ARGS;
    *mask |= UINT32_C(1) << pcr;
    *ret = pcr;
    return 0;
}

/* "7,11". */
static int parse_pcrs(const char *text, uint32_t *ret)
{
    uint32_t mask = 0;
    unsigned pcr;

    if (strlen(text) > PCR_TEXT_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    for (;;) {
        if (parse_pcr(&text, &mask, &pcr) != 0)
            return HMSG_ERROR_INVALID_ARGS;
        if (*text == 0)
            break;
        if (*text++ != ',')
            return HMSG_ERROR_INVALID_ARGS;
    }
    *ret = mask;
    return tpm_pcr_mask_is_valid(mask) ? 0 : HMSG_ERROR_INVALID_ARGS;
}

static int parse_value(const char **text, uint8_t ret[static TPM_PCR_SIZE])
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";

    for (unsigned i = 0; i < 2 * TPM_PCR_SIZE; i++, (*text)++) {
        const char *digit = **text ? strchr(digits, **text) : NULL;

        if (!digit)
            return HMSG_ERROR_INVALID_ARGS;
        ret[i / 2] = (uint8_t)(ret[i / 2] << 4 | (digit - digits) % 16);
    }
    return 0;
}

/* "7=64 hexadecimal digits,11=…", in the order of their numbers. NULL: none. */
static int parse_values(const char *text, IdentityPcrs *ret, sd_bus_error *error)
{
    unsigned n = 0, pcr = 0, before = 0;

    *ret = (IdentityPcrs){0};
    while (text) {
        int r = n < TPM_PCRS_MAX ? parse_pcr(&text, &ret->mask, &pcr) : HMSG_ERROR_INVALID_ARGS;

        if (r == 0 && ((n > 0 && pcr < before) || *text++ != '='))
            r = HMSG_ERROR_INVALID_ARGS;
        if (r == 0)
            r = parse_value(&text, ret->values.values[n]);
        if (r == 0 && *text && *text != ',')
            r = HMSG_ERROR_INVALID_ARGS;
        if (r != 0)
            return bus_fail(
                error, HMSG_ERROR_INVALID_ARGS,
                "Values of PCRs are 7=…,11=…, each of 64 hexadecimal digits, in the order of the numbers");
        n++;
        before = pcr;
        text = *text == ',' ? text + 1 : NULL;
    }
    return 0;
}

#define VALUES_SIZE (TPM_PCRS_MAX * (4u + 2u * TPM_PCR_SIZE) + 1u)

static void values_text(const IdentityPcrs *p, char ret[static VALUES_SIZE])
{
    unsigned n = 0;
    int at = 0;

    ret[0] = 0;
    for (unsigned pcr = 0; pcr < TPM_PCR_MAX && n < TPM_PCRS_MAX; pcr++) {
        if ((p->mask >> pcr & 1) == 0)
            continue;
        at += snprintf(ret + at, VALUES_SIZE - (size_t)at, "%s%u=", n > 0 ? "," : "", pcr);
        for (unsigned i = 0; i < TPM_PCR_SIZE; i++)
            at += snprintf(ret + at, VALUES_SIZE - (size_t)at, "%02x", p->values.values[n][i]);
        n++;
    }
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

static int begun(IdentityCall *c, int r)
{
    return identity_call_begun(c, r,
                               r == HMSG_ERROR_INVALID_ARGS
                                   ? "The keys are not bound to PCRs, or not to those that have values here"
                                   : NULL);
}

int identity_method_approve(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    struct ApproveOptions {
        int password;
        const char *values;
    } o = {-1, NULL};
    static const BusOption options[] = {{"password", 'h', offsetof(struct ApproveOptions, password)},
                                        {"values", 's', offsetof(struct ApproveOptions, values)}};
    _cleanup_(identity_policy_secrets_done) PolicySecrets s = {0};
    Manager *m = userdata;
    IdentityCall *c = NULL;
    IdentityPcrs predicted;
    int key = -1;
    int r = sd_bus_message_read_basic(message, 'h', &key);

    if (r >= 0)
        r = bus_read_options(message, options, ELEMENTSOF(options), &o, error);
    if (r == 0)
        r = parse_values(o.values, &predicted, error);
    if (r == 0)
        r = identity_policy_key_read(key, o.password, &s, error);
    if (r == 0)
        r = identity_call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, NULL);
    IdentityPolicyKey policy_key = {.pem = s.key, .password = s.password};
    return begun(c, identity_approve(m->identity, &policy_key, &predicted, on_approved, c, &c->work));
}

static int read_values(sd_bus_message *message, IdentityPcrs *ret, sd_bus_error *error)
{
    static const BusOption options[] = {{"values", 's', 0}};
    const char *values = NULL;
    int r = bus_read_options(message, options, ELEMENTSOF(options), &values, error);

    return r == 0 ? parse_values(values, ret, error) : r;
}

static int append_to_sign(sd_bus_message *reply, const IdentityToSign *s)
{
    char pcrs[IDENTITY_PCRS_SIZE], values[VALUES_SIZE];
    int r;

    identity_pcrs_text(s->pcrs.mask, pcrs);
    values_text(&s->pcrs, values);
    r = sd_bus_message_append_array(reply, 'y', s->message, sizeof(s->message));
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "{sv}");
    if (r >= 0)
        r = bus_append_string(reply, "pcrs", pcrs);
    if (r >= 0)
        r = bus_append_string(reply, "values", values);
    return r >= 0 ? sd_bus_message_close_container(reply) : r;
}

static void on_to_sign(int r, const char *detail, void *userdata)
{
    _cleanup_(identity_call_freep) IdentityCall *c = userdata;
    sd_bus_message *reply = NULL;

    if (r == 0)
        r = request_reply_new(c->request, &reply);
    if (r >= 0 && reply)
        r = append_to_sign(reply, &c->to_sign);
    if (r >= 0 && reply)
        (void)request_send(c->request, reply);
    else
        (void)request_fail(c->request, r, detail);
    sd_bus_message_unref(reply);
}

int identity_method_to_approve(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    IdentityCall *c = NULL;
    IdentityPcrs predicted;
    int r = read_values(message, &predicted, error);

    if (r == 0)
        r = identity_call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, NULL);
    return begun(c, identity_to_approve(m->identity, &predicted, &c->to_sign, on_to_sign, c, &c->work));
}

int identity_method_approve_signed(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    IdentityCall *c = NULL;
    IdentityPcrs predicted;
    BusBytes signature;
    int r = bus_read_bytes(message, &signature);

    if (r == 0)
        r = read_values(message, &predicted, error);
    if (r == 0 && signature.size != TPM_RSA_SIZE)
        r = bus_fail(error, HMSG_ERROR_INVALID_ARGS, "A signature of the policy key has 256 bytes");
    if (r == 0)
        r = identity_call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, NULL);
    return begun(c, identity_approve_signed(m->identity, &predicted, signature.data, signature.size,
                                            on_approved, c, &c->work));
}
