/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/bus-util.h"
#include "agent/checks.h"
#include "agent/identity.h"
#include "agent/keyring.h"
#include "agent/mail.h"
#include "agent/request.h"
#include "agent/session-in.h"
#include "agent/session-out.h"
#include "hmsg-build.h"

#define KEY_USERS_FILE "/proc/key-users"
#define TEXT_SIZE 256u

static int append_tpm(Manager *m, sd_bus_message *reply)
{
    const IdentityPublic *p = identity_public(m->identity);
    const char *help = NULL;
    int r;

    r = bus_append_string(reply, "state", identity_state_name(identity_state(m->identity)));
    if (r >= 0 && p)
        r = bus_append_string(reply, "protection", protection_text(p->protection));
    if (r >= 0)
        r = bus_append_string(reply, "tpm", identity_tpm_status(m->identity, &help));
    if (r >= 0 && help)
        r = bus_append_string(reply, "tpm_help", help);
    return r;
}

/* Each former decrypt key, the oldest first. */
static int append_former(Manager *m, sd_bus_message *reply)
{
    IdentityFormer f;
    int r;

    r = sd_bus_message_open_container(reply, 'e', "sv");
    if (r >= 0)
        r = sd_bus_message_append_basic(reply, 's', "former_keys");
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'v', "a(sttb)");
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "(sttb)");
    for (unsigned n = 0; r >= 0 && identity_former_get(m->identity, n, &f); n++)
        r = sd_bus_message_append(reply, "(sttb)", f.kid, f.generation, (uint64_t)f.until, (int)f.held);
    for (unsigned i = 0; r >= 0 && i < 3; i++)
        r = sd_bus_message_close_container(reply);
    return r;
}

int status_reply(Manager *m, sd_bus_message *call)
{
    sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_message_new_method_return(call, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "{sv}");
    if (r >= 0)
        r = bus_append_string(reply, "version", HMSG_VERSION);
    if (r >= 0)
        r = append_tpm(m, reply);
    if (r >= 0)
        r = append_former(m, reply);
    if (r >= 0)
        r = mail_append_status(m, reply);
    if (r >= 0)
        r = bus_append_u32(reply, "sessions",
                           session_in_count(m->session_in) + session_out_count(m->session_out));
    if (r >= 0)
        r = bus_append_u32(reply, "session_keys_hot", keyring_count_hot(m->keyring));
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r < 0 ? r : 0;
}

typedef struct Diagnosis {
    Manager *m;
    Request *request;
    IdentityWork *work;
} Diagnosis;

static Diagnosis *diagnosis_free(Diagnosis *d)
{
    if (!d)
        return NULL;
    identity_work_free(d->work);
    request_free(d->request);
    free(d);
    return NULL;
}
DEFINE_CLEANUP(Diagnosis *, diagnosis_free)

static void diagnosis_cancel(void *userdata)
{
    diagnosis_free(userdata);
}

static int check_tpm(Identity *i, sd_bus_message *reply)
{
    const IdentityPublic *p = identity_public(i);
    const TpmFacts *f = identity_tpm_facts(i);
    const char *help = NULL;
    const char *status = identity_tpm_status(i, &help);
    char text[TEXT_SIZE];

    if (p && p->protection == PROTECTION_SOFTWARE)
        return checks_append(reply, "tpm", "warning", "The keys are in software: no TPM protects them",
                             "Where there is a TPM, make a new identity in it: hmsgctl identity delete, then "
                             "hmsgctl identity create");
    if (strcmp(status, "ok") != 0 || !f)
        return checks_append(reply, "tpm", "error", status, help);
    (void)snprintf(text, sizeof(text), "A TPM 2.0 of %s (%s), firmware %x.%x, with %s storage key",
                   f->manufacturer, f->vendor, f->firmware[0], f->firmware[1],
                   f->srk_persistent ? "a persistent" : "no persistent");
    return checks_append(reply, "tpm", "ok", text, NULL);
}

static int check_firmware(Identity *i, sd_bus_message *reply)
{
    const TpmFacts *f = identity_tpm_facts(i);
    Finding found;

    if (!f)
        return 0;
    found = checks_firmware(f);
    return checks_append(reply, "firmware", found.result, found.text, found.help);
}

static int check_signature(Identity *i, sd_bus_message *reply)
{
    Finding found;

    if (identity_salt(i) == 0)
        return 0;
    found = checks_signature(identity_salt(i));
    return checks_append(reply, "signature", found.result, found.text, found.help);
}

static int check_lockout(Identity *i, sd_bus_message *reply)
{
    const TpmFacts *f = identity_tpm_facts(i);
    const IdentityPublic *p = identity_public(i);
    bool has_pin = p && p->has_pin;
    char text[TEXT_SIZE];

    if (!f)
        return 0;
    if (f->in_lockout) {
        (void)snprintf(text, sizeof(text), "The TPM refuses keys with a password: %u of %u failures",
                       f->lockout_counter, f->lockout_max);
        return checks_append(reply, "lockout", "warning", text,
                             has_pin ? "It forgets one failure after the other, and takes no PIN until then"
                                     : "It forgets one failure after the other; keys without a PIN are not "
                                       "concerned");
    }
    (void)snprintf(text, sizeof(text), "%u of %u failures, one is forgotten every %u seconds",
                   f->lockout_counter, f->lockout_max, f->lockout_interval);
    return checks_append(reply, "lockout", "ok", text,
                         has_pin
                             ? "A machine that is switched off without shutting down after the PIN was used "
                               "counts as one"
                             : NULL);
}

static int check_identity(Identity *i, sd_bus_message *reply)
{
    const IdentityPublic *p = identity_public(i);
    const char *help = NULL;
    const char *status = identity_tpm_status(i, &help);
    char text[TEXT_SIZE];

    switch (identity_state(i)) {
    case IDENTITY_NONE:
        return checks_append(reply, "identity", "warning", "There is no identity yet",
                             "hmsgctl identity create");
    case IDENTITY_LOCKED:
        return checks_append(reply, "identity", "warning", "The identity is locked", "hmsgctl unlock");
    case IDENTITY_UNAVAILABLE:
        return checks_append(reply, "identity", "error", status, help);
    default:
        (void)snprintf(text, sizeof(text), "The keys %s and %s can be used", p->kid, p->skid);
        return checks_append(reply, "identity", "ok", text, NULL);
    }
}

/* Of our user, keyrings(7): "UID: usage keys/instantiated own/max bytes/max". */
static int read_key_quota(unsigned ret[static 4])
{
    FILE *f = fopen(KEY_USERS_FILE, "re");
    char line[TEXT_SIZE];
    unsigned uid, v[4];
    int r = -ENOENT;

    if (!f)
        return -errno;
    while (r < 0 && fgets(line, sizeof(line), f))
        if (sscanf(line, "%u: %*u %*u/%*u %u/%u %u/%u", &uid, &v[0], &v[1], &v[2], &v[3]) == 5 &&
            uid == getuid()) {
            memcpy(ret, v, sizeof(v));
            r = 0;
        }
    (void)fclose(f);
    return r;
}

static int check_keyring(Manager *m, sd_bus_message *reply)
{
    unsigned hot = keyring_count_hot(m->keyring);
    unsigned quota[4] = {0};
    char text[TEXT_SIZE];

    if (read_key_quota(quota) < 0)
        return checks_append(reply, "keyring", "warning", "The kernel does not tell the quota of keys",
                             "See " KEY_USERS_FILE);
    (void)snprintf(text, sizeof(text),
                   "%u session keys in the kernel; %u of %u keys and %u of %u bytes of this user are in use",
                   hot, quota[0], quota[1], quota[2], quota[3]);
    if (quota[0] >= quota[1] || quota[2] + KEYRING_KEY_SIZE >= quota[3])
        return checks_append(reply, "keyring", "warning", text,
                             "More session keys are kept wrapped in memory; see keyrings(7) for the quota");
    return checks_append(reply, "keyring", "ok", text, NULL);
}

static int append_checks(Manager *m, sd_bus_message *reply)
{
    int r;

    r = sd_bus_message_open_container(reply, 'a', "(ssss)");
    if (r >= 0)
        r = check_tpm(m->identity, reply);
    if (r >= 0)
        r = check_firmware(m->identity, reply);
    if (r >= 0)
        r = check_signature(m->identity, reply);
    if (r >= 0)
        r = check_lockout(m->identity, reply);
    if (r >= 0)
        r = check_identity(m->identity, reply);
    if (r >= 0)
        r = check_keyring(m, reply);
    if (r >= 0)
        r = checks_append_machine(m, reply);
    if (r >= 0)
        r = mail_append_checks(m, reply);
    return r >= 0 ? sd_bus_message_close_container(reply) : r;
}

static void diagnose_reply(Diagnosis *d)
{
    sd_bus_message *reply = NULL;
    int r;

    r = request_reply_new(d->request, &reply);
    if (r >= 0)
        r = append_checks(d->m, reply);
    if (r >= 0)
        r = request_send(d->request, reply);
    else
        (void)request_fail(d->request, r, NULL);
    sd_bus_message_unref(reply);
}

static void on_learned(int r, const char *detail, void *userdata)
{
    _cleanup_(diagnosis_freep) Diagnosis *d = userdata;

    diagnose_reply(d);
}

/* A PIN is not used for that alone: until the TPM is shut down it would count as a failure when power is
 * lost. */
static bool learn_salt(Diagnosis *d)
{
    Identity *i = d->m->identity;
    const IdentityPublic *p = identity_public(i);

    if (!p || p->protection == PROTECTION_SOFTWARE || p->has_pin || identity_salt(i) != 0)
        return false;
    d->work = identity_work_free(d->work);
    return identity_learn_salt(i, on_learned, d, &d->work) == 0;
}

static void on_probed(int r, const char *detail, void *userdata)
{
    _cleanup_(diagnosis_freep) Diagnosis *d = userdata;

    if (r == 0 && learn_salt(d))
        (void)TAKE_PTR(d);
    else
        diagnose_reply(d); /* what the TPM said, or that it did not, is one of the checks */
}

int diagnose_start(Manager *m, sd_bus_message *call)
{
    _cleanup_(diagnosis_freep) Diagnosis *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return -ENOMEM;
    d->m = m;
    r = request_new(m->access, call, diagnosis_cancel, d, &d->request);
    if (r != 0)
        return r;
    r = identity_probe(m->identity, on_probed, d, &d->work);
    if (r != 0) /* not even that: its threads hang */
        diagnose_reply(d);
    else
        (void)TAKE_PTR(d);
    return 0;
}
